"""What is shown, computed from two looks."""

from __future__ import annotations

from typing import Any

import pytest

from fustor.admin.progress import Actor, Look, line, look, rate, troubled

ROOT: dict[str, Any] = {
    "state": "building",
    "complete": False,
    "age": 0.25,
    "rollup": {"files": 1000, "directories": 50, "bytes": 4096},
    "sources": [{"reasons": ["3 directories unreadable"]}],
}


def status(events: int) -> dict[str, Any]:
    payload = {
        "name": "view.main",
        "state": "running",
        "pid": 11,
        "restarts": 2,
        "last_exit": "signal 9",
        "counters": {},
    }
    watcher = {"name": "watcher.data", "state": "backing-off", "pid": 0, "restarts": 1, "counters": {"events": events}}
    return {"payloads": [payload], "agents": [{"agent": "local", "payloads": [watcher]}]}


def test_a_look_holds_what_both_sides_said() -> None:
    seen = look(1.0, ROOT, status(7))
    assert (seen.phase, seen.files, seen.directories, seen.bytes, seen.age) == ("building", 1000, 50, 4096, 0.25)
    assert seen.events == 7
    assert seen.actors == (
        Actor("fusion", "view.main", "running", 11, 2, "signal 9"),
        Actor("local", "watcher.data", "backing-off", 0, 1, ""),
    )
    assert [actor.name for actor in troubled(seen.actors)] == ["watcher.data"]


def test_what_does_not_answer_is_missing() -> None:
    assert look(1.0, None, None) == Look(at=1.0, phase="starting")
    assert look(1.0, {"state": "empty"}, None).files == 0


@pytest.mark.parametrize(
    ("before", "after", "seconds", "expected"),
    [
        (10, 30, 2.0, 10.0),
        (30, 10, 2.0, 5.0),  # restarted in between
        (None, 10, 2.0, None),
        (10, None, 2.0, None),
        (10, 20, 0.0, None),
    ],
)
def test_rate(before: float | None, after: float | None, seconds: float, expected: float | None) -> None:
    assert rate(before, after, seconds) == expected


def test_the_line_says_all_of_it() -> None:
    before = look(1.0, ROOT, status(0))
    later = {**ROOT, "rollup": {"files": 3000, "directories": 60, "bytes": 1 << 20}}
    assert line(look(3.0, later, status(100)), before) == (
        "building · 3,000 files in 60 directories, 1.0 MiB · 1,000 files/s · 50 events/s · lag 0.25 s · "
        "1 of 2 actors running · 3 directories unreadable"
    )


def test_the_line_says_what_is_not_known() -> None:
    assert line(look(1.0, None, None), None) == "starting · 0 files in 0 directories, 0 B · lag unknown"
