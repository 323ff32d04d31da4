"""From one configuration to the next and back: transcripts, and any sequence of events under virtual time."""

from __future__ import annotations

import itertools
import typing

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from protocols.desired import (
    BAD_MOST,
    OPEN,
    OWN,
    TRANSITIONS,
    Apply,
    Broke,
    Came,
    Convergence,
    Effect,
    Event,
    Fetch,
    Keep,
    Loaded,
    Mark,
    Outcome,
    Phase,
    ProbationPolicy,
    Resort,
    Say,
    Seen,
    Sight,
    Tick,
    Told,
    Widen,
)
from protocols.errors import ConfigError

ONE, TWO, THREE = Mark(1, "a"), Mark(2, "b"), Mark(3, "c")
WELL = Seen({"scanner": Sight(well=True)})
UNWELL = Seen({"scanner": Sight(well=False)})


def make(policy: ProbationPolicy | None = None) -> Convergence:
    convergence = Convergence(policy or ProbationPolicy())
    assert convergence.handle(Loaded(), 0.0) == [Apply(OWN)]
    return convergence


def feed(convergence: Convergence, *events: Event, now: float = 0.0) -> list[Effect]:
    """All effects but what is written down and told."""
    effects: list[Effect] = []
    for event in events:
        effects += convergence.handle(event, now)
    return [effect for effect in effects if not isinstance(effect, Keep | Say)]


def phase_of(convergence: Convergence) -> Phase:
    return convergence.phase


def outcome_of(convergence: Convergence) -> Outcome:
    return convergence.outcome


def good(convergence: Convergence, mark: Mark, now: float = 0.0) -> None:
    feed(convergence, Told(mark), Came(mark), WELL, now=now)
    feed(convergence, Tick(), now=now + 30)
    assert (convergence.good, convergence.outcome) == (mark, Outcome.GOOD)


def test_the_table_is_whole() -> None:
    assert set(TRANSITIONS) == set(itertools.product(Phase, typing.get_args(Event)))


def test_from_desired_to_good() -> None:
    convergence = make()
    assert feed(convergence, Told(ONE)) == [Fetch(ONE)]
    effects = convergence.handle(Came(ONE), 1.0)
    assert [type(effect) for effect in effects] == [Keep, Say, Apply]
    assert effects[-1] == Apply(ONE)
    feed(convergence, UNWELL, now=1.1)
    assert convergence.phase is Phase.SETTLING
    feed(convergence, WELL, now=2.0)
    assert (phase_of(convergence), convergence.outcome, convergence.good) == (Phase.PROVING, Outcome.RUNNING, OWN)
    feed(convergence, Tick(), now=31.9)
    assert phase_of(convergence) is Phase.PROVING
    feed(convergence, Tick(), now=32.0)
    assert (phase_of(convergence), convergence.good, convergence.before) == (Phase.STEADY, ONE, OWN)
    status = convergence.status()
    assert (status.desired, status.attempted, status.running, status.good) == (1, 1, 1, 1)
    assert (status.outcome, status.error, status.tries) == ("good", "", 1)


def test_nothing_said_means_that_what_runs_goes_on() -> None:
    convergence = make()
    good(convergence, ONE)
    assert feed(convergence, Told(OWN), now=100.0) == []
    assert convergence.running == ONE


def test_a_document_that_does_not_come_is_asked_for_again() -> None:
    convergence = make()
    asked = [now for now in range(10) if feed(convergence, Told(ONE), now=float(now))]
    assert asked == [0, 2, 4, 6, 8]


def test_a_document_with_faults_leaves_what_runs_alone() -> None:
    convergence = make()
    feed(convergence, Told(ONE))
    assert feed(convergence, Came(ONE, "sources[0].root = 'x': …")) == []
    status = convergence.status()
    assert (status.outcome, status.attempted, status.running, status.error[:7]) == ("refused", 1, 0, "sources")
    assert feed(convergence, Told(ONE), now=100.0) == []  # it is not tried again
    assert feed(convergence, Told(TWO), now=101.0) == [Fetch(TWO)]


def test_a_payload_that_refuses_leads_back_at_once() -> None:
    convergence = make()
    feed(convergence, Told(ONE), Came(ONE))
    refusal = Seen({"scanner": Sight(well=False, refused="exclude_regex[0] = '('")})
    assert feed(convergence, refusal) == [Apply(OWN, remedy=True)]
    assert (convergence.outcome, convergence.error) == (Outcome.REFUSED, "scanner: exclude_regex[0] = '('")
    assert (convergence.running, convergence.bad) == (OWN, (ONE,))


