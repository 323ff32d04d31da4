"""Payloads that use too much: told, ended with the limit as the cause, replaced, and nobody else is disturbed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.sides import Sides, running, until

VICTIM = "scanner.data.0"
LIMITS = """
[limits.process.scanner]
memory_bytes = 134217728
fds = 100
cpu = 0.15
cpu_seconds = 2
log_bytes_per_second = 1048576
"""


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sides]:
    """One for all: a victim that was replaced is as good as new."""
    with running(tmp_path_factory.mktemp("limits"), agent=LIMITS) as both:
        yield both


def others(sides: Sides) -> dict[str, Any]:
    """Everything that shall be undisturbed."""
    pids = {name: pid for name, pid in sides.agent.pids().items() if name != VICTIM}
    link = sides.link()
    return {"pids": pids, "control": sides.agent.control(), "epoch": link["epoch"], "logins": link["logins"]}


@pytest.mark.parametrize(
    ("trouble", "cause", "said"),
    [
        ("hold_memory", "memory", "limit 128.0 MiB"),
        ("all_memory", "memory", "memory"),
        ("hold_fds", "fds", "limit 100"),
        ("all_fds", "fds", "descriptors"),
        ("burn", "cpu", "no counter of its work moved"),
        ("flood", "log", "limit 1.0 MiB/s"),
    ],
)
def test_who_uses_too_much_is_ended_for_it(sides: Sides, trouble: str, cause: str, said: str) -> None:
    before, victim = others(sides), sides.payload("local", VICTIM)
    pid, told = victim["pid"], len(sides.events("local", VICTIM))
    sides.trouble(VICTIM, trouble)
    until(lambda: sides.payload("local", VICTIM)["restarts"] > victim["restarts"], "its successor")
    until(sides.all_running, "everything again")
    after = sides.payload("local", VICTIM)
    assert (after["restarts"], after["pid"] != pid) == (victim["restarts"] + 1, True)
    if trouble == "all_memory" and after["cause"] == "exit":
        return  # there was none left to say so, wherever it was needed last
    assert after["cause"] == cause
    assert said in after["last_exit"]
    events = sides.events("local", VICTIM)[told:]
    [exit_] = [event for event in events if event["kind"] == "exit"]
    assert exit_["text"].endswith(f"cause {cause}")
    assert others(sides) == before
    if trouble.startswith("all"):
        return  # it may end by itself, refused more by the kernel, before anybody looks
    evidence = next(event for event in events if event["kind"] == cause and event["evidence"])
    assert f"/proc/{pid}/status" in evidence["evidence"]
    assert said in evidence["text"]
    if trouble == "flood":
        assert (sides.agent.state / "log" / f"{VICTIM}.log.1").stat().st_size <= 8 << 20


def test_limits_are_seen_beside_what_is_used(sides: Sides) -> None:
    vitals = until(lambda: sides.payload("local", VICTIM).get("vitals"), "vitals")
    assert 0 < vitals["memory_bytes"] <= vitals["rss_bytes"]
    assert (vitals["memory_limit"], vitals["fds_limit"]) == (128 << 20, 100)
