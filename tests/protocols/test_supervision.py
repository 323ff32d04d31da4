"""One payload's life: scripted transcripts, and any sequence of events under virtual time."""

from __future__ import annotations

import itertools
import random
import signal
import typing
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from protocols.errors import ConfigError
from protocols.ladder import LadderPolicy, Rung
from protocols.restart import BackoffPolicy
from protocols.supervision import (
    AFTER_EXIT,
    ALIVE,
    CAUSES,
    RESTING,
    TRANSITIONS,
    Abandon,
    Beaten,
    Capture,
    Climbed,
    Drain,
    Effect,
    Event,
    Exited,
    Failed,
    Found,
    Greeted,
    InvariantError,
    Kill,
    Missed,
    Overuse,
    Pause,
    Policy,
    Restart,
    Resume,
    Seen,
    SendConfigure,
    SendStop,
    Spawn,
    Spawned,
    SpawnFailed,
    State,
    Strike,
    Supervisor,
    Tick,
    Unwant,
    WakeAt,
    Want,
)

EVENTS = typing.get_args(Event)
#: The second step of a kill.
ABORT = [Kill(signal.SIGABRT), Kill(signal.SIGCONT)]


def make(policy: Policy | None = None) -> Supervisor:
    tokens = itertools.count(1)
    calm = Policy(backoff=BackoffPolicy(jitter=0.0), ladder=LadderPolicy(park_seconds=1.0))
    return Supervisor("scanner.data.0", policy or calm, random.Random(7), lambda: f"t{next(tokens)}")


def rung_of(supervisor: Supervisor) -> Rung:
    return supervisor.ladder.rung


def state_of(supervisor: Supervisor) -> State:
    """The state, unknown to a type checker that remembers the last one it saw."""
    return supervisor.state


def feed(supervisor: Supervisor, *events: Event, now: float = 0.0) -> list[Effect]:
    """Effects of all events but the wake-ups, the captures of evidence, and what is only told."""
    effects: list[Effect] = []
    for event in events:
        effects += supervisor.handle(event, now)
        supervisor.validate()
    return [effect for effect in effects if not isinstance(effect, WakeAt | Capture | Failed | Climbed)]


def running(now: float = 0.0) -> Supervisor:
    supervisor = make()
    feed(supervisor, Want(5), Spawned("t1", 100), Greeted("t1", 0), Beaten("t1", 5, "running"), now=now)
    assert supervisor.state is State.RUNNING
    return supervisor


def test_the_table_is_whole() -> None:
    assert set(TRANSITIONS) == {(state, event) for state in State for event in EVENTS}


def test_from_wanted_to_running() -> None:
    supervisor = make()
    assert feed(supervisor, Want(5)) == [Spawn("t1")]
    assert feed(supervisor, Spawned("t1", 100)) == []
    assert feed(supervisor, Greeted("t1", 0)) == [SendConfigure(5)]
    assert feed(supervisor, Beaten("t1", 0, "starting")) == []
    assert supervisor.state is State.CONFIGURING
    assert feed(supervisor, Beaten("t1", 5, "running")) == []
    assert (supervisor.state, supervisor.pid, supervisor.running) == (State.RUNNING, 100, 5)


def test_hello_may_come_before_the_keepers_answer() -> None:
    supervisor = make()
    feed(supervisor, Want(5), Greeted("t1", 0), Beaten("t1", 5, "running"), Spawned("t1", 100))
    assert (supervisor.state, supervisor.pid) == (State.RUNNING, 100)


def test_a_beat_stands_for_a_lost_hello() -> None:
    supervisor = make()
    assert feed(supervisor, Want(5), Spawned("t1", 9), Beaten("t1", 0, "starting")) == [Spawn("t1"), SendConfigure(5)]
    assert feed(supervisor, Beaten("t1", 5, "running")) == []
    assert supervisor.state is State.RUNNING


def test_a_crash_backs_off_and_spawns_again() -> None:
    supervisor = running()
    assert supervisor.handle(Exited("t1", "signal 9", "signal"), 1.0) == [Failed(5, "signal", "signal 9"), WakeAt(1.2)]
    assert (supervisor.state, supervisor.pid, supervisor.last_exit) == (State.BACKING_OFF, 0, "signal 9")
    assert feed(supervisor, Tick(), now=1.1) == []
    assert feed(supervisor, Tick(), now=1.2) == [Spawn("t2")]
    assert supervisor.restarted == 1


