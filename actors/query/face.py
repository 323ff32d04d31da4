"""
What every answer about a view says of it: composed once for a state of the view, after which only ages are put in.

Pure: the time is passed in. What it does not do: it reads nothing, and decides nothing about states (``freshness``
does).
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import msgspec

from actors.query.answer import HeaderBlock
from actors.query.freshness import SourceFace, view_status
from fustor.treestore.reader import SourceStatus, Status
from fustor.treestore.render import json_members

# Stands for an age; neither JSON nor header lines have this byte.
_HOLE = b"\x01"
_AGE = msgspec.Raw(_HOLE)
_FOREVER = 1 << 63


@attrs.define(eq=False)
class Face:
    """
    What every answer about a view says of it.

    Attributes:
        state, as_of, complete: of the view, see :class:`~actors.query.freshness.ViewStatus`.
        age: the same, in seconds, to the millisecond.
        generation: of the whole tree.
        uuid: of the store; empty when there is none.
        headers: X-Fustor-View and so on.
        members: the same and the sources as JSON members, each with a comma before it.
    """

    state: str
    as_of: float | None
    complete: bool
    age: float | None
    generation: int
    uuid: str
    headers: HeaderBlock
    members: bytes


class FaceMaker:
    """
    The faces of a view as time passes, for one content of its store.

    Args:
        view: its name.
        stored: what its store says; None when there is no store.
        lease_seconds: see :func:`~actors.query.freshness.view_status`.
    """

    def __init__(self, view: str, stored: Status | None, lease_seconds: float) -> None:
        self._view = view
        self._sources: Sequence[SourceStatus] = stored.sources if stored else ()
        self._generation = stored.generation if stored else 0
        self._uuid = stored.uuid if stored else ""
        self._lease_seconds = lease_seconds
        self._from_ns = self._until_ns = 0

    def at(self, now_ns: int) -> Face:
        """The face at ``now_ns`` (CLOCK_BOOTTIME)."""
        if not self._from_ns <= now_ns < self._until_ns:
            self._compose(now_ns)
        status = self._status
        ages = [(max(0, now_ns - arrived) + 500_000) // 1_000_000 for arrived in self._arrived]
        texts = tuple([b"%d.%03d" % divmod(age, 1000) for age in ages])
        known = status.age is not None
        return Face(
            status.state,
            status.as_of,
            status.complete,
            ages[0] / 1000 if known else None,
            self._generation,
            self._uuid,
            HeaderBlock(self._lines % texts[:known]),
            self._members % texts,
        )

    def _compose(self, now_ns: int) -> None:
        """Write all that stays the same until the next lease ends."""
        status = self._status = view_status(self._sources, now_ns, self._lease_seconds)
        lease = round(self._lease_seconds * 1e9)
        ends = [
            stored.arrived_ns + lease
            for stored, source in zip(self._sources, status.sources, strict=True)
            if source.age is not None and source.age <= self._lease_seconds
        ]
        self._from_ns, self._until_ns = now_ns, min(ends, default=_FOREVER)
        # Since when each age counts, in the order of the holes; the first is the view's, which is its oldest source's.
        arrived = [
            stored.arrived_ns
            for stored, source in zip(self._sources, status.sources, strict=True)
            if source.age is not None
        ]
        self._arrived = arrived if status.age is None else [min(arrived), *arrived]
        as_of = None if status.as_of is None else round(status.as_of, 6)
        headers = HeaderBlock.of(
            {
                "X-Fustor-View": self._view,
                "X-Fustor-Generation": str(self._generation),
                "X-Fustor-As-Of": "" if as_of is None else f"{as_of:.6f}",
                "X-Fustor-Age": "" if status.age is None else _HOLE.decode(),
                "X-Fustor-State": status.state,
                "X-Fustor-Complete": "true" if status.complete else "false",
            }
        )
        members = json_members(
            {
                "view": self._view,
                "generation": self._generation,
                "as_of": as_of,
                "age": None if status.age is None else _AGE,
                "state": status.state,
                "complete": status.complete,
                "sources": [_members(source) for source in status.sources],
            }
        )
        self._lines, self._members = _template(headers.lines), _template(members)


def _members(source: SourceFace) -> dict[str, object]:
    members = attrs.asdict(source, recurse=False)
    return members if source.age is None else {**members, "age": _AGE}


def _template(text: bytes) -> bytes:
    """``text`` as a format, its holes to be filled."""
    return text.replace(b"%", b"%%").replace(_HOLE, b"%b")
