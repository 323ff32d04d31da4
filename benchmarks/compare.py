"""
An earlier result beside a new one: what got slower, or larger, beyond the spread of both.

What this module does not do: correct for another machine, or for one that was busier; it names the differences.
"""

from __future__ import annotations

import attrs

from benchmarks.figures import Spread
from benchmarks.result import Result
from benchmarks.sample import Key

#: Changes of the median up to this share are never called one, whatever the spread.
TOLERANCE = 0.05
#: Things about the machine that make figures incomparable when they differ.
_SAME = ("processor", "cores", "memory_gib", "kernel", "file_system", "python")


@attrs.frozen
class Change:
    """
    One series that is beyond the spread.

    Attributes:
        key: which.
        unit: of the values.
        before, after: their spreads.
        worse: whether it went in the bad direction.
    """

    key: Key
    unit: str
    before: Spread
    after: Spread
    worse: bool

    @property
    def ratio(self) -> float:
        """New median by old one; infinite from zero."""
        return self.after.median / self.before.median if self.before.median else float("inf")


def compare(before: Result, after: Result) -> list[Change]:
    """
    The changes, the worst first.

    A series has changed when the ranges of its repeats have nothing in common and the medians differ by more than
    :data:`TOLERANCE`. A series of one value on either side has no spread: it is left out.
    """
    found = []
    for key, new in after.series.items():
        old = before.series.get(key)
        if old is None or not new.better or min(len(old.values), len(new.values)) < 2:
            continue
        was, now = Spread.of(old.values), Spread.of(new.values)
        small = abs(now.median - was.median) <= TOLERANCE * max(abs(was.median), abs(now.median))
        if now.apart(was) and not small:
            found.append(Change(key, new.unit, was, now, (now.median > was.median) == (new.better == "less")))
    return sorted(found, key=lambda change: (not change.worse, -_size(change)))


def differences(before: Result, after: Result) -> list[str]:
    """What else differs between the two runs, in words."""
    found = [
        f"{name}: {before.machine.get(name)} then, {after.machine.get(name)} now"
        for name in _SAME
        if before.machine.get(name) != after.machine.get(name)
    ]
    for name in ("scale", "seed"):
        if getattr(before, name) != getattr(after, name):
            found.append(f"{name}: {getattr(before, name)} then, {getattr(after, name)} now")
    return found


def _size(change: Change) -> float:
    return max(change.ratio, 1 / change.ratio) if change.ratio else float("inf")