@pytest.mark.parametrize(("kind", "borne"), [("exit", 1), ("signal", 1), ("oom", 1), ("hang", 0), ("abandoned", 0)])
def test_crashes_within_the_probation_lead_back(kind: str, borne: int) -> None:
    convergence = make()
    feed(convergence, Told(ONE), Came(ONE), WELL)
    broke = Broke("scanner", kind, "signal 11")
    for _ in range(borne):
        assert feed(convergence, broke) == []
    assert feed(convergence, broke) == [Apply(OWN, remedy=True)]
    assert (convergence.outcome, convergence.error) == (Outcome.FAILED, f"scanner: {kind}: signal 11")


def test_a_crash_that_is_borne_begins_the_probation_anew() -> None:
    convergence = make()
    feed(convergence, Told(ONE), Came(ONE), WELL)
    feed(convergence, Broke("scanner", "exit", "exit 1"), UNWELL, now=29.0)
    assert phase_of(convergence) is Phase.SETTLING
    feed(convergence, WELL, now=30.0)
    feed(convergence, Tick(), now=59.9)
    assert convergence.good == OWN
    feed(convergence, Tick(), now=60.0)
    assert convergence.good == ONE


def test_who_does_not_run_it_in_time_leads_back_and_each_that_does_gives_time() -> None:
    convergence = make()
    feed(convergence, Told(ONE), Came(ONE))
    some = {str(number): Sight(well=False) for number in range(5)}
    for number in range(4):
        some[str(number)] = Sight(well=True)
        assert feed(convergence, Tick(), Seen(dict(some)), now=number * 7.9) == []
    assert feed(convergence, Tick(), now=3 * 7.9 + 7.9) == []
    assert feed(convergence, Tick(), now=3 * 7.9 + 8) == [Apply(OWN, remedy=True)]
    assert convergence.error == "not running within 8 s: 4"


def test_without_progress_it_is_not_good() -> None:
    convergence = make()

    def busy(done: int) -> Seen:
        return Seen({"scanner": Sight(well=True, done=done, idle=False)})

    feed(convergence, Told(ONE), Came(ONE), busy(5))
    feed(convergence, busy(5), Tick(), now=30.0)
    assert phase_of(convergence) is Phase.PROVING
    feed(convergence, busy(6), Tick(), now=31.0)
    assert phase_of(convergence) is Phase.STEADY


def test_who_was_not_heard_after_the_probation_may_hang() -> None:
    convergence = make()
    feed(convergence, Told(ONE), Came(ONE), Seen({"scanner": Sight(well=True, heard=0.0)}))
    feed(convergence, Seen({"scanner": Sight(well=True, heard=29.5)}), Tick(), now=30.0)
    feed(convergence, Tick(), now=31.0)
    assert phase_of(convergence) is Phase.PROVING
    assert feed(convergence, Broke("scanner", "hang", "silent"), now=32.5) == [Apply(OWN, remedy=True)]
    convergence = make()
    feed(convergence, Told(ONE), Came(ONE), Seen({"scanner": Sight(well=True, heard=0.0)}))
    feed(convergence, Seen({"scanner": Sight(well=True, heard=30.0)}), Tick(), now=30.1)
    assert phase_of(convergence) is Phase.STEADY


def test_what_changes_no_payload_is_good_at_once() -> None:
    convergence = make()
    feed(convergence, Told(ONE), Came(ONE), Seen({}))
    assert convergence.good == ONE


def test_one_after_the_other_has_a_probation_of_its_own() -> None:
    convergence = make()
    feed(convergence, Told(ONE), Came(ONE), Seen({"query.0": Sight(well=True)}, more=True))
    assert phase_of(convergence) is Phase.PROVING
    assert feed(convergence, Tick(), now=29.9) == []
    assert feed(convergence, Tick(), now=30.0) == [Widen()]
    both = {"query.0": Sight(well=True), "query.1": Sight(well=False)}
    feed(convergence, Seen(both), Tick(), now=30.1)
    assert phase_of(convergence) is Phase.SETTLING
    feed(convergence, Seen({name: Sight(well=True) for name in both}), now=31.0)
    assert feed(convergence, Tick(), now=60.9) == []
    assert phase_of(convergence) is Phase.PROVING
    feed(convergence, Tick(), now=61.0)
    assert (phase_of(convergence), convergence.good) == (Phase.STEADY, ONE)


