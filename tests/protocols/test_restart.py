"""Delays: bounds, growth, jitter, and the reset after a stable period."""

from __future__ import annotations

import random

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import ConfigError
from protocols.restart import Backoff, BackoffPolicy

PLAIN = BackoffPolicy(jitter=0.0)


def test_doubles_to_the_cap_and_stays_there() -> None:
    backoff = Backoff(PLAIN, random.Random(1))
    assert [backoff.failed() for _ in range(11)] == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 60.0, 60.0]


def test_a_stable_run_is_forgiven_and_a_short_one_is_not() -> None:
    backoff = Backoff(PLAIN, random.Random(1))
    assert [backoff.failed(0), backoff.failed(29.9), backoff.failed(30.0), backoff.failed(1)] == [0.2, 0.4, 0.2, 0.4]


def test_reset_makes_the_next_failure_a_first_one() -> None:
    backoff = Backoff(PLAIN, random.Random(1))
    backoff.failed()
    backoff.failed()
    backoff.reset()
    assert backoff.failed() == 0.2


def test_jitter_spreads_a_herd() -> None:
    delays = {Backoff(BackoffPolicy(), random.Random(seed)).failed() for seed in range(100)}
    assert len(delays) > 90
    assert all(0.15 <= delay <= 0.25 for delay in delays)


@given(
    seed=st.integers(),
    first=st.floats(0.001, 100),
    cap=st.floats(0.001, 1000),
    jitter=st.floats(0, 0.9),
    runs=st.lists(st.floats(0, 100), max_size=200),
)
def test_every_delay_is_within_the_policy(
    seed: int, first: float, cap: float, jitter: float, runs: list[float]
) -> None:
    policy = BackoffPolicy(first_seconds=first, cap_seconds=cap, jitter=jitter)
    backoff = Backoff(policy, random.Random(seed))
    for ran in runs:
        assert policy.shortest_seconds * 0.999999 <= backoff.failed(ran) <= policy.longest_seconds * 1.000001


def test_never_overflows() -> None:
    backoff = Backoff(PLAIN, random.Random(1), failures=10**9)
    assert backoff.failed() == 60.0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("first_seconds", 0.0),
        ("cap_seconds", -1.0),
        ("stable_seconds", float("nan")),
        ("cap_seconds", 1e9),
        ("jitter", 1.0),
        ("jitter", -0.1),
    ],
)
def test_a_policy_names_what_it_refuses(field: str, value: float) -> None:
    with pytest.raises(ConfigError) as caught:
        attrs.evolve(BackoffPolicy(), **{field: value})
    assert caught.value.field == field
    assert "accepted" in caught.value.accepted
