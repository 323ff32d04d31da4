"""``fustor payloads``."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fustor.admin.payloads import listing

if TYPE_CHECKING:
    from tests.admin.conftest import FakeFusion

SIDES: list[dict[str, Any]] = [
    {
        "agent": "local",
        "payloads": [
            {
                "name": "watcher.data",
                "state": "running",
                "pid": 42,
                "software": "0.1.0",
                "revision": 0xABCDEF01,
                "restarts": 2,
                "cause": "hang",
                "vitals": {"rss_bytes": 3 << 20, "cpu_ms": 5, "cpu_permille": 125, "fds": 17, "threads": 2},
                "gauges": {"loop_lag_us": 1500},
                "counters": {"items": 7, "none": 0},
                "complaint": "",
            },
            {"name": "syncer.data", "state": "drained", "pid": 0, "restarts": 0},
        ],
    }
]


def test_a_narrow_window_shows_less() -> None:
    headings = [str(column.header) for column in listing(SIDES, 80).columns]
    assert headings == ["payload", "state", "pid", "restarts", "cause", "memory", "cpu", "fds", "complaint"]
    assert len(listing(SIDES, 240).columns) == 13


def test_one_row_per_payload(fusion: FakeFusion, run_fustor: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    fusion.admin["payloads"] = {"sides": SIDES, "next": ""}
    state = ("--state", str(fusion.state.folder))
    lines = run_fustor("payloads", *state).stdout.splitlines()
    row = "local/watcher.data running 42 0.1.0 abcdef 2 hang 3.0 MiB 12.5 % 17 1.5 ms items=7"
    assert lines[1].split() == row.split()
    assert lines[2].split() == ["local/syncer.data", "drained", "0"]
    assert json.loads(run_fustor("payloads", "local", "--json", *state).stdout) == SIDES
    assert fusion.asked[-1].args == {"agent": "local"}