def test_the_first_one_that_breaks_keeps_it_from_the_others() -> None:
    convergence = make()
    feed(convergence, Told(ONE), Came(ONE), Seen({"query.0": Sight(well=True)}, more=True))
    assert feed(convergence, Broke("query.0", "hang", "silent"), now=29.0) == [Apply(OWN, remedy=True)]
    assert feed(convergence, Tick(), now=40.0) == []


def test_the_next_one_has_to_run_it_in_time() -> None:
    convergence = make()
    feed(convergence, Told(ONE), Came(ONE), Seen({"query.0": Sight(well=True)}, more=True))
    assert feed(convergence, Tick(), now=30.0) == [Widen()]
    feed(convergence, Seen({"query.0": Sight(well=True), "query.1": Sight(well=False)}), now=31.0)
    assert feed(convergence, Tick(), now=38.0) == [Apply(OWN, remedy=True)]
    assert "not running within 8 s: query.1" in convergence.error


def test_another_one_takes_the_place_of_one_on_probation() -> None:
    convergence = make()
    feed(convergence, Told(ONE), Came(ONE), WELL)
    assert feed(convergence, Told(TWO), Came(TWO)) == [Fetch(TWO), Apply(TWO)]
    assert (convergence.good, convergence.attempted, convergence.running) == (OWN, TWO, TWO)
    assert feed(convergence, Came(ONE)) == []  # late


def test_the_good_one_desired_again_ends_a_trial() -> None:
    convergence = make()
    good(convergence, ONE)
    feed(convergence, Told(TWO), Came(TWO), WELL, now=40.0)
    assert feed(convergence, Told(ONE), now=41.0) == [Apply(ONE)]
    assert (phase_of(convergence), convergence.outcome, convergence.attempted) == (Phase.STEADY, Outcome.GOOD, ONE)
    assert feed(convergence, Told(TWO), now=42.0) == [Fetch(TWO)]  # it has not failed


def test_bad_long_after_its_probation_leads_to_the_one_before_once() -> None:
    convergence = make()
    good(convergence, ONE)
    good(convergence, TWO, now=100.0)
    assert feed(convergence, Resort("scanner"), now=1e6) == [Apply(ONE, remedy=True)]
    assert (convergence.good, convergence.attempted, convergence.outcome) == (ONE, TWO, Outcome.FAILED)
    assert feed(convergence, Resort("scanner"), now=1e6) == []
    assert feed(convergence, Told(TWO), now=1e6) == []  # nor is it tried again
    assert feed(convergence, Told(THREE), now=1e6) == [Fetch(THREE)]


def test_a_trial_goes_on_in_the_next_life_and_not_for_ever() -> None:
    kept = Loaded(desired=ONE, attempted=ONE, outcome=Outcome.RUNNING, tries=1, good=OWN)
    for life in range(1, 6):
        convergence = Convergence(ProbationPolicy())
        effects = convergence.handle(attrs.evolve(kept, tries=life), 0.0)
        if life < 5:
            assert [type(effect) for effect in effects] == [Keep, Say, Apply]
            assert (effects[-1], convergence.tries) == (Apply(ONE), life + 1)
        else:
            assert effects[-1] == Apply(OWN, remedy=True)
            assert "5 times" in convergence.error


def test_what_was_decided_holds_in_the_next_life() -> None:
    convergence = Convergence(ProbationPolicy())
    kept = Loaded(TWO, TWO, Outcome.FAILED, "scanner: hang", 1, ONE, OWN, (TWO,))
    assert convergence.handle(kept, 0.0) == [Apply(ONE)]
    assert feed(convergence, Told(TWO)) == []
    assert convergence.status().error == "scanner: hang"


@pytest.mark.parametrize(
    ("field", "value"), [("crashes", 0), ("tries", 101), ("settle_seconds", 0.0), ("probation_seconds", -1.0)]
)
def test_a_policy_names_what_it_refuses(field: str, value: float) -> None:
    with pytest.raises(ConfigError) as caught:
        ProbationPolicy(**{field: value})  # type: ignore[arg-type]
    assert caught.value.field == field


