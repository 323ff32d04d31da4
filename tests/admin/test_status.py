"""``fustor status``, also while something does not answer."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.admin.conftest import FakeFusion

Run = Callable[..., subprocess.CompletedProcess[str]]

STATUS: dict[str, Any] = {
    "payloads": [{"name": "view.main", "state": "running", "pid": 42, "restarts": 1, "last_exit": "signal 9"}],
    "agents": [],
}


def test_the_actors_are_shown(fusion: FakeFusion, run_fustor: Run, data: str) -> None:
    fusion.admin["status"] = STATUS
    done = run_fustor("status", "--state", str(fusion.state.folder))
    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    assert lines[0].endswith(f"/fs/tree  {data}")
    assert lines[1].startswith("starting · ")  # nobody listens on the HTTP port here
    assert lines[3].split() == ["fusion", "view.main", "running", "42", "1", "signal", "9"]


def test_json(fusion: FakeFusion, run_fustor: Run) -> None:
    fusion.admin["status"] = STATUS
    answer = json.loads(run_fustor("status", "--json", "--state", str(fusion.state.folder)).stdout)
    assert (answer["tree"], answer["status"], answer["error"]) == (None, STATUS, "")


def test_a_silent_control_actor_is_said_and_is_a_failure(fusion: FakeFusion, run_fustor: Run) -> None:
    done = run_fustor("status", "--state", str(fusion.state.folder))
    assert done.returncode == 1
    assert "the control actor does not answer" in done.stdout
    assert "did not answer within" in done.stderr


def test_usage_and_nothing_running(fusion: FakeFusion, run_fustor: Run) -> None:
    assert run_fustor("status", "--watch", "--json", "--state", str(fusion.state.folder)).returncode == 2
    nothing = run_fustor("status", "--state", str(fusion.state.folder / "none"))
    assert (nothing.returncode, "fustor up DIR" in nothing.stderr) == (3, True)