def test_delays_grow_and_a_stable_run_forgives() -> None:
    supervisor = make()
    feed(supervisor, Want(5))
    now, delays = 0.0, []
    for ran in (0.0, 1.0, 31.0, 1.0):
        token = supervisor.token
        feed(supervisor, Spawned(token, 1), Greeted(token, 0), Beaten(token, 5, "running"), now=now)
        _, wake = supervisor.handle(Exited(token, "exit 1"), now + ran)
        assert isinstance(wake, WakeAt)
        assert wake.time is not None
        delays.append(round(wake.time - now - ran, 6))
        now = wake.time
        feed(supervisor, Tick(), now=now)
    assert delays == [0.2, 0.4, 0.2, 0.4]


def test_a_failed_spawn_is_a_failure_like_others() -> None:
    supervisor = make()
    feed(supervisor, Want(5), SpawnFailed("t1", "no such file"))
    assert supervisor.state is State.BACKING_OFF
    assert supervisor.last_exit == "spawn failed: no such file"
    assert feed(supervisor, Tick(), now=0.2) == [Spawn("t2")]


def test_events_of_an_earlier_process_change_nothing() -> None:
    supervisor = running()
    feed(supervisor, Exited("t1", "exit 1"), Tick(), now=1.0)
    feed(supervisor, Tick(), now=1.2)
    for stale in (
        Spawned("t1", 9),
        SpawnFailed("t1", "x"),
        Greeted("t1", 5),
        Beaten("t1", 5, "running"),
        Exited("t1", "x"),
    ):
        assert feed(supervisor, stale, now=1.2) == []
        assert supervisor.state is State.SPAWNING
    assert supervisor.strangers == 5


def test_a_refused_configuration_waits_for_another_one() -> None:
    supervisor = make()
    feed(supervisor, Want(5), Spawned("t1", 9), Greeted("t1", 0))
    feed(supervisor, Beaten("t1", 0, "starting", refused=5, error="source.exclude_regex[0] = '(': …"))
    assert supervisor.state is State.REFUSED
    assert "exclude_regex" in supervisor.complaint
    assert feed(supervisor, Beaten("t1", 0, "starting", refused=5), now=19.0) == []
    assert feed(supervisor, Want(6), now=20.0) == [SendConfigure(6)]
    feed(supervisor, Beaten("t1", 6, "running"), now=20.1)
    assert state_of(supervisor) is State.RUNNING


def test_an_unanswered_configuration_is_sent_again() -> None:
    supervisor = make()
    feed(supervisor, Want(5), Spawned("t1", 9), Greeted("t1", 0))
    assert feed(supervisor, Beaten("t1", 0, "starting"), Tick(), now=4.9) == []
    assert feed(supervisor, Beaten("t1", 0, "starting"), Tick(), now=5.0) == [SendConfigure(5)]


def test_a_new_configuration_is_sent_to_the_running_process() -> None:
    supervisor = running()
    assert feed(supervisor, Want(5)) == []
    assert feed(supervisor, Want(6)) == [SendConfigure(6)]
    assert feed(supervisor, Beaten("t1", 5, "running"), now=0.5) == []
    assert supervisor.state is State.CONFIGURING
    feed(supervisor, Beaten("t1", 6, "running"), now=0.6)
    assert state_of(supervisor) is State.RUNNING


def test_a_changed_configuration_ends_the_wait_after_a_crash() -> None:
    supervisor = running()
    feed(supervisor, Exited("t1", "exit 1"), now=1.0)
    assert feed(supervisor, Want(5), now=1.01) == []
    assert feed(supervisor, Want(6), now=1.01) == [Spawn("t2")]


def test_adoption_leaves_a_payload_with_the_wanted_configuration_alone() -> None:
    supervisor = make()
    assert feed(supervisor, Found("old", 77, 5), Want(5), Greeted("old", 5), Beaten("old", 5, "running")) == []
    assert (supervisor.state, supervisor.pid, supervisor.restarted) == (State.RUNNING, 77, 0)


def test_adoption_reconfigures_the_others() -> None:
    supervisor = make()
    assert feed(supervisor, Found("old", 77, 5), Greeted("old", 4)) == [SendConfigure(5)]


def test_a_found_process_that_never_speaks_is_replaced() -> None:
    supervisor = make()
    feed(supervisor, Found("old", 77, 5))
    assert feed(supervisor, Tick(), now=20.0) == [Kill(signal.SIGUSR1)]
    assert feed(supervisor, Tick(), now=20.25) == ABORT
    assert feed(supervisor, Tick(), now=20.5) == [Kill(signal.SIGKILL)]
    feed(supervisor, Exited("old", "signal 9", "signal"), now=20.5)
    assert supervisor.cause == "protocol"
    assert feed(supervisor, Tick(), now=20.7) == [Spawn("t1")]


