"""Guardians and control actors that run another program than the installed one, and leave it: real processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fustor.guardian.programs import Programs
from tests.guardian.conftest import MAIN, ROOT, Side
from tests.guardian.test_adoption import survivor

#: Whoever is only asked whether it would start does not run it.
DIES = "\nimport os, sys\n'--check' in sys.argv or os.abort()\n"


def program(side: Side, name: str, change: str = "") -> str:
    """Folder of another version of the guardian."""
    folder = side.folder / name
    shutil.copytree(ROOT / "fustor/guardian", folder / "fustor/guardian", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "fustor/__init__.py").touch()
    with (folder / "fustor/guardian/loop.py").open("a") as file:
        file.write(change)
    return str(folder)


def start(side: Side, **changes: Any) -> int:
    return side.start_successive(entry=str(MAIN), shell=str(side.folder / "shell.json"), **changes)


def shell(side: Side) -> dict[str, Any]:
    """What is written down; nothing was ever sent before there is a file."""
    path = side.folder / "shell.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else Programs().as_json()
    return found


def runs(pid: int) -> str:
    """The folder of a guardian's program; of one that is just being executed nothing is known."""
    words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    return str(Path(words[3]).parents[2]) if len(words) > 3 else "(nothing)"


def path_of(pid: int) -> str:
    """Where the modules of a process come from; empty: what is installed."""
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return "(it is gone)"
    return next((one.partition("=")[2] for one in variables if one.startswith("PYTHONPATH=")), "")


def counted(side: Side, deaths: int) -> bool:
    return bool(shell(side)["control"]["deaths"] == deaths)


def replaced(side: Side, control: int, folder: str) -> int:
    """The control actor after ``control``, once it runs the program in ``folder``."""

    def found() -> int:
        pid = side.control()
        return pid if pid != control and path_of(pid) == folder else 0

    return int(side.until(found, f"a control actor of {folder or 'what is installed'}"))


def changed(side: Side, pid: int, folder: str) -> None:
    side.until(lambda: runs(pid) == folder and shell(side)["runs"] in (folder, ""), f"the guardian in {folder}")


def test_a_guardian_becomes_another_one_and_stays_it(side: Side) -> None:
    pid = start(side)
    payload, control = survivor(side, "payload"), side.control()
    new = program(side, "new")
    assert side.ask("attempt", part="guardian", program=new, tag="7") is not None
    changed(side, pid, new)
    assert side.ask("list")["slots"][0]["pid"] == payload
    assert (shell(side)["guardian"]["trial"], shell(side)["runs"]) == (True, new)
    side.ask("prove", part="guardian")
    assert (shell(side)["guardian"]["trial"], shell(side)["guardian"]["deaths"]) == (False, 0)
    killed = side.kill_guardian()
    successor = side.successor(killed)
    assert runs(successor) == new
    assert (side.control(), side.ask("list")["slots"][0]["pid"]) == (control, payload)
    os.kill(successor, signal.SIGHUP)
    side.logged("changing to the new version", 2)
    changed(side, successor, new)
    side.ask("attempt", part="guardian", program="", tag="8")
    changed(side, successor, str(ROOT))
    assert side.ask("list")["slots"][0]["pid"] == payload


def test_one_that_would_not_start_is_left_before(side: Side) -> None:
    pid = start(side)
    side.ask("attempt", part="guardian", program=program(side, "new", "\nraise SystemExit(7)\n"), tag="7")
    side.until(lambda: shell(side)["guardian"]["left"], "that it is left")
    assert "would not start, this one goes on: code 7" in shell(side)["guardian"]["why"]
    assert (runs(pid), side.ask("list")["slots"]) == (str(ROOT), [])


@pytest.mark.parametrize("proved", [False, True], ids=["on trial", "proved"])
def test_one_that_dies_is_left_by_those_who_follow(side: Side, proved: bool) -> None:
    start(side)
    payload, control = survivor(side, "payload"), side.control()
    new = program(side, "new", "" if proved else DIES)
    side.ask("attempt", part="guardian", program=new, tag="7")
    if proved:
        side.until(lambda: shell(side)["runs"] == new, "the new guardian")
        side.ask("prove", part="guardian")
        with Path(new, "fustor/guardian/loop.py").open("a") as file:
            file.write(DIES)
        side.kill_guardian()
    side.until(lambda: shell(side)["guardian"]["left"] == new, "that it is left")
    side.until(lambda: side.current() and runs(side.current()) == str(ROOT), "what is installed")
    assert "started again and again" in shell(side)["guardian"]["why"]
    assert side.ask("list")["slots"][0]["pid"] == payload
    assert side.control() == control


