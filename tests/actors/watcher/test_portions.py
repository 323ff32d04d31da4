"""How much is handed out at once."""

from __future__ import annotations

import pytest

from actors.watcher.portions import Portion


def after(portion: Portion, *durations: float) -> int:
    for seconds in durations:
        portion.took(seconds)
    return portion.size


@pytest.mark.parametrize(
    ("durations", "size"),
    [((), 4), ((0.01,), 8), ((0.01,) * 9, 32), ((1.0,), 2), ((1.0,) * 9, 1), ((0.1,) * 9, 4), ((1.0, 0.01, 0.01), 8)],
)
def test_slow_ones_make_it_smaller_and_quick_ones_larger_again(durations: tuple[float, ...], size: int) -> None:
    assert after(Portion(32, 0.2), *durations) == size


def test_other_bounds_hold_at_once() -> None:
    portion = Portion(32, 0.2)
    after(portion, *[0.01] * 9)
    portion.adjust(6, 2.0)
    assert portion.size == 6
    assert after(portion, 1.0) == 6
    assert after(Portion(1, 0.2)) == 1
