"""The command line as a whole."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]

COMMANDS = ("up", "down", "status", "agents", "tree", "stat", "stacks", "store check")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_takes_a_state_folder_and_gives_json(run_fustor: Run, command: str) -> None:
    done = run_fustor(*command.split(), "--help")
    assert done.returncode == 0
    assert "--state FOLDER" in done.stdout
    assert "--json" in done.stdout


@pytest.mark.parametrize("command", ["status", "agents", "tree", "stat /", "stacks"])
def test_nothing_runs_has_a_code_and_an_advice(run_fustor: Run, tmp_path: Path, command: str) -> None:
    done = run_fustor(*command.split(), FUSTOR_STATE=str(tmp_path / "none"))
    assert (done.returncode, done.stdout) == (3, "")
    assert "start it: fustor up DIR" in done.stderr


@pytest.mark.parametrize("arguments", [("fly",), ("up",), ("tree", "/", "--depth", "x")])
def test_wrong_usage(run_fustor: Run, arguments: tuple[str, ...]) -> None:
    done = run_fustor(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Usage: fustor" in done.stderr


def test_help_names_the_exit_codes(run_fustor: Run) -> None:
    assert "3 nothing runs" in run_fustor("--help").stdout.replace("\n", " ")
