"""
Phases: which moment of the past is wholly contained in what was found.

Every piece of work belongs to the *phase* in which the need for it was seen. When a read of inotify comes back empty
at time t, the current phase is closed with that time: all changes made before t have been read. Once a closed phase
and all before it have no work left, everything made before its time is contained: that time is the watermark.

What this module does not do: know what the work is.
"""

from __future__ import annotations

from collections import deque

#: The phase of work that no claim waits for (an audit).
NO_PHASE = -1

#: More open phases than this give no better watermark, only longer queues.
_MOST_OPEN = 64


class Phases:
    """
    Open phases, oldest first. Times are ns of the caller's clock; ``reached`` is 0 until something can be claimed.

    Args:
        reached: what was reached before these phases.
    """

    def __init__(self, reached: int = 0) -> None:
        self._open: deque[list[int]] = deque([[0, 0]])  # [work left, time when closed or 0]
        self._base = 0
        self.reached = reached

    @property
    def outstanding(self) -> int:
        """Pieces of work in all phases."""
        return sum(count for count, _ in self._open)

    def begin(self) -> int:
        """Add a piece of work to the current phase; returns the phase."""
        self._open[-1][0] += 1
        return self._base + len(self._open) - 1

    def more(self, phase: int) -> int:
        """Add a piece of work that ``phase`` turned out to need; returns the phase."""
        if phase != NO_PHASE:
            self._open[phase - self._base][0] += 1
        return phase

    def end(self, phase: int) -> None:
        """A piece of work of ``phase`` is done."""
        if phase == NO_PHASE:
            return
        entry = self._open[phase - self._base]
        entry[0] -= 1
        if entry[0] < 0:
            raise AssertionError(f"phase {phase} ended more often than it began")
        self._advance()

    def drained(self, now: int) -> None:
        """Everything that happened before ``now`` has been seen."""
        current = self._open[-1]
        if current[0]:
            if len(self._open) < _MOST_OPEN:
                current[1] = now
                self._open.append([0, 0])
        elif len(self._open) > 1:
            self._open[-2][1] = now
        else:
            self.reached = now
        self._advance()

    def _advance(self) -> None:
        while len(self._open) > 1 and not self._open[0][0] and self._open[0][1]:
            self.reached = self._open.popleft()[1]
            self._base += 1