class Fleet(RuleBasedStateMachine):
    """
    Fusion, a disk, payloads and a clock in any order. The world knows which documents are bad, and how: whatever
    happens, the payloads end up on the newest document that is not bad.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.policy = ProbationPolicy()
        self.convergence = Convergence(self.policy)
        self.disk = Loaded()
        self.applied = OWN
        self.history: list[Mark] = []
        self.bad: dict[Mark, str] = {}
        self.proven: set[Mark] = {OWN}
        self.lives = 0
        #: Payloads that are given a configuration one after the other, and how many of them have it.
        self.parts, self.given = 1, 1
        self.feed(Loaded())

    @initialize(parts=st.integers(1, 3))
    def gradual(self, parts: int) -> None:
        self.parts = parts

    def feed(self, event: Event) -> None:
        before = self.convergence.good
        for effect in self.convergence.handle(event, self.now):
            match effect:
                case Keep():
                    r = self.convergence
                    self.disk = Loaded(r.desired, r.attempted, r.outcome, r.error, r.tries, r.good, r.before, r.bad)
                case Apply(mark):
                    # Nothing is tried that is not written down.
                    assert mark in (self.disk.good, self.disk.attempted)
                    self.applied, self.given = mark, 1
                case Widen():
                    assert self.given < self.parts
                    self.given += 1
                case Fetch(mark):
                    assert mark == self.convergence.desired
                    assert mark not in self.convergence.bad
        if self.convergence.good != before and not isinstance(event, Loaded | Resort):
            assert isinstance(event, Tick | Seen), "good without a probation"
            assert self.given == self.parts, "good before everybody had it"
            assert self.convergence.good not in self.bad, "a bad one is called good"
            self.proven.add(self.convergence.good)

    @rule(bad=st.sampled_from(["", "", "faults", "refuses", "crashes", "hangs", "slow"]))
    def push(self, bad: str) -> None:
        mark = Mark(len(self.history) + 1, f"d{len(self.history)}")
        self.history.append(mark)
        if bad:
            self.bad[mark] = bad

    @precondition(lambda self: self.history)
    @rule()
    def heartbeat(self) -> None:
        self.feed(Told(self.history[-1]))

    @precondition(lambda self: self.convergence.missing)
    @rule()
    def document(self) -> None:
        mark = self.convergence.desired
        self.feed(Came(mark, "no good" if self.bad.get(mark) == "faults" else ""))

    @rule(well=st.booleans(), done=st.integers(0, 2))
    def see(self, well: bool, done: int) -> None:
        """As payloads are on what is applied."""
        how = self.bad.get(self.applied, "")
        sight = Sight(well=well and how not in ("refuses", "slow"), done=done, idle=False)
        if how == "refuses":
            sight = attrs.evolve(sight, refused="no")
        self.feed(Seen({"p": sight}, more=self.given < self.parts))

    @precondition(lambda self: self.bad.get(self.applied) in ("crashes", "hangs"))
    @rule()
    def breaks(self) -> None:
        if self.convergence.phase in (Phase.SETTLING, Phase.PROVING):
            self.feed(Broke("p", "hang" if self.bad[self.applied] == "hangs" else "signal", "x"))

    @rule(seconds=st.floats(0.1, 20))
    def wait(self, seconds: float) -> None:
        # A payload that crashes or hangs does so within its probation.
        if self.bad.get(self.applied) in ("crashes", "hangs"):
            self.breaks()
        self.now += seconds
        self.feed(Tick())

    @rule()
    def control_actor_dies(self) -> None:
        self.lives += 1
        self.convergence = Convergence(self.policy)
        self.feed(self.disk)

    @invariant()
    def holds(self) -> None:
        r = self.convergence
        assert self.applied == r.running
        assert r.good in self.proven
        assert r.good not in r.bad
        assert len(r.bad) <= BAD_MOST
        assert (r.wake_at is not None) == (r.phase in (Phase.SETTLING, Phase.PROVING))
        assert (r.outcome in OPEN) == (r.phase in (Phase.SETTLING, Phase.PROVING))
        assert r.running == (r.attempted if r.outcome in OPEN else r.good)
        assert r.tries <= self.policy.tries
        assert r.status().error == r.error

    def teardown(self) -> None:
        """Left alone, with Fusion there and payloads that do what they can, it comes to rest, on what is not bad."""
        for _ in range(400):
            if self.history:
                self.heartbeat()
            if self.convergence.missing:
                self.document()
            how = self.bad.get(self.applied, "")
            if how in ("crashes", "hangs"):
                self.breaks()
            else:
                self.see(well=True, done=int(self.now) % 3)
            self.now += 0.7
            self.feed(Tick())
        r = self.convergence
        assert r.phase is Phase.STEADY
        assert self.applied not in self.bad
        if self.history and self.history[-1] not in self.bad and self.history[-1] not in r.bad:
            assert self.applied == self.history[-1]


TestFleet = Fleet.TestCase
TestFleet.settings = settings(max_examples=80, stateful_step_count=50)
