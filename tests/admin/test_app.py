"""The command line as a whole."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fustor.admin.app import build

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


def test_every_command_of_every_group_can_be_had() -> None:
    for group in build().registered_groups:
        assert group.typer_instance is not None
        commands = group.typer_instance.registered_commands
        assert commands
        assert all(command.callback is not None and command.callback.__doc__ for command in commands)


def test_help_names_the_exit_codes(run_fustor: Run) -> None:
    assert "3 nothing runs" in run_fustor("--help").stdout.replace("\n", " ")


@pytest.mark.parametrize("module", ["fustor.admin.app", "fustor.agent.daemon", "fustor.fusion.daemon"])
def test_what_people_wait_for_does_not_import_what_it_does_not_need(module: str) -> None:
    program = f"import {module}, sys; print(sorted({{'nacl', 'trio', 'fustor.admin.doctor'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_only_the_command_that_is_wanted_is_put_together() -> None:
    everything = [command.name for command in build().registered_commands]
    assert len(everything) == len(set(everything)) > 10
    assert [command.name for command in build("status").registered_commands] == ["status"]
    assert [group.name for group in build("keys").registered_groups] == ["keys"]
    assert [command.name for command in build("none").registered_commands] == everything
