"""What is said about several values of one thing: percentiles within a run, median and spread over repeats."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import attrs


def percentile(values: Sequence[float], share: float) -> float:
    """Nearest rank: the smallest of the sorted ``values`` that a ``share`` of them does not exceed; 0 for none."""
    return values[min(len(values) - 1, max(0, math.ceil(len(values) * share) - 1))] if values else 0.0


@attrs.frozen
class Spread:
    """Attributes: median, lowest and highest value of some repeats."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of at least one value."""
        return cls(statistics.median(values), min(values), max(values))

    def apart(self, other: Spread) -> bool:
        """Whether the two ranges have nothing in common."""
        return self.high < other.low or other.high < self.low


def short(value: float) -> str:
    """A number for people: three significant digits, thousands separated."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    digits = 2 - math.floor(math.log10(abs(value)))
    rounded = round(value, digits)
    return f"{rounded:,.{max(0, digits)}f}"