def test_an_unwanted_process_that_is_found_is_told_to_go() -> None:
    supervisor = make()
    assert feed(supervisor, Found("old", 77, 0)) == [Kill(signal.SIGTERM)]
    feed(supervisor, Exited("old", "exit 0"))
    assert supervisor.state is State.STOPPED


def test_stopping_asks_then_kills() -> None:
    supervisor = running()
    assert feed(supervisor, Unwant(), now=1.0) == [SendStop(3.0)]
    assert feed(supervisor, Tick(), now=3.9) == []
    assert feed(supervisor, Tick(), now=4.0) == [Kill(signal.SIGUSR1)]
    assert feed(supervisor, Tick(), now=4.25) == ABORT
    assert feed(supervisor, Tick(), now=4.5) == [Kill(signal.SIGKILL)]
    assert feed(supervisor, Tick(), now=9.5) == [Kill(signal.SIGKILL)]  # it waits for storage
    feed(supervisor, Exited("t1", "signal 9"), now=14.0)
    assert supervisor.state is State.STOPPED


def test_stopping_before_it_exists() -> None:
    supervisor = make()
    feed(supervisor, Want(5))
    assert feed(supervisor, Unwant()) == []
    assert feed(supervisor, Spawned("t1", 9)) == [Kill(signal.SIGTERM)]
    feed(supervisor, Exited("t1", "signal 15"))
    assert supervisor.state is State.STOPPED


def test_wanted_again_while_it_stops() -> None:
    supervisor = running()
    feed(supervisor, Unwant(), Want(6), now=1.0)
    assert feed(supervisor, Exited("t1", "exit 0"), now=1.5) == [Spawn("t2")]


def test_an_ordered_restart_costs_no_delay() -> None:
    supervisor = running()
    assert feed(supervisor, Restart("operator")) == [SendStop(3.0)]
    assert feed(supervisor, Exited("t1", "exit 0"), now=0.3) == [Spawn("t2")]


def test_a_silent_process_is_killed_with_evidence() -> None:
    supervisor = running()
    assert feed(supervisor, Tick(), now=2.9) == []
    first = supervisor.handle(Tick(), 3.0)
    told = Failed(5, "hang", "silent: no beat for 3 s")
    assert first[:3] == [told, Capture("silent: no beat for 3 s"), Kill(signal.SIGUSR1)]
    assert feed(supervisor, Beaten("t1", 5, "running"), now=3.05) == []  # too late
    assert feed(supervisor, Tick(), now=3.25) == ABORT
    assert feed(supervisor, Tick(), now=3.5) == [Kill(signal.SIGKILL)]
    feed(supervisor, Exited("t1", "signal 6", "signal"), now=3.5)
    assert (supervisor.cause, supervisor.last_exit) == ("hang", "signal 6")


def test_once_it_has_said_that_it_takes_a_configuration_it_may_be_silent_as_long_as_at_a_start() -> None:
    supervisor = make()
    feed(supervisor, Want(5), Spawned("t1", 100), Greeted("t1", 0), Beaten("t1", 5, "starting"))
    feed(supervisor, Tick(), now=19.9)
    assert supervisor.state is State.CONFIGURING
    assert feed(supervisor, Tick(), now=20.0) == [Kill(signal.SIGUSR1)]
    supervisor = make()
    feed(supervisor, Want(5), Spawned("t1", 100), Greeted("t1", 0))
    assert feed(supervisor, Tick(), now=3.0) == [Kill(signal.SIGUSR1)]


def told(effects: list[Effect]) -> list[Effect]:
    return [effect for effect in effects if isinstance(effect, Failed | Climbed)]


def test_a_failure_is_told_once_with_the_configuration_that_it_had() -> None:
    supervisor = running()
    assert told(supervisor.handle(Tick(), 3.0)) == [Failed(5, "hang", "silent: no beat for 3 s")]
    assert told(supervisor.handle(Exited("t1", "signal 9", "signal"), 3.5)) == []
    assert supervisor.cause == "hang"


def test_who_ends_while_it_takes_a_configuration_in_ended_by_that_one() -> None:
    supervisor = running()
    feed(supervisor, Want(6))
    assert told(supervisor.handle(Exited("t1", "signal 11", "signal"), 0.1)) == [Failed(6, "signal", "signal 11")]


