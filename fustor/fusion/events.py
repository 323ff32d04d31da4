"""
What happened anywhere, as Fusion has heard of it: one ring over all sides, in the order of arrival.

What this module does not do: compare clocks, or keep anything on disk.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import attrs

from protocols.happenings import weight
from protocols.messages import Happening

#: Bytes of one answer, and of all that is kept.
ANSWER_BYTES = 512 << 10
KEPT_BYTES = 32 << 20


@attrs.define(eq=False)
class Events:
    """
    Attributes:
        most: kept.
        last: number of the last one.
    """

    most: int = 4096
    last: int = 0
    _kept: deque[tuple[int, str, Happening]] = attrs.field(factory=deque)
    _weight: int = 0

    def add(self, side: str, happening: Happening) -> None:
        """Something that happened at ``side``."""
        self.last += 1
        self._kept.append((self.last, side, happening))
        self._weight += weight(happening)
        while len(self._kept) > self.most or (self._weight > KEPT_BYTES and len(self._kept) > 1):
            self._weight -= weight(self._kept.popleft()[2])

    def after(self, number: int, side: str = "", *, evidence: bool = False) -> dict[str, Any]:
        """
        Those with a higher number, oldest first, as plain data; at most :data:`ANSWER_BYTES` of them.

        Returns:
            ``{"events": […], "next": number to ask with again, "lost": how many above ``number`` are gone}``.
        """
        found: list[dict[str, Any]] = []
        following, room = max(number, 0), ANSWER_BYTES
        first = self._kept[0][0] if self._kept else self.last + 1
        for own, where, one in self._kept:
            if own <= number:
                continue
            room -= weight(one) if evidence else weight(one) - 4 * len(one.evidence)
            if room < 0 and found:
                break
            following = own
            if side not in ("", where):
                continue
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
        return {"events": found, "next": following, "lost": max(0, first - 1 - max(number, 0)) if number else 0}
