"""Starting sides in the background, the real ones; and what is said when one does not start."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from fustor.admin.daemons import LOG_BYTES, Daemon, exclusive
from fustor.admin.prepare import prepare
from fustor.admin.processes import guardian, members, stop
from fustor.admin.state import State
from protocols.errors import MachineError


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