def test_who_falls_silent_meanwhile_did_so_before_and_the_next_time_it_is_that_one() -> None:
    supervisor = running()
    feed(supervisor, Want(6), now=2.0)
    assert told(supervisor.handle(Tick(), 3.0)) == [Failed(5, "hang", "silent: no beat for 3 s")]
    feed(supervisor, Exited("t1", "signal 9"), now=3.5)
    feed(supervisor, Tick(), now=4.0)
    feed(supervisor, Spawned("t2", 101), Greeted("t2", 0), now=4.0)
    assert told(supervisor.handle(Tick(), 7.0)) == [Failed(6, "hang", "silent: no beat for 3 s")]


def test_what_was_ordered_is_no_failure() -> None:
    for event in (Restart("x"), Strike(signal.SIGKILL), Strike(signal.SIGTERM), Drain(), Unwant()):
        supervisor = running()
        supervisor.handle(event, 0.0)
        assert told(supervisor.handle(Exited("t1", "signal 9", "signal"), 0.1)) == []
        assert supervisor.ladder.failures == 0


def crash(supervisor: Supervisor, now: float, ran: float = 0.0) -> tuple[list[Effect], float]:
    """From its next start to its next crash; what was told, and when it wants to be started again."""
    if state_of(supervisor) in RESTING:
        feed(supervisor, Tick(), now=now)
    token = supervisor.token
    feed(supervisor, Spawned(token, 1), Greeted(token, 0), Beaten(token, supervisor.wanted, "running"), now=now)
    effects = supervisor.handle(Exited(token, "exit 1"), now + ran)
    supervisor.validate()
    return told(effects), next(e.time for e in effects if isinstance(e, WakeAt) and e.time is not None)


def test_the_ladder_is_climbed_to_its_end_and_left_again() -> None:
    supervisor = make()
    supervisor.ladder.rungs = frozenset({Rung.CONFIGURATION})
    feed(supervisor, Want(5))
    now, climbs = 0.0, []
    for _ in range(12):
        effects, now = crash(supervisor, now)
        climbs.append([effect.rung for effect in effects if isinstance(effect, Climbed)])
    assert climbs == [[]] * 4 + [[Rung.CONFIGURATION]] + [[]] * 4 + [[Rung.PARKED]] + [[]] * 2
    assert state_of(supervisor) is State.PARKED
    feed(supervisor, Tick(), now=now)
    token = supervisor.token
    beat = Beaten(token, 5, "running")
    feed(supervisor, Spawned(token, 1), Greeted(token, 0), beat, now=now)
    assert told(supervisor.handle(beat, now + 29.9)) == []
    assert told(supervisor.handle(beat, now + 30.0)) == [Climbed(Rung.RESTART)]
    assert rung_of(supervisor) is Rung.RESTART


def test_a_remedy_is_tried_at_once_and_its_failures_count_on() -> None:
    supervisor = make()
    supervisor.ladder.rungs = frozenset({Rung.CONFIGURATION})
    feed(supervisor, Want(5))
    now = 0.0
    for _ in range(5):
        _, now = crash(supervisor, now)
    assert feed(supervisor, Want(4, remedy=True), now=now) == [Spawn(supervisor.token)]
    assert rung_of(supervisor) is Rung.CONFIGURATION
    _, again = crash(supervisor, now)
    assert again - now == pytest.approx(0.2)
    feed(supervisor, Want(6), now=now)
    assert rung_of(supervisor) is Rung.RESTART


def test_parked_it_is_started_at_once_by_news_and_by_orders() -> None:
    for event in (Want(6), Restart("x"), Resume()):
        supervisor = make()
        feed(supervisor, Want(5))
        now = 0.0
        for _ in range(5):
            _, now = crash(supervisor, now)
        assert state_of(supervisor) is State.PARKED
        assert feed(supervisor, event, now=now - 100) == [Spawn(supervisor.token)]
        assert rung_of(supervisor) is Rung.RESTART


def test_time_asleep_in_the_kernel_does_not_count_for_some_minutes() -> None:
    supervisor = running()
    for second in range(300):
        assert feed(supervisor, Seen("t1", "D", 10), Tick(), now=float(second)) == []
    effects: list[Effect] = []
    for second in range(300, 310):
        effects += feed(supervisor, Seen("t1", "D", 10), Tick(), now=float(second))
    assert effects[0] == Kill(signal.SIGUSR1)


def test_time_without_a_processor_does_not_count_but_spinning_and_standing_do() -> None:
    starved, spinning, stopped = running(), running(), running()
    for second in range(3):
        assert feed(starved, Seen("t1", "R", second * 10), Tick(), now=float(second)) == []
        assert feed(spinning, Seen("t1", "R", second * 1000), Tick(), now=float(second)) == []
        assert feed(stopped, Seen("t1", "T", 0), Tick(), now=float(second)) == []
    assert feed(starved, Seen("t1", "R", 30), Tick(), now=3.0) == []
    assert feed(spinning, Seen("t1", "R", 3000), Tick(), now=3.0) == [Kill(signal.SIGUSR1)]
    assert feed(stopped, Seen("t1", "T", 0), Tick(), now=3.0) == [Kill(signal.SIGUSR1)]


