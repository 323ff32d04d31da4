"""
What is going on, in numbers for people: pure functions over two looks at a running system.

A look is what fs/tree says of its root and what the control actor says of the actors; either may be missing, and is
then shown as missing. Clocks are read by the caller.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from fustor.admin.text import duration, size

#: Counter of the watchers from which the rate of events is taken.
EVENTS = "events"


@attrs.frozen
class Actor:
    """One process as its control actor sees it."""

    side: str
    name: str
    state: str
    pid: int
    restarts: int
    last_exit: str


@attrs.frozen
class Look:
    """
    What was seen at one moment.

    Attributes:
        at: seconds on the caller's monotonic clock.
        phase: state of the view; ``starting`` when nobody answers.
        complete: all of it is known.
        files, directories, bytes: in the tree, whole subtree.
        age: seconds since which changes may be missing; None when nothing can be said.
        events: file system events since the watchers started; None when not known.
        reasons: why it is not live, in words.
        actors: None when the control actor did not answer.
    """

    at: float
    phase: str
    complete: bool = False
    files: int = 0
    directories: int = 0
    bytes: int = 0
    age: float | None = None
    events: int | None = None
    reasons: tuple[str, ...] = ()
    actors: tuple[Actor, ...] | None = None


def look(at: float, root: Mapping[str, Any] | None, status: Mapping[str, Any] | None) -> Look:
    """Make a :class:`Look` of the root node of fs/tree and the answer to the admin question ``status``."""
    actors = actors_of(status) if status is not None else None
    events = events_of(status) if status is not None else None
    if root is None:
        return Look(at=at, phase="starting", actors=actors, events=events)
    rollup = root.get("rollup") or {}
    sources = root.get("sources") or []
    return Look(
        at=at,
        phase=str(root["state"]),
        complete=bool(root.get("complete")),
        files=int(rollup.get("files", 0)),
        directories=int(rollup.get("directories", 0)),
        bytes=int(rollup.get("bytes", 0)),
        age=root.get("age"),
        events=events,
        reasons=tuple(str(reason) for source in sources for reason in source.get("reasons", ())),
        actors=actors,
    )


def _payloads(status: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Every payload in an answer to ``status`` with its side: ``fusion`` or the agent's id."""
    found = [("fusion", payload) for payload in status.get("payloads", ())]
    for agent in status.get("agents", ()):
        found += [(str(agent["agent"]), payload) for payload in agent.get("payloads", ())]
    return found


def actors_of(status: Mapping[str, Any]) -> tuple[Actor, ...]:
    """The actors named in an answer to ``status``."""
    return tuple(
        Actor(
            side=side,
            name=str(payload["name"]),
            state=str(payload["state"]),
            pid=int(payload.get("pid", 0)),
            restarts=int(payload.get("restarts", 0)),
            last_exit=str(payload.get("last_exit", "")),
        )
        for side, payload in _payloads(status)
    )


def events_of(status: Mapping[str, Any]) -> int | None:
    """Events counted by all watchers; None when no watcher has said anything yet."""
    counts = [
        int(payload["counters"][EVENTS]) for _, payload in _payloads(status) if EVENTS in payload.get("counters", {})
    ]
    return sum(counts) if counts else None


def rate(before: float | None, after: float | None, seconds: float) -> float | None:
    """Increase per second; None when it can't be said. A counter that fell was restarted: its value is the increase."""
    if before is None or after is None or seconds <= 0:
        return None
    return (after - before if after >= before else after) / seconds


def line(now: Look, before: Look | None) -> str:
    """One line that says all of it."""
    span = now.at - before.at if before else 0.0
    found = rate(before.files if before else None, now.files, span)
    events = rate(before.events if before else None, now.events, span)
    parts = [
        now.phase + (" (complete)" if now.complete else ""),
        f"{now.files:,} files in {now.directories:,} directories, {size(now.bytes)}",
    ]
    if found:
        parts.append(f"{found:,.0f} files/s")
    if events is not None:
        parts.append(f"{events:,.0f} events/s")
    parts.append(f"lag {duration(now.age)}" if now.age is not None else "lag unknown")
    if now.actors is not None:
        running = sum(actor.state == "running" for actor in now.actors)
        parts.append(f"{running} of {len(now.actors)} actors running")
    parts += now.reasons[:3]
    return " · ".join(parts)


def troubled(actors: Sequence[Actor]) -> list[Actor]:
    """Those that do not simply run."""
    return [actor for actor in actors if actor.state != "running"]
