"""Restart and stop under a clock that the test holds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fustor.guardian.policy import ControlPolicy, Stopping


def policy(beat_timeout: float = 1.5) -> ControlPolicy:
    return ControlPolicy(beat_timeout, hang_timeout=4, start_timeout=15, delay=0.2, delay_max=5, young=5)


def wake(control: ControlPolicy) -> float:
    """When it wants to be asked."""
    found = control.wake_at()
    assert found is not None
    return found


def test_it_is_started_at_once() -> None:
    control = policy()
    assert control.due(100.0) == "start"
    control.started(100.0)
    assert control.due(100.0) == ""


def test_deaths_in_youth_are_answered_ever_more_slowly() -> None:
    control = policy()
    now = 100.0
    waits = []
    for _ in range(9):
        control.started(now)
        now += 1
        waits.append(control.exited(now))
        assert control.due(now + waits[-1]) == "start"
        assert waits[-1] == 0 or control.due(now + waits[-1] * 0.99) == ""
        now += waits[-1]
    assert waits == pytest.approx([0, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5, 5])


def test_a_long_life_makes_up_for_all() -> None:
    control = policy()
    for _ in range(5):
        control.started(100.0)
        control.exited(100.0)
    control.started(100.0)
    assert control.exited(105.0) == 0
    control.started(105.0)
    assert control.exited(105.1) == pytest.approx(0.2)


def test_before_the_first_beat_there_is_more_time() -> None:
    control = policy()
    control.started(100.0)
    for _ in range(9):
        assert control.due(100.1) == ""
        assert control.due(wake(control), lambda: False) == ""
    assert wake(control) == 115.0
    assert control.due(115.0, lambda: False) == "kill"
    # It was told once; until the death is seen there is nothing to do.
    assert control.due(116.0) == ""
    assert control.wake_at() is None


def test_who_is_frozen_before_the_first_beat_gets_nowhere() -> None:
    control = policy()
    control.started(100.0)
    assert control.due(101.5, lambda: False) == ""
    assert control.wake_at() == 103.0
    assert control.due(103.0, lambda: True) == "kill"


def test_silence_after_beats() -> None:
    control = policy()
    control.started(100.0)
    control.beat(101.0)
    assert control.wake_at() == 102.5
    control.beat(102.0)
    assert control.due(102.5) == ""
    assert control.due(103.5) == "kill"


def test_one_that_is_not_frozen_has_more_time() -> None:
    """It may be waiting for a processor."""
    control = policy()
    control.started(100.0)
    for beat in (101.0, 110.0):
        control.beat(beat)
        assert control.due(beat + 1.5, lambda: False) == ""
        assert control.due(beat + 3.0, lambda: False) == ""
        assert control.wake_at() == beat + 4
        assert control.due(beat + 3.9, lambda: True) == ""
    assert control.due(114.0, lambda: False) == "kill"


def test_that_one_had_more_time_is_handed_over() -> None:
    before, after = policy(), policy()
    before.started(100.0)
    before.beat(100.0)
    assert before.due(101.5, lambda: False) == ""
    assert before.due(103.0, lambda: False) == ""
    after.restore(before.as_json())
    assert after.wake_at() == 104.0
    assert after.due(104.0, lambda: False) == "kill"


def test_a_condemned_one_does_not_beat_itself_free() -> None:
    control = policy()
    control.started(100.0)
    assert control.due(101.5) == "kill"
    control.beat(101.6)
    assert control.wake_at() is None


def test_a_judge_who_overslept_does_not_judge() -> None:
    control = policy()
    control.started(100.0)
    control.beat(100.0)
    assert control.due(1000.0) == ""
    assert control.wake_at() == 1001.5
    assert control.due(1001.5) == "kill"


def test_without_a_timeout_silence_is_not_judged() -> None:
    control = policy(beat_timeout=0)
    control.started(100.0)
    assert control.wake_at() is None
    control.beat(100.0)
    assert control.due(1e9) == ""


@pytest.mark.parametrize("beat_timeout", [0, 1.5])
def test_one_that_hung_up_has_a_second_to_exit(beat_timeout: float) -> None:
    control = policy(beat_timeout)
    control.started(100.0)
    control.hung_up(200.0)
    assert control.due(200.9) == ""
    assert control.due(201.0) == "kill"


@given(st.lists(st.floats(0, 20), max_size=200))
def test_it_is_always_started_again_within_the_bound(lives: list[float]) -> None:
    control = policy()
    now = 100.0
    for life in lives:
        assert control.due(now) == "start"
        control.started(now)
        now += life
        wait = control.exited(now)
        assert 0 <= wait <= 5
        now += wait


def test_an_orderly_stop() -> None:
    stop = Stopping(100.0, grace=10)
    assert stop.wake_at() == 110.0
    assert stop.advance(100.0, control=True, children=True) == ""
    assert stop.advance(101.0, control=False, children=False) == "done"
    assert stop.advance(102.0, control=False, children=False) == ""


def test_payloads_that_control_left_are_terminated() -> None:
    stop = Stopping(100.0, grace=10)
    assert stop.advance(101.0, control=False, children=True) == "terminating"
    assert stop.wake_at() == 103.0
    assert stop.advance(102.9, control=False, children=True) == ""
    assert stop.advance(102.9, control=False, children=False) == "done"


def test_the_stop_ends_whatever_happens() -> None:
    stop = Stopping(100.0, grace=10)
    phases = []
    while stop.phase != "done":
        phases.append(stop.advance(stop.wake_at(), control=True, children=True))
    assert phases == ["terminating", "killing", "done"]
    assert stop.wake_at() == 115.0


def test_it_goes_through_an_execve() -> None:
    before, after = policy(), policy()
    for number in range(3):
        before.started(number)
        before.exited(number + 0.5)
    after.restore(before.as_json())
    assert after.wake_at() == before.wake_at()
    assert after.exited(3.0) == before.exited(3.0) > 0
    for one in (before, after):
        one.started(10.0)
        one.beat(11.0)
    assert after.as_json() == before.as_json()