def test_a_start_may_take_long_but_who_is_stopped_gets_nowhere() -> None:
    spawned, found, busy = make(), make(), make()
    feed(spawned, Want(5), Spawned("t1", 100))
    feed(found, Found("t1", 77, 5))
    feed(busy, Want(5), Spawned("t1", 100), Greeted("t1", 0), Beaten("t1", 5, "starting"))
    for supervisor in (spawned, found, busy):
        for second in range(1, 4):
            assert feed(supervisor, Seen("t1", "T", 0), Tick(), now=float(second)) == []
        # It went on: nothing of the time before counts.
        assert feed(supervisor, Seen("t1", "S", 0), Seen("t1", "T", 0), Tick(), now=4.0) == []
        assert feed(supervisor, Seen("t1", "T", 0), Tick(), now=6.9) == []
        assert feed(supervisor, Tick(), now=7.0) == [Kill(signal.SIGUSR1)]
        feed(supervisor, Exited("t1", "signal 6", "signal"), now=7.1)
        assert supervisor.cause == "hang"


def test_paused_is_never_silent_and_resumed_it_has_to_be_heard() -> None:
    supervisor = running()
    assert feed(supervisor, Pause()) == [Kill(signal.SIGSTOP)]
    assert feed(supervisor, Tick(), Beaten("t1", 5, "running"), now=1e6) == []
    assert supervisor.state is State.PAUSED
    assert feed(supervisor, Resume(), now=1e6) == [Kill(signal.SIGCONT)]
    assert feed(supervisor, Beaten("t1", 5, "running"), now=1e6 + 1) == []
    assert state_of(supervisor) is State.RUNNING
    assert feed(supervisor, Tick(), now=1e6 + 4) == [Kill(signal.SIGUSR1)]


def test_paused_it_can_be_restarted_and_stopped() -> None:
    for event in (Restart("x", ordered=True), Unwant(), Drain()):
        supervisor = running()
        feed(supervisor, Pause())
        assert feed(supervisor, event) == [Kill(signal.SIGCONT), Kill(signal.SIGTERM)]


def test_an_adopted_pause_goes_on() -> None:
    supervisor = make()
    assert feed(supervisor, Found("old", 77, 5, paused=True), Tick(), now=0.0) == []
    assert feed(supervisor, Tick(), now=1e6) == []
    assert feed(supervisor, Resume(), now=1e6) == [Kill(signal.SIGCONT)]


def test_who_has_used_up_a_limit_is_killed_for_it() -> None:
    supervisor = running()
    text = "memory 1.1 GiB, limit 1.0 GiB"
    assert supervisor.handle(Overuse("t1", "memory", text), 0.0)[:2] == [Capture(text, "memory"), Kill(signal.SIGUSR1)]
    assert feed(supervisor, Overuse("t1", "memory", "again"), Overuse("other", "fds", "")) == []
    feed(supervisor, Exited("t1", "signal 6 (SIGABRT)", "signal"))
    assert state_of(supervisor) is State.BACKING_OFF
    assert (supervisor.cause, supervisor.last_exit) == ("memory", f"signal 6 (SIGABRT): {text}")


def test_drained_until_resumed() -> None:
    supervisor = running()
    assert feed(supervisor, Drain()) == [SendStop(3.0)]
    assert feed(supervisor, Exited("t1", "exit 0")) == []
    assert (supervisor.state, supervisor.cause) == (State.DRAINED, "operator")
    assert feed(supervisor, Want(6), Tick(), Restart("x"), now=1e6) == []
    assert feed(supervisor, Resume(), now=1e6) == [Spawn("t2")]


def test_drained_outlives_a_control_actor() -> None:
    supervisor = make()
    supervisor.held = True
    assert feed(supervisor, Want(5)) == []
    assert supervisor.state is State.DRAINED
    feed(supervisor, Unwant())
    assert state_of(supervisor) is State.STOPPED


def test_a_release_ends_the_pause_between_two_starts() -> None:
    supervisor = running()
    feed(supervisor, Exited("t1", "exit 1"), now=1.0)
    assert feed(supervisor, Resume(), now=1.0) == [Spawn("t2")]


