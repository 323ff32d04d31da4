"""What of the programs is written down, and when. With processes: ``test_boot``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fustor.guardian.choice import Choice
from fustor.guardian.errors import RefusedError
from fustor.guardian.logs import Logs


def new(folder: Path) -> str:
    (folder / "new/fustor/guardian").mkdir(parents=True)
    (folder / "new/fustor/guardian/main.py").touch()
    return str(folder / "new")


def choice(folder: Path, path: str = "shell.json") -> Choice:
    return Choice(str(folder / path) if path else "", "", 60.0, Logs(str(folder / "log"), 1 << 20))


def test_a_choice_is_there_for_the_next_guardian(tmp_path: Path) -> None:
    first = choice(tmp_path)
    program = new(tmp_path)
    first.attempt("control", program, "7")
    second = choice(tmp_path)
    assert (second.control_program(), second.on_trial) == (program, True)
    second.prove("control")
    assert not choice(tmp_path).on_trial


def test_a_trial_has_an_end(tmp_path: Path) -> None:
    made = choice(tmp_path)
    made.attempt("control", new(tmp_path), "7")
    assert made.wake_at() is None, "nothing runs yet"
    made.control_runs(100.0)
    made.control_runs(150.0)
    assert made.wake_at() == 160.0
    assert not made.overdue(159.0)
    assert made.overdue(160.0)
    assert (made.control_program(), made.wake_at(), made.overdue(1000.0)) == ("", None, False)


def test_what_cannot_be_written_down_is_not_done(tmp_path: Path) -> None:
    made = choice(tmp_path, "missing/shell.json")
    with pytest.raises(RefusedError) as refused:
        made.attempt("control", new(tmp_path), "7")
    assert refused.value.errno
    assert made.control_program() == ""


def test_without_a_file_only_what_is_installed_runs(tmp_path: Path) -> None:
    made = choice(tmp_path, "")
    with pytest.raises(RefusedError):
        made.attempt("control", new(tmp_path), "7")
    made.control_died("it crashed")
    assert made.control_program() == ""


def test_what_is_written_is_what_there_is(tmp_path: Path) -> None:
    made = choice(tmp_path)
    program = new(tmp_path)
    made.attempt("guardian", program, "7")
    made.would_not_start("it would not start")
    made.would_not_start("twice")
    made.leave("guardian", "what is installed can't be left")
    written = json.loads((tmp_path / "shell.json").read_text())["guardian"]
    assert (written["left"], written["why"]) == (program, "it would not start")
