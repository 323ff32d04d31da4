"""Percentiles by nearest rank, spreads, and numbers as people read them."""

from __future__ import annotations

import pytest

from benchmarks.figures import Spread, percentile, short


@pytest.mark.parametrize(
    ("share", "expected"), [(0.5, 50.0), (0.99, 99.0), (0.999, 100.0), (1.0, 100.0), (0.01, 1.0), (0.0, 1.0)]
)
def test_percentile_of_one_to_a_hundred(share: float, expected: float) -> None:
    assert percentile([float(number) for number in range(1, 101)], share) == expected


def test_percentile_of_few() -> None:
    assert percentile([], 0.5) == 0
    assert percentile([7.0], 0.99) == 7
    assert percentile([1.0, 2.0], 0.5) == 1


def test_spread() -> None:
    assert Spread.of([3.0, 1.0, 2.0, 10.0]) == Spread(2.5, 1.0, 10.0)


@pytest.mark.parametrize(
    ("one", "other", "apart"),
    [([1, 2, 3], [4, 5], True), ([4, 5], [1, 2, 3], True), ([1, 3], [3, 5], False), ([1, 9], [4, 5], False)],
)
def test_apart(one: list[float], other: list[float], apart: bool) -> None:
    assert Spread.of(one).apart(Spread.of(other)) is apart


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (1234567.0, "1,230,000"),
        (999.6, "1,000"),
        (12.345, "12.3"),
        (0.012345, "0.0123"),
        (float("inf"), "inf"),
    ],
)
def test_short(value: float, shown: str) -> None:
    assert short(value) == shown
