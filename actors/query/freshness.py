"""
What an answer may claim: states, ages, completeness. Pure: the time is passed in.

A source's watermark is a lease. Its age is the time since the watermark arrived at the view, by CLOCK_BOOTTIME of this
host, so that no two hosts' clocks are ever compared, and the death of any part between the directory and here shows as
growing age and then as ``stale``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs

from fustor.treestore.reader import SourceStatus

#: States of a view, and of a source besides ``offline`` and ``degraded``.
EMPTY, BUILDING, LIVE, STALE = "empty", "building", "live", "stale"


@attrs.frozen
class SourceFace:
    """A source as an answer shows it; ``as_of`` in seconds since 1970, ``age`` in seconds, None for unknown."""

    name: str
    agent: str
    mount: str
    state: str
    as_of: float | None
    age: float | None
    complete: bool
    reasons: tuple[str, ...]
    counts: Mapping[str, int]


@attrs.frozen
class ViewStatus:
    """A view as an answer shows it: ``as_of`` is the oldest of its sources', ``age`` the greatest; None for unknown."""

    state: str
    as_of: float | None
    age: float | None
    complete: bool
    sources: tuple[SourceFace, ...]


def source_status(source: SourceStatus, now_ns: int, lease_seconds: float) -> SourceFace:
    """
    The status of one source.

    Args:
        source: as stored; ``arrived_ns`` is 0 when the watermark came in an earlier boot, so that its age is unknown.
        now_ns: CLOCK_BOOTTIME now.
        lease_seconds: a watermark older than this makes the source stale.
    """
    heard = source.state != EMPTY
    age = max(0, now_ns - source.arrived_ns) / 1e9 if heard and source.arrived_ns > 0 else None
    state, complete, reasons = source.state, source.complete, source.reasons
    if not heard:
        complete = False
    elif age is None:
        state, complete, reasons = STALE, False, (*reasons, "not heard since this host was started")
    elif age > lease_seconds:
        state, complete, reasons = STALE, False, (*reasons, f"not heard for more than {lease_seconds:g} s")
    as_of = source.as_of_ns / 1e9 if source.as_of_ns > 0 else None
    return SourceFace(source.source, source.agent, source.mount, state, as_of, age, complete, reasons, source.counts)


def view_status(sources: Iterable[SourceStatus], now_ns: int, lease_seconds: float) -> ViewStatus:
    """
    The status of a view: ``empty`` when no source was ever heard, ``building`` while any source is building or not
    heard yet, ``live`` when all are, ``stale`` otherwise (offline and degraded sources, leases that are over).
    """
    shown = tuple(source_status(source, now_ns, lease_seconds) for source in sources)
    states = {source.state for source in shown}
    if states <= {EMPTY}:
        state = EMPTY
    elif BUILDING in states or EMPTY in states:
        state = BUILDING
    else:
        state = LIVE if states == {LIVE} else STALE
    times = [source.as_of for source in shown]
    ages = [source.age for source in shown]
    return ViewStatus(
        state,
        min(t for t in times if t is not None) if times and None not in times else None,
        max(a for a in ages if a is not None) if ages and None not in ages else None,
        bool(shown) and all(source.complete for source in shown),
        shown,
    )