def test_a_control_actor_of_another_program(side: Side) -> None:
    start(side, restart_delay=0)
    new, payload, control = program(side, "new"), survivor(side, "payload"), side.control()
    side.tell("attempt", part="control", program=new, tag="7")
    control = replaced(side, control, new)
    side.ask("prove", part="control")
    assert not shell(side)["control"]["trial"]
    os.kill(control, signal.SIGKILL)
    control = replaced(side, control, new)
    side.tell("attempt", part="control", program="", tag="8")
    replaced(side, control, "")
    assert side.ask("list")["slots"][0]["pid"] == payload


def test_a_control_actor_on_trial_that_dies_is_left(side: Side) -> None:
    start(side, restart_delay=0)
    new, control = program(side, "new"), side.control()
    side.tell("attempt", part="control", program=new, tag="7")
    for deaths in (1, 2):
        control = replaced(side, control, new)
        os.kill(control, signal.SIGSEGV)
        side.until(partial(counted, side, deaths % 2), "that it is counted")
    replaced(side, control, "")
    assert shell(side)["control"]["why"] == "its control actor was ended by signal 11"


def test_a_control_actor_on_trial_that_does_nothing_is_left_at_once(side: Side) -> None:
    start(side, beat_timeout=0.2, hang_timeout=0.2, start_timeout=1000, trial_start_timeout=0.2)
    new, control = program(side, "new"), side.control()
    side.tell("attempt", part="control", program=new, tag="7")
    side.until(lambda: shell(side)["control"]["left"] == new, "that it is left")
    assert shell(side)["control"]["why"] == "its control actor did nothing any more"
    assert control != side.control()


def test_a_control_actor_that_is_not_proved_is_left(side: Side) -> None:
    start(side, trial_timeout=0.2)
    new = program(side, "new")
    side.tell("attempt", part="control", program=new, tag="7")
    side.until(lambda: shell(side)["control"]["left"] == new, "that it is left")
    assert shell(side)["control"]["unproved"]
    side.until(lambda: path_of(side.control()) == "", "what is installed")


def test_what_is_no_program_is_refused(side: Side) -> None:
    start(side)
    for fields, field in (
        ({"part": "control", "program": str(side.folder), "tag": "7"}, "program"),
        ({"part": "view", "program": "", "tag": "7"}, "part"),
        ({"part": "control", "program": 7, "tag": "7"}, "program"),
        ({"part": "control", "program": "", "tag": "x" * 5000}, "tag"),
    ):
        assert side.ask("attempt", **fields)["error"]["field"] == field


@pytest.mark.parametrize("content", ["{", '{"control": 7}'])
def test_a_damaged_file_means_what_is_installed(side: Side, content: str) -> None:
    (side.folder / "shell.json").write_text(content)
    pid = start(side)
    assert (runs(pid), path_of(side.control())) == (str(ROOT), "")
    side.logged("can't be used")


def test_a_program_that_is_gone_means_what_is_installed(side: Side) -> None:
    new = program(side, "new")
    part = {"program": new, "trial": False}
    (side.folder / "shell.json").write_text(json.dumps({"control": part, "guardian": part, "runs": new}))
    shutil.rmtree(new)
    pid = start(side)
    assert (runs(pid), path_of(side.control())) == (str(ROOT), "")
    assert {shell(side)[name]["why"] for name in ("control", "guardian")} == {"its folder is gone"}


def test_a_start_beside_a_guardian_that_runs_counts_nothing(side: Side) -> None:
    pid = start(side)
    new = program(side, "new")
    side.ask("attempt", part="guardian", program=new, tag="7")
    changed(side, pid, new)
    side.until(lambda: shell(side)["runs"] == new, "the new guardian")
    before = shell(side)["guardian"]["deaths"]
    second = side.popen(str(side.folder / "config.json"))
    assert second.wait(30) == 100
    assert shell(side)["guardian"]["deaths"] == before
