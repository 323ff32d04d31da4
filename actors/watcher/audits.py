"""
When audits are due and how much they may do: the fast pass by directory times, and the rolling look at everything.

What this module does not do: look at anything, or repair gaps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from actors.watcher.sweep import Sweep
from actors.watcher.table import DirTable

T = TypeVar("T")


class Audits:
    """
    The audits of one source. Time is in seconds of a monotonic clock, passed in.

    Args:
        table: the known directories.
        fast_period: seconds from one fast pass to the next.
        full_period: seconds in which everything is looked at once, spread evenly.
        per_second: directories that both together may look at in a second.

    Attributes:
        finished: when the last full audit that is complete had begun, ns since 1970; 0 for none.
    """

    def __init__(self, table: DirTable, *, fast_period: float, full_period: float, per_second: int) -> None:
        self._table = table
        self._fast_period = fast_period
        self._full_period = full_period
        self._per_second = float(per_second)
        self._fast: Sweep | None = None
        self._full: Sweep | None = None
        self._fast_due: float | None = None
        self._last: float | None = None
        self._allowance = 0.0
        self._full_credit = 0.0
        self._hurry = False
        self.finished = 0

    def adjust(self, *, fast_period: float, full_period: float, per_second: int) -> None:
        """Other periods and another rate from now on; a fast pass is due no later than the new period says."""
        if self._fast_due is not None and self._last is not None:
            self._fast_due = min(self._fast_due, self._last + fast_period)
        self._fast_period, self._full_period, self._per_second = fast_period, full_period, float(per_second)

    def tick(self, now: float, wall: int) -> None:
        """Time passes: allowances grow, sweeps end and begin."""
        elapsed = 0.0 if self._last is None else max(0.0, now - self._last)
        self._last = now
        most = self._per_second
        self._allowance = min(most, self._allowance + elapsed * most)
        self._full_credit = min(most, self._full_credit + elapsed * self._table.live / self._full_period)
        if self._fast is not None and self._fast.done(self._table):
            self._fast = None
        if self._fast_due is None:
            self._fast_due = now + self._fast_period
        if self._fast is None and now >= self._fast_due:
            self._fast = Sweep(full=False)
            self._fast_due = now + self._fast_period
        if self._full is not None and self._full.done(self._table):
            self.finished = self._full.began
            self._full = None
            self._hurry = False
        if self._full is None:
            self._full = Sweep(full=True, began=wall)

    def everything(self) -> None:
        """Begin to look at everything, as fast as both together may."""
        self._full, self._hurry = None, True

    def take(self, most: int, take: Callable[[Sweep, int], list[T]]) -> list[T]:
        """Up to ``most`` tasks that may be done now; ``take`` makes them of a sweep."""
        taken: list[T] = []
        if self._fast is not None and self._allowance >= 1:
            taken += take(self._fast, int(min(self._allowance, most)))
            self._allowance -= len(taken)
        credit = self._allowance if self._hurry else self._full_credit
        room = int(min(self._allowance, credit, most - len(taken)))
        if self._full is not None and room > 0:
            full = take(self._full, room)
            self._allowance -= len(full)
            self._full_credit = max(0.0, self._full_credit - len(full))
            taken += full
        return taken
