"""Commands that give orders: what they ask of Fusion, print, and exit with."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from protocols.errors import RequestError

if TYPE_CHECKING:
    from tests.admin.conftest import FakeFusion

Run = Callable[..., subprocess.CompletedProcess[str]]


def done(kind: str, payload: str = "watcher.data", **data: Any) -> dict[str, Any]:
    order = {"id": "x", "target": "local", "kind": kind, "payload": payload, "state": "done", "final": True}
    return {**order, "text": "fine", "data": data}


@pytest.mark.parametrize(
    ("arguments", "args"),
    [
        (("restart",), {"kind": "restart"}),
        (("pause",), {"kind": "pause"}),
        (("resume",), {"kind": "resume"}),
        (("drain", "--ttl", "9"), {"kind": "drain", "ttl": "9.0"}),
        (("release",), {"kind": "release"}),
        (("kill",), {"kind": "kill", "signal": "15"}),
        (("kill", "-9"), {"kind": "kill", "signal": "9"}),
        (("kill", "-s", "6"), {"kind": "kill", "signal": "6"}),
    ],
)
def test_each_command_gives_its_order(
    fusion: FakeFusion, run_fustor: Run, arguments: tuple[str, ...], args: dict[str, str]
) -> None:
    fusion.admin["order"] = done(args["kind"])
    command = (*arguments, "local/watcher.data", "--state", str(fusion.state.folder))
    told = run_fustor(*command)
    assert (told.returncode, told.stdout) == (0, f"{args['kind']} local/watcher.data: done: fine\n")
    asked = dict(fusion.asked[0].args)
    assert len(asked.pop("id")) >= 16
    assert asked == {"target": "local", "payload": "watcher.data", **args}
    assert json.loads(run_fustor(*command, "--json").stdout)["state"] == "done"


def test_a_refusal_is_a_wrong_command(fusion: FakeFusion, run_fustor: Run) -> None:
    fusion.admin["order"] = RequestError("kind", "kill", "role operator is accepted")
    told = run_fustor("kill", "local/watcher.data", "--state", str(fusion.state.folder))
    assert told.returncode == 2
    assert "role operator is accepted" in told.stderr
    assert run_fustor("kill", "watcher.data", "--state", str(fusion.state.folder)).returncode == 2


def test_log_lines(fusion: FakeFusion, run_fustor: Run) -> None:
    fusion.admin["order"] = done("log", text="one\ntwo")
    told = run_fustor("log", "local/control", "-n", "2", "--state", str(fusion.state.folder))
    assert told.stdout == "one\ntwo\n"
    assert fusion.asked[0].args["lines"] == "2"


def test_stacks_of_another_host(fusion: FakeFusion, run_fustor: Run) -> None:
    fusion.admin["order"] = done("stacks", text="Thread 1")
    state = ("--state", str(fusion.state.folder))
    assert run_fustor("stacks", "local/watcher.data", *state).stdout == "Thread 1\n"
    assert json.loads(run_fustor("stacks", "local/watcher.data", "--json", *state).stdout) == {
        "local/watcher.data": "Thread 1"
    }


def test_a_diagnosis_is_written_to_a_file(fusion: FakeFusion, run_fustor: Run, tmp_path: Path) -> None:
    fusion.admin |= {"order": done("diagnose", "", bytes=3), "fetch": {"total": 3, "data": b"zip"}}
    file, state = tmp_path / "d.zip", ("--state", str(fusion.state.folder))
    told = run_fustor("diagnose", "local", "-o", str(file), *state)
    assert (told.returncode, file.read_bytes()) == (0, b"zip")
    assert "3 bytes in" in told.stdout
    assert file.stat().st_mode & 0o777 == 0o600
    assert run_fustor("diagnose", "local", "-o", str(tmp_path), *state).returncode == 2