def awaiting() -> Supervisor:
    supervisor = make(Policy(after_exit={"scanner": "await", "*": "restart"}))
    feed(supervisor, Want(5), Spawned("t1", 100), Greeted("t1", 0), Beaten("t1", 5, "running"))
    assert feed(supervisor, Exited("t1", "signal 11", "signal"), Tick(), now=1e6) == []
    assert supervisor.state is State.AWAITING
    return supervisor


@pytest.mark.parametrize("order", [Resume(), Restart("x", ordered=True), Want(6)])
def test_a_policy_may_say_that_orders_are_awaited(order: Event) -> None:
    supervisor = awaiting()
    assert feed(supervisor, Want(5), now=1e6) == []
    assert feed(supervisor, order, now=1e6) == [Spawn("t2")]


def test_an_awaiting_payload_may_be_drained_and_unwanted() -> None:
    supervisor = awaiting()
    assert feed(supervisor, Drain()) == []
    assert supervisor.state is State.DRAINED
    assert feed(supervisor, Unwant()) == []
    assert state_of(supervisor) is State.STOPPED


def test_orders_are_awaited_across_control_actors_too() -> None:
    supervisor = make(Policy(after_exit={"scanner.data.0": "await"}))
    assert feed(supervisor, Missed("signal 11", "signal"), Want(5)) == []
    assert (supervisor.state, supervisor.cause) == (State.AWAITING, "signal")
    supervisor = make()
    assert feed(supervisor, Missed("signal 11", "signal"), Want(5)) == [Spawn("t1")]


def test_what_an_order_ended_is_started_whatever_the_policy() -> None:
    supervisor = make(Policy(after_exit={"*": "await"}))
    feed(supervisor, Want(5), Spawned("t1", 100), Greeted("t1", 0), Beaten("t1", 5, "running"))
    feed(supervisor, Strike(signal.SIGTERM))
    assert feed(supervisor, Exited("t1", "exit 0")) == [Spawn("t2")]


def test_a_policy_may_say_that_the_delay_does_not_grow() -> None:
    supervisor = make(Policy(backoff=BackoffPolicy(jitter=0.0), after_exit={"scanner": "restart"}))
    feed(supervisor, Want(5))
    for life in range(5):
        token = supervisor.token
        feed(supervisor, Spawned(token, 1), now=float(life))
        effects = supervisor.handle(Exited(token, "exit 1"), float(life))
        assert effects == [Failed(0, "exit", "exit 1"), WakeAt(life + 0.2)]
        feed(supervisor, Tick(), now=life + 0.2)


def test_the_most_exact_policy_counts() -> None:
    policy = Policy(after_exit={"scanner.data.0": "await", "scanner": "restart"})
    assert [policy.after(name) for name in ("scanner.data.0", "scanner.data.1", "view.main")] == [
        "await",
        "restart",
        "back-off",
    ]
    with pytest.raises(ConfigError, match=r"after_exit\.view"):
        Policy(after_exit={"view": "explode"})


def test_an_ordered_kill_takes_evidence_first_and_costs_no_delay() -> None:
    supervisor = running()
    assert supervisor.handle(Strike(signal.SIGKILL), 0.0)[:2] == [
        Capture("killed by an order"),
        Kill(signal.SIGKILL),
    ]
    assert feed(supervisor, Tick(), now=5.0) == [Kill(signal.SIGKILL)]
    assert feed(supervisor, Exited("t1", "signal 9", "signal"), now=5.0) == [Spawn("t2")]
    assert supervisor.cause == "operator"


def test_another_signal_is_sent_and_no_more() -> None:
    supervisor = running()
    assert feed(supervisor, Strike(signal.SIGTERM)) == [Kill(signal.SIGTERM)]
    assert supervisor.state is State.RUNNING
    feed(supervisor, Exited("t1", "exit 0"), now=1.0)
    assert supervisor.cause == "operator"


def test_who_lives_on_after_a_signal_died_of_something_else() -> None:
    supervisor = running()
    feed(supervisor, Strike(signal.SIGINT), Beaten("t1", 5, "running"))
    feed(supervisor, Exited("t1", "signal 11", "signal"), now=10.0)
    assert (supervisor.cause, supervisor.state) == ("signal", State.BACKING_OFF)


def test_who_cannot_be_killed_is_abandoned_and_replaced() -> None:
    supervisor = running()
    feed(supervisor, Strike(signal.SIGKILL), now=0.0)
    for second in (5.0, 10.0):
        assert feed(supervisor, Tick(), now=second) == [Kill(signal.SIGKILL)]
    assert feed(supervisor, Tick(), now=15.0) == [Abandon("t1", 100), Spawn("t2")]
    assert supervisor.cause == "abandoned"
    feed(supervisor, Exited("t1", "signal 9"), now=16.0)
    assert supervisor.state is State.SPAWNING


