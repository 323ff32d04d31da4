"""
What happened anywhere, as Fusion has heard of it: one ring over all sides, in the order of arrival.

What this module does not do: compare clocks, or keep anything on disk.
"""

from __future__ import annotations

import heapq
from collections import deque
from typing import Any

import attrs

from protocols.happenings import EventLimits, weight
from protocols.messages import Happening

#: Bytes of one answer.
ANSWER_BYTES = 512 << 10


#: One side may tell of a thousand.
FLEET = EventLimits(most=4096, bytes=32 << 20)


@attrs.define(eq=False)
class _Side:
    """What is kept of one side: (number, happening), and its weight."""

    kept: deque[tuple[int, Happening]] = attrs.field(factory=deque)
    weight: int = 0


@attrs.define(eq=False)
class Events:
    """
    Above a bound the oldest of the side that has most goes, so that one in trouble all the time costs the others
    nothing.

    Attributes:
        limits: what is kept.
        last: number of the last one; to begin with, one that is higher than any of an earlier life.
    """

    limits: EventLimits = FLEET
    last: int = 0
    _sides: dict[str, _Side] = attrs.Factory(dict)
    #: Highest number that went.
    _gone: int = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._gone = self.last

    def add(self, side: str, happening: Happening) -> None:
        """Something that happened at ``side``."""
        self.last += 1
        of_it = self._sides.setdefault(side, _Side())
        of_it.kept.append((self.last, happening))
        of_it.weight += weight(happening)
        sides = self._sides.values()
        while sum(len(one.kept) for one in sides) > self.limits.most:
            self._drop(max(sides, key=lambda one: len(one.kept)))
        while sum(one.weight for one in sides) > self.limits.bytes and sum(len(one.kept) for one in sides) > 1:
            self._drop(max(sides, key=lambda one: one.weight))

    def _drop(self, side: _Side) -> None:
        number, happening = side.kept.popleft()
        side.weight -= weight(happening)
        self._gone = max(self._gone, number)

    def after(self, number: int, side: str = "", *, evidence: bool = False) -> dict[str, Any]:
        """
        Those with a higher number, oldest first, as plain data; at most :data:`ANSWER_BYTES` of them.

        Returns:
            ``{"events": […], "next": number to ask with again, "lost": whether some above ``number`` are gone}``.
        """
        if number > self.last:
            number = 0  # of an earlier life, whose clock was ahead
        found: list[dict[str, Any]] = []
        following, room = max(number, 0), ANSWER_BYTES
        wanted = [
            [(own, where, one) for own, one in kept.kept if own > number]
            for where, kept in self._sides.items()
            if side in ("", where)
        ]
        for own, where, one in heapq.merge(*wanted, key=lambda entry: entry[0]):
            room -= weight(one) if evidence else weight(one) - 4 * len(one.evidence)
            if room < 0 and found:
                break
            following = own
            found.append(
                {
                    "number": own,
                    "side": where,
                    "at_ns": one.at_ns,
                    "payload": one.payload,
                    "kind": one.kind,
                    "text": one.text,
                    "evidence": one.evidence if evidence else "",
                    "evidence_characters": len(one.evidence),
                }
            )
        else:
            following = max(following, self.last)
        return {"events": found, "next": following, "lost": 0 < number < self._gone}
