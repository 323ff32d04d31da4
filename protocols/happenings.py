"""
A bounded story of what happened, numbered, so that whoever follows it knows where it goes on and what was lost.

A control actor keeps its own happenings until Fusion has confirmed them, and after that for whoever asks; Fusion keeps
in mind how far each agent has told. What this module does not do: send, read a clock, or keep anything on disk.
"""

from __future__ import annotations

from collections import deque

import attrs

from protocols.bounds import between
from protocols.messages import Happening

#: Characters of one evidence; more is cut in the middle, for both ends of it say most.
EVIDENCE_CHARACTERS = 60_000


def cut(text: str, most: int = EVIDENCE_CHARACTERS) -> str:
    """``text`` with at most ``most`` characters; what is missing in its middle is said."""
    if len(text) <= most:
        return text
    note = f"\n… {len(text) - most} characters left out …\n"
    half = max(0, most - len(note)) // 2
    return text[:half] + note + text[len(text) - half :]


def weight(happening: Happening) -> int:
    """Bytes that it may take on the wire, at most."""
    return 128 + 4 * (len(happening.text) + len(happening.evidence) + len(happening.payload))


@attrs.frozen
class EventLimits:
    """
    ``[limits.events]``

    Attributes:
        most: events that are kept.
        bytes: their weight in memory.
    """

    most: int = attrs.field(default=1024, validator=between(1, 1 << 20))
    bytes: int = attrs.field(default=16 << 20, validator=between(1 << 10, 1 << 32))


@attrs.define(eq=False)
class Story:
    """
    Attributes:
        limits: what is kept; the oldest go first.
        last: number of the last one; 0 for none.
    """

    limits: EventLimits = attrs.field(factory=EventLimits)
    last: int = 0
    _kept: deque[Happening] = attrs.field(factory=deque)
    _weight: int = 0

    def tell(self, at_ns: int, payload: str, kind: str, text: str, evidence: str = "") -> Happening:
        """The next happening."""
        self.last += 1
        one = Happening(self.last, at_ns, payload, kind, cut(text, 2000), cut(evidence))
        self._kept.append(one)
        self._weight += weight(one)
        while len(self._kept) > self.limits.most or (self._weight > self.limits.bytes and len(self._kept) > 1):
            self._weight -= weight(self._kept.popleft())
        return one

    def after(self, number: int, room: int = 1 << 62) -> tuple[Happening, ...]:
        """Those with a higher number, oldest first, up to ``room`` bytes, and one in any case."""
        found: list[Happening] = []
        if number >= self.last:
            return ()
        for one in self._kept:
            if one.number > number:
                room -= weight(one)
                if room < 0 and found:
                    break
                found.append(one)
        return tuple(found)

    def all(self) -> tuple[Happening, ...]:
        """All that is kept, oldest first."""
        return tuple(self._kept)


@attrs.define(eq=False)
class Told:
    """
    What of somebody else's story has come.

    Attributes:
        last: number of the last one.
        lost: how many never came: they went there before they could be sent.
    """

    last: int = 0
    lost: int = 0

    def take(self, number: int) -> bool:
        """One has come; False for one that is known."""
        if number <= self.last:
            return False
        self.lost += number - self.last - 1
        self.last = number
        return True


@attrs.define(eq=False)
class Teller:
    """
    What of a story the other side has still to be told.

    Attributes:
        story: ours.
        sent: number of the last one sent.
        confirmed: the highest number that the other side said it has.
    """

    story: Story
    sent: int = 0
    confirmed: int = 0
    _mark: int = 0

    def due(self, room: int) -> tuple[Happening, ...]:
        """The next ones, up to ``room`` bytes; they count as sent."""
        found = self.story.after(self.sent, room)
        if found:
            self.sent = found[-1].number
        return found

    def confirm(self, number: int) -> None:
        """
        The other side has all up to ``number``. What was sent before its last confirmation and is not in this one was
        lost, and is due again.
        """
        if number < self._mark:
            self.sent = number
        self.confirmed, self._mark = number, self.sent
