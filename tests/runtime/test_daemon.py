"""State folders, the run folder, and asking payloads."""

from __future__ import annotations

import json
import os
import socket
import stat
from pathlib import Path

import pytest

from fustor.guardian.predecessor import boot_id
from fustor.guardian.process import born
from fustor.guardian.table import Slot
from fustor.runtime import daemon
from fustor.runtime.config import ConfigFaults
from protocols.errors import ConfigError, MachineError


def test_folders_are_made_private(tmp_path: Path) -> None:
    state = tmp_path / "deep" / "state"
    daemon.make_state(str(state), ["views", "views/main"])
    for path in (state, *(state / name for name in ("run", "log", "keys", "keys/authorized", "views/main"))):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert os.listdir(state / "run") == []
    daemon.make_state(str(state), ["views", "views/main"])


def test_a_folder_that_others_may_write_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o770)
    with pytest.raises(MachineError, match=r"mode 0770: do `chmod 700"):
        daemon.make_state(str(tmp_path), [])


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    with pytest.raises(MachineError, match=r"state can't be made"):
        daemon.make_state(str(tmp_path / "state"), [])


def test_a_read_only_folder_is_named(tmp_path: Path) -> None:
    # The proc file system refuses new entries to everybody, root included.
    with pytest.raises(MachineError, match=r"/proc/self can't be written"):
        daemon.make_state("/proc/self", [])


def test_what_an_earlier_life_left_is_cleared(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").touch()
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(tmp_path / "lifeline"))
    stale.close()
    lock = daemon.clear_run(str(tmp_path))
    assert os.listdir(tmp_path) == [daemon.LOCK]
    os.close(lock)


def test_a_running_guardian_is_left_alone(tmp_path: Path) -> None:
    lock = daemon.clear_run(str(tmp_path))
    (tmp_path / "guardian.pid").write_text("4711\n")
    (tmp_path / "lifeline").touch()
    with pytest.raises(daemon.AlreadyRunningError, match="pid 4711"):
        daemon.clear_run(str(tmp_path))
    assert (tmp_path / "lifeline").exists()
    os.close(lock)


def test_the_default_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUSTOR_STATE", "/x")
    assert daemon.default_state("agent") == "/x/agent"
    monkeypatch.delenv("FUSTOR_STATE")
    monkeypatch.setenv("HOME", "/home/me")
    assert daemon.default_state("agent") == "/home/me/.local/state/fustor/agent"


CHECKED = """
from fustor.runtime.actor import run_actor
from protocols.errors import ConfigError
import os, time

def build(config):
    if config["do"] == "refuse":
        raise ConfigError("do", "refuse", "another one is accepted")
    if config["do"] == "die":
        os.abort()
    if config["do"] == "hang":
        time.sleep(1000)

run_actor("checked", build)
"""


def test_payloads_are_asked_in_a_process_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "checked_payload.py").write_text(CHECKED)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert daemon.check_payload("checked_payload", {"do": "accept"}) == []
    (fault,) = daemon.check_payload("checked_payload", {"do": "refuse"})
    assert "another one is accepted" in fault
    (fault,) = daemon.check_payload("checked_payload", {"do": "die"})
    assert "code -6" in fault
    (fault,) = daemon.check_payload("checked_payload", {"do": "hang"}, seconds=1.0)
    assert "within 1 s" in fault
    assert daemon.check_payload("no_such_payload", {})


def test_every_fault_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    one, two = ConfigError("a", 1, "2 is accepted"), ConfigError("b", 3, "4 is accepted", "f.toml")
    assert daemon.faults_of(ConfigFaults((one, two))) == [str(one), str(two)]
    assert daemon.faults_of(one) == [str(one)]
    daemon.report("fustor-x", daemon.faults_of(ConfigFaults((one, two))))
    assert capsys.readouterr().err == "fustor-x: a = 1: 2 is accepted\nfustor-x: f.toml: b = 3: 4 is accepted\n"


def test_what_processes_of_a_killed_guardian_use_is_kept(tmp_path: Path) -> None:
    def record(pid: int, start: int) -> None:
        slot = Slot("a", pid, "t", start).as_json()
        table: dict[str, object] = {"boot": boot_id(), "control": None, "slots": [slot], "listen": {}, "oom_score": 0}
        (tmp_path / daemon.TABLE).write_text(json.dumps(table))

    (tmp_path / "lifeline").touch()
    record(os.getpid(), born(os.getpid()))
    os.close(daemon.clear_run(str(tmp_path)))
    assert (tmp_path / "lifeline").exists()
    assert (tmp_path / daemon.TABLE).exists()
    record(os.getpid(), born(os.getpid()) - 1)  # another process, of the same number
    os.close(daemon.clear_run(str(tmp_path)))
    assert os.listdir(tmp_path) == [daemon.LOCK]
