"""Payloads that hang: seen, evidence at Fusion before they are killed, and replaced."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.sides import Sides, running, until


@pytest.fixture
def sides(tmp_path: Path) -> Iterator[Sides]:
    with running(tmp_path) as both:
        yield both


def story(sides: Sides, side: str, payload: str) -> list[dict[str, Any]]:
    """Of its death: from the hang to the exit."""
    events: list[dict[str, Any]] = until(
        lambda: (e := sides.events(side, payload)) and any(one["kind"] == "exit" for one in e) and e, "its exit"
    )
    kinds = [one["kind"] for one in events]
    return events[kinds.index("hang") :] if "hang" in kinds else events


@pytest.mark.parametrize(("side", "payload"), [("local", "scanner.data.0"), ("fusion", "view.main")])
def test_a_payload_that_spins_in_c_is_seen_and_replaced(sides: Sides, side: str, payload: str) -> None:
    pid = sides.payload(side, payload)["pid"]
    sides.trouble(payload, "spin")
    hang, *rest = story(sides, side, payload)
    assert "silent" in hang["text"]
    assert f"/proc/{pid}/status" in hang["evidence"]
    assert "R (running)" in hang["evidence"]
    assert f"== last lines of {payload}.log" in hang["evidence"]
    stacks = [one for one in rest if one["kind"] == "evidence"] or [
        until(lambda: [e for e in sides.events(side, payload) if e["kind"] == "evidence"], "the stacks")[0]
    ]
    assert "re/__init__.py" in stacks[0]["evidence"]
    until(sides.all_running, "everything again")
    after = sides.payload(side, payload)
    assert (after["cause"], after["restarts"]) == ("hang", 1)
    assert after["pid"] != pid


def test_a_stopped_payload_is_seen_and_replaced(sides: Sides) -> None:
    pid = sides.agent.pids()["syncer.data"]
    os.kill(pid, signal.SIGSTOP)
    hang, *_ = story(sides, "local", "syncer.data")
    assert "silent" in hang["text"]
    assert "T (stopped)" in hang["evidence"]
    until(sides.all_running, "everything again")
    assert sides.payload("local", "syncer.data")["cause"] == "hang"


def test_a_payload_without_progress_is_seen_and_replaced(sides: Sides) -> None:
    sides.trouble("watcher.data", "stall")
    hang, stacks, *_ = story(sides, "local", "watcher.data")
    assert "stalled: work outstanding" in hang["text"]
    # It can still write its stacks, and does so before it is killed.
    assert stacks["kind"] == "evidence"
    assert "most recent call first" in stacks["evidence"]
    until(sides.all_running, "everything again")
    assert sides.payload("local", "watcher.data")["cause"] == "hang"


def test_an_agents_story_survives_the_absence_of_fusion(sides: Sides) -> None:
    assert sides.fusion.stop() == 0
    pid = sides.agent.pids()["scanner.data.1"]
    os.kill(pid, signal.SIGKILL)
    until(lambda: sides.agent.pids().get("scanner.data.1", pid) != pid, "another scanner")
    sides.fusion.start()
    exits = until(
        lambda: [e for e in sides.events("local", "scanner.data.1") if e["kind"] == "exit"], "the news of its exit"
    )
    assert exits[0]["text"] == "signal 9 (SIGKILL), cause signal"


def test_vitals_are_seen_at_fusion(sides: Sides) -> None:
    for side, name in (("local", "watcher.data"), ("fusion", "query.0")):
        # The first look may have been at a process that had just begun.
        status = until(
            lambda: (s := sides.payload(side, name)).get("vitals", {}).get("fds", 0) > 3 and s,  # noqa: B023
            "vitals of a process that works",
        )
        assert status["vitals"]["rss_bytes"] > 1 << 20
        assert status["software"]
        assert status["revision"] > 0
        assert "loop_lag_us" in status["gauges"]
