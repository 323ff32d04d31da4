"""The ladder of repairs: its table, a year of crashes and any other crash loop in virtual time."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import ConfigError
from protocols.ladder import ALWAYS, LADDER, Ladder, LadderPolicy, Rung, Sign
from protocols.restart import BackoffPolicy

PLAIN = BackoffPolicy(jitter=0.0)
ALL = frozenset(Rung)
YEAR = 366 * 86_400.0


def make(rungs: frozenset[Rung] = ALL, seed: int = 1, backoff: BackoffPolicy = PLAIN) -> Ladder:
    return Ladder(LadderPolicy(), backoff, random.Random(seed), rungs)


def test_the_table_is_whole() -> None:
    assert set(LADDER) == set(itertools.product(Rung, Sign))
    for rung in Rung:
        assert LADDER[rung, Sign.STABLE] is LADDER[rung, Sign.CHANGED] is Rung.RESTART
        assert LADDER[rung, Sign.FAILED] is rung


def climbs(ladder: Ladder, failures: int) -> list[Rung]:
    return [step.rung for _ in range(failures) if (step := ladder.failed()).climbed]


def test_every_rung_is_tried_and_parked_is_the_last() -> None:
    assert climbs(make(), 100) == [Rung.CONFIGURATION, Rung.PARKED]


@pytest.mark.parametrize("rungs", [frozenset[Rung](), frozenset({Rung.CONFIGURATION})])
def test_a_rung_that_is_not_there_is_passed_over(rungs: frozenset[Rung]) -> None:
    assert climbs(make(rungs), 100) == [*rungs, Rung.PARKED]


def test_pauses_go_on_doubling_over_the_rungs_and_are_long_when_parked() -> None:
    ladder = make(frozenset({Rung.CONFIGURATION}))
    delays = [ladder.failed().delay for _ in range(15)]
    assert delays[:10] == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 60.0]
    # Five minutes of failures are over with the fourth pause of a minute.
    assert delays[9:] == [60.0, 60.0, 60.0, 60.0, 300.0, 300.0]


def test_what_fails_for_a_short_time_is_not_parked_however_often() -> None:
    ladder = make(frozenset(), backoff=BackoffPolicy(cap_seconds=0.2, jitter=0.0))
    assert climbs(ladder, 1499) == []
    assert climbs(ladder, 10) == [Rung.PARKED]


def test_a_stable_run_and_something_new_lead_back_to_the_ground() -> None:
    ladder = make()
    climbs(ladder, 30)
    assert ladder.failed(30.0).rung is Rung.RESTART
    climbs(ladder, 30)
    ladder.changed()
    assert ladder.failed().delay == 0.2
    assert ladder.rung is Rung.RESTART
    climbs(ladder, 30)
    assert ladder.stable()
    assert not ladder.stable()


def test_a_remedy_begins_with_short_pauses_on_the_same_rung() -> None:
    ladder = make()
    climbs(ladder, 7)
    ladder.remedied()
    step = ladder.failed()
    assert (step.delay, step.rung, ladder.failures) == (0.2, Rung.CONFIGURATION, 3)


@pytest.mark.parametrize("tries", [0, 1001])
def test_a_policy_names_what_it_refuses(tries: int) -> None:
    with pytest.raises(ConfigError, match="tries"):
        LadderPolicy(tries=tries)


def test_a_year_of_crashes_at_once() -> None:
    """It is started to the end, at the pace of the last rung."""
    ladder, now, starts = make(backoff=BackoffPolicy()), 0.0, 0
    while now < YEAR:
        now += ladder.failed().delay
        starts += 1
    assert ladder.rung is Rung.PARKED
    assert starts == pytest.approx(YEAR / 300, rel=0.01)


@settings(deadline=None, max_examples=50)
@given(
    seed=st.integers(),
    rungs=st.frozensets(st.sampled_from(list(Rung))),
    runs=st.lists(st.one_of(st.just(0.0), st.floats(0, 60)), min_size=1, max_size=50),
)
def test_any_crash_loop(seed: int, rungs: frozenset[Rung], runs: list[float]) -> None:
    """However it fails: it never gives up, never starts sooner than allowed, and rungs are climbed in order."""
    policy, backoff = LadderPolicy(), BackoffPolicy()
    ladder = make(rungs, seed, backoff)
    order = list(Rung)
    now, starts, in_a_row, failing = 0.0, 0, 0, 0.0
    for ran in itertools.cycle(runs):
        before = ladder.rung
        in_a_row, failing = (1, ran) if ran >= backoff.stable_seconds else (in_a_row + 1, failing + ran)
        step = ladder.failed(ran)
        starts += 1
        now += ran + step.delay
        if step.rung is not Rung.PARKED:
            failing += step.delay
        assert step.rung in ALWAYS | rungs
        assert 0 < step.delay <= policy.probe_seconds * (1 + backoff.jitter)
        if step.rung is Rung.PARKED:
            assert step.delay >= policy.probe_seconds * (1 - backoff.jitter)
            assert in_a_row >= policy.tries
            assert failing >= policy.park_seconds * 0.999999
        else:
            assert step.delay <= backoff.longest_seconds
        if ran < backoff.stable_seconds:
            assert order.index(step.rung) >= order.index(before)
        if starts > 1000:
            break
    # Slow is not never.
    assert now / starts < (max(runs) + policy.probe_seconds) * 1.3
