"""``fustor agents``."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.admin.conftest import FakeFusion

AGENTS: list[dict[str, Any]] = [
    {
        "agent": "local",
        "link": "up",
        "rtt_us": 1500,
        "epoch": 3,
        "sources": ["data"],
        "payloads": [{"state": "running"}, {"state": "backing-off"}],
    }
]


def test_one_row_per_agent(fusion: FakeFusion, run_fustor: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    state = ("--state", str(fusion.state.folder))
    fusion.admin["agents"] = {"agents": [], "next": ""}
    assert run_fustor("agents", *state).stdout == "no agent has logged in yet\n"
    fusion.admin["agents"] = {"agents": AGENTS, "next": ""}
    lines = run_fustor("agents", *state).stdout.splitlines()
    assert lines[1].split() == ["local", "up", "1.5", "ms", "3", "data", "1", "of", "2", "running"]
    assert json.loads(run_fustor("agents", "--json", *state).stdout) == AGENTS
