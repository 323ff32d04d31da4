"""One measured value, and the series that repeats of it make."""

from __future__ import annotations

from typing import Literal

import attrs

from benchmarks.figures import percentile

#: Which way is good; neither for what only describes.
Better = Literal["more", "less", ""]


@attrs.frozen
class Sample:
    """
    One value.

    Attributes:
        metric: what, in words: "requests", "p99".
        value: how much.
        unit: of what: "1/s", "ms", "MiB".
        better: which way is good.
        case: which variant of the measure; empty when there is one only.
        subject: whose; empty for the subject that is measured, else a yardstick beside it.
    """

    metric: str
    value: float
    unit: str
    better: Better = ""
    case: str = ""
    subject: str = ""


def latencies(seconds: list[float], *, case: str = "", subject: str = "", worst: bool = True) -> list[Sample]:
    """p50, p99 and the worst of some durations, in milliseconds."""
    ordered = sorted(seconds)
    found = {"p50": percentile(ordered, 0.5), "p99": percentile(ordered, 0.99)}
    if worst:
        found["worst"] = ordered[-1]
    return [Sample(name, value * 1e3, "ms", "less", case, subject) for name, value in found.items()]


@attrs.frozen
class Key:
    """What a series is about: two series with the same key can be compared."""

    files: int
    measure: str
    case: str
    subject: str
    metric: str

    def __str__(self) -> str:
        case = f", {self.case}" if self.case else ""
        return f"{self.measure}{case}: {self.metric} of {self.subject} at {self.files:,} files"


@attrs.frozen
class Series:
    """Attributes: key, unit and better as of its samples; the values of all repeats."""

    key: Key
    unit: str
    better: Better
    values: tuple[float, ...]
