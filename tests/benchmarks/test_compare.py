"""What counts as slower: beyond the spread of both, by more than the tolerance, in the bad direction."""

from __future__ import annotations

import pytest

from benchmarks.compare import compare, differences
from benchmarks.result import Result
from benchmarks.sample import Better, Sample


def result(*values: float, better: Better = "less", metric: str = "p99", **machine: str) -> Result:
    """One with one series."""
    made = Result("x", "2026-01-01", "fustor", "quick", 1, len(values), dict(machine))
    for value in values:
        made.add(1000, "small", "fustor", Sample(metric, value, "ms", better))
    return made


@pytest.mark.parametrize(
    ("before", "after", "better", "worse"),
    [
        ((1.0, 1.1, 1.2), (2.0, 2.1, 2.2), "less", True),
        ((2.0, 2.1, 2.2), (1.0, 1.1, 1.2), "less", False),
        ((1.0, 1.1, 1.2), (2.0, 2.1, 2.2), "more", False),
        ((2.0, 2.1, 2.2), (1.0, 1.1, 1.2), "more", True),
        ((0.0, 0.0), (1.0, 2.0), "less", True),
        ((1.0, 2.0), (0.0, 0.0), "more", True),
    ],
)
def test_ranges_apart_are_a_change(
    before: tuple[float, ...], after: tuple[float, ...], better: Better, worse: bool
) -> None:
    (change,) = compare(result(*before, better=better), result(*after, better=better))
    assert change.worse is worse
    assert str(change.key) == "small: p99 of fustor at 1,000 files"


@pytest.mark.parametrize(
    ("before", "after", "better"),
    [
        ((1.0, 2.0), (1.9, 3.0), "less"),  # the ranges touch
        ((1.0, 1.01), (1.02, 1.03), "less"),  # apart, but by little
        ((1.0, 1.1), (5.0, 6.0), ""),  # neither way is good
        ((1.0,), (5.0, 6.0), "less"),  # one value has no spread
        ((1.0, 1.1), (5.0,), "less"),
    ],
)
def test_everything_else_is_none(before: tuple[float, ...], after: tuple[float, ...], better: Better) -> None:
    assert compare(result(*before, better=better), result(*after, better=better)) == []


def test_only_what_both_have_is_compared() -> None:
    assert compare(result(1.0, 1.1, metric="p50"), result(5.0, 6.0, metric="p99")) == []


def test_the_worst_comes_first() -> None:
    before, after = result(1.0, 1.1), result(3.0, 3.1)
    for metric, old, new in (("a", 1.0, 9.0), ("b", 9.0, 1.0)):
        for step in (0.0, 0.1):
            before.add(1000, "small", "fustor", Sample(metric, old + step, "ms", "less"))
            after.add(1000, "small", "fustor", Sample(metric, new + step, "ms", "less"))
    changes = compare(before, after)
    assert [(change.key.metric, change.worse) for change in changes] == [("a", True), ("p99", True), ("b", False)]


def test_another_machine_is_said() -> None:
    assert differences(result(1.0, processor="a"), result(1.0, processor="a")) == []
    assert differences(result(1.0, processor="a"), result(1.0, processor="b")) == ["processor: a then, b now"]
