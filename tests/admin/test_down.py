"""``fustor down`` where nothing, or something stubborn, runs. A whole system is stopped in ``test_up``."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.admin.conftest import FakeFusion

Run = Callable[..., subprocess.CompletedProcess[str]]


def test_harmless_when_nothing_runs(run_fustor: Run, tmp_path: Path) -> None:
    done = run_fustor("down", "--state", str(tmp_path / "none"))
    assert (done.returncode, done.stdout) == (0, "fusion: was not running\nagent: was not running\n")
    assert not (tmp_path / "none").exists()


def test_the_agent_goes_first_and_all_is_said(run_fustor: Run, fusion: FakeFusion) -> None:
    state = str(fusion.state.folder)
    answer = json.loads(run_fustor("down", "--json", "--state", state).stdout)
    assert list(answer) == ["agent", "fusion"]
    assert answer["fusion"] == {"ran": True, "killed": [], "left": []}
    assert answer["agent"]["ran"] is False
    assert list(fusion.state.fusion.run.iterdir()) == []
    assert run_fustor("status", "--state", state).returncode == 3