def test_no_more_are_abandoned_than_may_be() -> None:
    supervisor = running()
    supervisor.may_abandon = lambda: False
    feed(supervisor, Strike(signal.SIGKILL), now=0.0)
    for second in range(5, 1000, 5):
        assert feed(supervisor, Tick(), now=float(second)) == [Kill(signal.SIGKILL)]


@pytest.mark.parametrize("most", [-1, 65])
def test_a_policy_has_bounds(most: int) -> None:
    with pytest.raises(ConfigError, match="abandoned_most"):
        Policy(abandoned_most=most)


def beats(supervisor: Supervisor, seconds: int, **fields: Any) -> list[Effect]:
    effects: list[Effect] = []
    for second in range(seconds):
        effects += feed(supervisor, Beaten("t1", 5, **fields), Tick(), now=float(second))
    return effects


def test_a_stalled_process_is_killed() -> None:
    assert beats(running(), 3, state="running", outstanding=True, counters={"rows": 5}) == []
    supervisor = running()
    assert beats(supervisor, 5, state="running", outstanding=True, counters={"rows": 5})[0] == Kill(signal.SIGUSR1)
    assert "stalled" in supervisor.complaint


def test_a_process_without_work_or_waiting_for_storage_never_stalls() -> None:
    assert beats(running(), 1000, state="running", outstanding=False, counters={"rows": 5}) == []
    assert beats(running(), 1000, state="waiting", outstanding=True, counters={"rows": 5}) == []


