"""Starting sides in the background, the real ones; and what is said when one does not start."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any

import pytest

from fustor.admin.daemons import LOG_BYTES, Daemon, exclusive
from fustor.admin.prepare import prepare
from fustor.admin.processes import guardian, members, stop
from fustor.admin.state import State
from fustor.guardian.template import ROOM_BYTES
from protocols.errors import MachineError
from tests.support.waiting import until


@pytest.fixture
def state(tmp_path: Path, data: str, ports: None) -> State:
    made = State(tmp_path / "state")
    prepare(made, data)
    return made


def test_a_side_comes_up_and_outlives_the_command(state: State) -> None:
    daemon = Daemon(state.fusion)
    try:
        daemon.wait_running()
        found = guardian(state.fusion)
        assert found is not None
        with found:
            daemon.close()
            assert not found.wait(0)
    finally:
        stopped = stop(state.fusion, 30)
    assert (stopped.ran, stopped.left) == (True, ())
    assert members(state.fusion) == {}


def test_what_a_side_has_imported_is_not_imported_again(state: State) -> None:
    """The first template is a fork of the process that becomes the guardian, and seen as any other."""
    daemon = Daemon(state.fusion)
    try:
        daemon.wait_running()

        def known() -> dict[str, Any] | None:
            path = state.fusion.run / "table.json"
            table = json.loads(path.read_text()) if path.exists() else {"template": None}
            return table if table["template"] and table["control"] else None

        table: dict[str, Any] = until(known, "a template and a control actor")
        template = Path("/proc", str(table["template"]["pid"]))
        environment = (template / "environ").read_bytes().rstrip(b"\0").split(b"\0")
        assert f"FUSTOR_TOKEN={table['template']['token']}".encode() in environment
        # A template that the guardian has started has them, for it knows of nobody else to tell them.
        assert not any(variable.startswith((b"FUSTOR_MODULES", b"FUSTOR_ROOM")) for variable in environment)
        assert (template / "cmdline").read_bytes().rstrip(b"\0").endswith(b"-m\0fustor.runtime.template")
        assert int((template / "stat").read_text().rpartition(")")[2].split()[1]) == table["guardian"]
        until(lambda: sorted(os.listdir(template / "fd")) == ["0", "1", "2", "3"], "nothing but its socket to be open")
        # Of its forks the room for the environment tells; nobody else is given so much.
        assert len(Path("/proc", str(table["control"]["pid"]), "environ").read_bytes()) > ROOM_BYTES
    finally:
        daemon.close()
        stop(state.fusion, 30)
    assert members(state.fusion) == {}


def test_a_side_that_does_not_start_says_why(state: State) -> None:
    state.fusion.config.write_text('[fusion]\nstate = "fusion"\nquery_workers = "two"\n')
    daemon = Daemon(state.fusion)
    with pytest.raises(MachineError, match=r"fusion ended with code 2: .*query_workers(.|\n)*guardian\.log"):
        daemon.wait_running()
    assert daemon.ended() == 2
    daemon.close()


def test_a_large_log_is_put_aside(state: State) -> None:
    state.fusion.config.write_text("[fusion\n")
    log = state.fusion.log / "guardian.log"
    with log.open("wb") as file:
        file.truncate(LOG_BYTES + 1)
    daemon = Daemon(state.fusion)
    with pytest.raises(MachineError):
        daemon.wait_running()
    daemon.close()
    assert log.with_name("guardian.log.1").stat().st_size == LOG_BYTES + 1
    assert 0 < log.stat().st_size < 10_000


def test_one_command_at_a_time(state: State) -> None:
    with exclusive(state):
        other = os.open(state.folder, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(other)
    with pytest.raises(MachineError, match="can't be opened"), exclusive(State(state.folder / "none")):
        pass