def test_progress_puts_a_stall_off() -> None:
    supervisor = running()
    for second in range(1000):
        beat = Beaten("t1", 5, "running", outstanding=True, counters={"rows": second // 2})
        assert feed(supervisor, beat, Tick(), now=float(second)) == []


def test_validate_notices_a_contradiction() -> None:
    supervisor = running()
    supervisor.token = ""
    with pytest.raises(InvariantError, match="token"):
        supervisor.validate()


class Lives(RuleBasedStateMachine):
    """
    A payload, a keeper and a clock in any order.

    The world keeps what is true (does a process exist?), so that no spawn can come while one does.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        tokens = itertools.count(1)
        self.policy = Policy()
        self.supervisor = Supervisor("p", self.policy, random.Random(3), lambda: f"t{next(tokens)}")
        self.process = ""  # token of the process that exists
        self.asked = ""  # token of a spawn that is under way
        self.exited_at: float | None = None
        self.wake: float | None = None
        self.wanted = False
        self.held = False
        self.stopped = False
        self.abandoned: set[str] = set()
        self.failing = self.last = ""

    @initialize(after=st.sampled_from(AFTER_EXIT))
    def choose(self, after: str) -> None:
        self.supervisor.policy = self.policy = Policy(after_exit={"p": after})

    def feed(self, event: Event) -> None:
        before = self.supervisor.state
        self.last = self.supervisor.token
        for effect in self.supervisor.handle(event, self.now):
            match effect:
                case Spawn(token):
                    assert not self.supervisor.held, "spawned while drained"
                    assert not self.process, "spawned while a process exists"
                    assert not self.asked, "spawned while a spawn is under way"
                    self.stopped = False
                    if before in RESTING and isinstance(event, Tick):
                        assert self.exited_at is not None
                        waited = self.now - self.exited_at
                        assert waited >= self.policy.backoff.shortest_seconds - 1e-6
                    self.asked = token
                case Kill(number):
                    if number is signal.SIGKILL:
                        assert self.process or self.asked
                    if number in (signal.SIGSTOP, signal.SIGCONT):
                        self.stopped = number is signal.SIGSTOP
                case Abandon(token):
                    assert token == self.process, "another one was abandoned"
                    self.abandoned.add(token)
                    self.process, self.exited_at = "", self.now
                case SendConfigure(revision):
                    assert revision == self.supervisor.wanted != 0
                case Failed(_, kind):
                    assert kind in CAUSES - {"operator"}
                    assert self.failing != (self.supervisor.token or self.last), "told twice of one process"
                    self.failing = self.supervisor.token or self.last
                case WakeAt(time):
                    self.wake = time
                case SendStop():
                    assert self.process or self.asked

    @rule(revision=st.integers(1, 3), remedy=st.booleans())
    def want(self, revision: int, remedy: bool) -> None:
        self.wanted = True
        self.feed(Want(revision, remedy))

    @rule()
    def unwant(self) -> None:
        self.wanted = False
        self.feed(Unwant())

    @rule(ordered=st.booleans())
    def restart(self, ordered: bool) -> None:
        self.feed(Restart("operator", ordered))

    @rule()
    def pause(self) -> None:
        self.feed(Pause())

    @rule()
    def drain(self) -> None:
        self.feed(Drain())

    @rule()
    def resume(self) -> None:
        self.feed(Resume())

    @rule(number=st.sampled_from([signal.SIGTERM, signal.SIGKILL]))
    def strike(self, number: signal.Signals) -> None:
        self.feed(Strike(number))

    @precondition(lambda self: self.process)
    @rule(code=st.sampled_from("RSDT"), cpu=st.integers(0, 10_000))
    def seen(self, code: str, cpu: int) -> None:
        self.feed(Seen(self.process, code, cpu))

    @precondition(lambda self: self.process)
    @rule()
    def overuse(self) -> None:
        self.feed(Overuse(self.process, "memory", "too much"))

    @precondition(lambda self: self.asked)
    @rule(works=st.booleans(), answered=st.booleans())
    def keeper(self, works: bool, answered: bool) -> None:
        token, self.asked = self.asked, ""
        if works:
            self.process = token
            if answered:
                self.feed(Spawned(token, 42))
        else:
            self.exited_at = self.now
            self.feed(SpawnFailed(token, "EAGAIN"))

    @precondition(lambda self: self.process)
    @rule(revision=st.integers(0, 3))
    def hello(self, revision: int) -> None:
        self.feed(Greeted(self.process, revision))

    @precondition(lambda self: self.process)
    @rule(
        revision=st.integers(0, 3),
        refused=st.integers(0, 3),
        state=st.sampled_from(["starting", "running", "waiting", "draining"]),
        outstanding=st.booleans(),
        done=st.integers(0, 1),
    )
    def beat(self, revision: int, refused: int, state: str, outstanding: bool, done: int) -> None:
        self.feed(Beaten(self.process, revision, state, refused, "", outstanding, {"n": done}))

    @precondition(lambda self: self.process)
    @rule()
    def exit(self) -> None:
        token, self.process = self.process, ""
        self.exited_at = self.now
        self.feed(Exited(token, "exit 1"))

    @rule(token=st.sampled_from(["", "stranger"]))
    def stranger(self, token: str) -> None:
        if token != self.supervisor.token:
            before = self.supervisor.state
            self.feed(Exited(token, "?"))
            self.feed(Beaten(token, 1, "running"))
            assert self.supervisor.state is before

    @rule(seconds=st.floats(0.01, 200))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.feed(Tick())

    @rule()
    def wait_until_woken(self) -> None:
        if self.wake is not None:
            self.now = max(self.now, self.wake)
            self.feed(Tick())

    @invariant()
    def holds(self) -> None:
        self.supervisor.validate()
        assert self.supervisor.token == (self.process or self.asked)
        assert (self.supervisor.state in ALIVE) == bool(self.process or self.asked)
        assert bool(self.supervisor.wanted) == self.wanted
        assert self.supervisor.cause in CAUSES | {""}
        if self.supervisor.state is State.PAUSED:
            assert self.stopped
        elif self.process and self.supervisor.state in (State.RUNNING, State.WAITING, State.CONFIGURING):
            assert not self.stopped, "nobody will let it go on"
        if self.wake is not None and self.supervisor.state is State.BACKING_OFF:
            assert self.wake - self.now <= self.policy.backoff.longest_seconds
        if self.wake is not None and self.supervisor.state is State.PARKED:
            assert self.wake - self.now <= self.policy.ladder.probe_seconds * (1 + self.policy.backoff.jitter)

    def teardown(self) -> None:
        """However it got here: once wanted, with everybody doing their part, it runs within bounded virtual time."""
        self.wanted = True
        self.feed(Want(9))
        self.feed(Resume())
        deadline = self.now + 200
        while self.supervisor.state is not State.RUNNING:
            assert self.now < deadline, f"never runs again: {self.supervisor!r}"
            if self.asked:
                self.process, self.asked = self.asked, ""
                self.feed(Spawned(self.process, 43))
            elif self.process and self.supervisor.state in (State.DRAINING, State.KILLING):
                token, self.process = self.process, ""
                self.exited_at = self.now
                self.feed(Exited(token, "signal 9"))
            elif self.process:
                self.feed(Greeted(self.process, 0))
                self.feed(Beaten(self.process, 9, "running"))
            elif self.supervisor.state is State.AWAITING:
                self.feed(Resume())
            else:
                assert self.wake is not None, "nobody will wake it"
                self.now = max(self.now, self.wake)
                self.feed(Tick())


TestLives = Lives.TestCase
TestLives.settings = settings(max_examples=60, stateful_step_count=50)
