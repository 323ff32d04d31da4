"""The waves of a rollout, step by step and at random."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from protocols.errors import ConfigError
from protocols.rollout import (
    OPEN,
    Abort,
    Effect,
    Keep,
    Member,
    NotPushed,
    Pause,
    Phase,
    Push,
    Pushed,
    Ran,
    Resume,
    Rollout,
    RolloutPolicy,
    Say,
    Seen,
    Sight,
    Standing,
)

THERE = Sight(online=True)


def make(*names: str, everyone: bool = False, **policy: float) -> Rollout:
    return Rollout(RolloutPolicy(**policy), everyone=everyone, members={name: Member() for name in names})  # type: ignore[arg-type]


def seen(rollout: Rollout, **sights: Sight) -> list[str]:
    """Let it see agents at the beginning of time; whom it gives it to."""
    return seen_at(0.0, rollout, **sights)


def seen_at(now: float, rollout: Rollout, **sights: Sight) -> list[str]:
    return pushes(rollout.handle(Seen(sights), now))


def pushes(effects: list[Effect]) -> list[str]:
    return [effect.agent for effect in effects if isinstance(effect, Push)]


def trying(revision: int) -> Sight:
    return Sight(online=True, desired=revision, attempted=revision, outcome="trying")


def good(revision: int) -> Sight:
    return Sight(online=True, desired=revision, attempted=revision, outcome="good")


def failed(revision: int) -> Sight:
    return Sight(online=True, desired=revision, attempted=revision, outcome="failed", error="hang")


def standings(rollout: Rollout) -> dict[str, str]:
    return {name: member.standing.value for name, member in rollout.members.items()}


def test_waves_follow_each_other_when_all_of_the_last_one_are_good() -> None:
    rollout = make("a", "b", "c", "d", share=0.5)
    all_there = dict.fromkeys("abcd", THERE)
    assert seen(rollout, **{**all_there, "a": Sight(online=True, desired=4, good=3)}) == ["a"]
    assert seen(rollout, **all_there) == [], "a is asked"
    assert rollout.handle(Pushed("a", 7), 0.0) == [Keep()]
    assert seen(rollout, **{**all_there, "a": trying(7)}) == []
    assert seen(rollout, **{**all_there, "a": good(7)}) == ["b", "c"]
    rollout.handle(Pushed("b", 8), 0.0)
    rollout.handle(Pushed("c", 9), 0.0)
    sights = {**all_there, "a": good(7), "b": good(8), "c": trying(9)}
    assert seen(rollout, **sights) == []
    assert seen(rollout, **{**sights, "c": good(9)}) == ["d"]
    assert not rollout.served
    rollout.handle(Pushed("d", 10), 0.0)
    assert seen(rollout, **{**sights, "c": good(9), "d": good(10)}) == []
    assert rollout.served
    assert rollout.over
    assert (rollout.wave, rollout.members["a"].before) == (3, 3)


def test_what_was_good_before_is_known_before_anything_is_given() -> None:
    rollout = make("a")
    before = Sight(online=True, desired=4, good=3, attempted=4, outcome="failed")
    effects = rollout.handle(Seen({"a": before}), 0.0)
    assert [type(effect) for effect in effects] == [Keep, Say, Push]
    assert rollout.members["a"].before == 3
    # Whoever takes over after a death asks again, and what is good then may be what was given.
    rollout.members["a"].standing = Standing.WAITING
    seen(rollout, a=attrs.evolve(before, good=5))
    assert rollout.members["a"].before == 3
    # Not given at all: what is good counts when it is tried again.
    rollout.handle(NotPushed("a", "why"), 0.0)
    seen(rollout, a=attrs.evolve(before, good=6))
    assert rollout.members["a"].before == 6


def test_nobody_was_looked_at_yet() -> None:
    rollout = make("a")
    assert not rollout.served
    assert rollout.handle(Resume(), 0.0) == []
    assert seen(rollout, a=Sight(online=False)) == []
    assert rollout.served


def test_too_many_failures_pause_it() -> None:
    rollout = make("a", "b", "c", failures=1, canary=2)
    seen(rollout, **dict.fromkeys("abc", THERE))
    rollout.handle(Pushed("a", 1), 0.0)
    rollout.handle(Pushed("b", 2), 0.0)
    assert seen(rollout, a=failed(1), b=good(2), c=THERE) == ["c"], "one is borne"
    rollout.handle(Pushed("c", 3), 0.0)
    effects = rollout.handle(Seen({"a": failed(1), "b": failed(2), "c": good(3)}), 0.0)
    assert effects[-1] == Say("the rollout is paused: 2 failed, 1 are borne: a, b")
    assert standings(rollout) == {"a": "failed", "b": "failed", "c": "good"}
    assert rollout.members["a"].text == "hang"
    refused = attrs.evolve(failed(1), outcome="refused", error="not signed")
    rollout.handle(Seen({"a": refused}), 0.0)
    assert rollout.members["a"].text == "refused: not signed"


def test_going_on_bears_what_has_failed_so_far_and_not_more() -> None:
    rollout = make("a", "b", "c")
    seen(rollout, **dict.fromkeys("abc", THERE))
    rollout.handle(Pushed("a", 1), 0.0)
    seen(rollout, a=failed(1), b=THERE, c=THERE)
    assert rollout.phase is Phase.PAUSED
    assert pushes(rollout.handle(Resume(), 0.0)) == ["b"]
    rollout.handle(Pushed("b", 2), 0.0)
    assert seen(rollout, a=failed(1), b=failed(2), c=THERE) == []
    assert rollout.phase is Phase.PAUSED


def test_silence_is_a_failure_and_a_late_word_corrects_it() -> None:
    rollout = make("a", "b", verdict_seconds=10)
    seen(rollout, a=THERE, b=THERE)
    rollout.handle(Pushed("a", 1), 100.0)
    gone = Sight(online=False, desired=1, attempted=1, outcome="trying")
    assert seen_at(109.0, rollout, a=gone, b=THERE) == []
    assert standings(rollout)["a"] == "trying"
    seen_at(110.0, rollout, a=gone, b=THERE)
    assert rollout.members["a"].text == "it did not say good within 10 s, and it is away"
    assert rollout.phase is Phase.PAUSED
    seen_at(111.0, rollout, a=good(1), b=THERE)
    assert standings(rollout)["a"] == "good"
    assert pushes(rollout.handle(Resume(), 112.0)) == ["b"]


def test_one_that_falls_back_long_after_has_failed() -> None:
    rollout = make("a")
    seen(rollout, a=THERE)
    rollout.handle(Pushed("a", 1), 0.0)
    seen(rollout, a=good(1))
    seen(rollout, a=failed(1))
    assert standings(rollout) == {"a": "failed"}
    assert rollout.phase is Phase.PAUSED


def test_who_is_away_waits_and_is_served_later() -> None:
    rollout = make("a", "b")
    assert seen(rollout, b=THERE) == ["b"]
    rollout.handle(Pushed("b", 1), 0.0)
    assert seen(rollout, b=good(1)) == []
    assert rollout.served
    assert seen(rollout, a=THERE, b=good(1)) == ["a"]
    assert not rollout.served


def test_newcomers_belong_to_it_only_where_it_is_for_everyone() -> None:
    assert seen(make("a"), a=THERE, new=THERE) == ["a"]
    rollout = make(everyone=True)
    assert seen(rollout, new=THERE, other=Sight(online=False)) == ["new"]
    assert set(rollout.members) == {"new"}


def test_what_could_not_be_given_is_tried_again_unless_it_was_refused() -> None:
    rollout = make("a", "b", failures=1)
    seen(rollout, a=THERE, b=THERE)
    rollout.handle(NotPushed("a", "the disk is full"), 0.0)
    assert (standings(rollout)["a"], rollout.members["a"].text) == ("waiting", "the disk is full")
    assert seen(rollout, a=THERE, b=THERE) == ["a"]
    rollout.handle(NotPushed("a", "software is denied", refused=True), 0.0)
    assert standings(rollout)["a"] == "failed"
    assert seen(rollout, a=THERE, b=THERE) == ["b"]


def test_who_runs_it_already_is_good() -> None:
    rollout = make("a", "b")
    seen(rollout, a=THERE, b=THERE)
    assert pushes(rollout.handle(Ran("a"), 0.0)) == ["b"]
    assert standings(rollout) == {"a": "good", "b": "asked"}


def test_somebody_desires_something_else() -> None:
    rollout = make("a", "b")
    seen(rollout, a=THERE, b=THERE)
    rollout.handle(Pushed("a", 1), 0.0)
    assert seen(rollout, a=good(2), b=THERE) == ["b"]
    assert standings(rollout)["a"] == "overtaken"
    assert rollout.phase is Phase.RUNNING


def test_paused_and_aborted() -> None:
    rollout = make("a", "b")
    assert rollout.handle(Pause("why"), 0.0) == [Keep(), Say("the rollout is paused: why")]
    assert seen(rollout, a=THERE, b=THERE) == []
    assert rollout.handle(Pause("why"), 0.0) == []
    assert pushes(rollout.handle(Resume(), 0.0)) == ["a"]
    assert rollout.handle(Resume(), 0.0) == []
    rollout.handle(Abort("enough"), 0.0)
    assert rollout.over
    # What was under way when it was aborted is still known, to be taken back.
    rollout.handle(Pushed("a", 1), 0.0)
    assert rollout.members["a"].revision == 1
    for event in (Resume(), Pause("x"), Abort("x"), Seen({"b": THERE})):
        assert rollout.handle(event, 0.0) == []


def test_words_about_strangers_mean_nothing() -> None:
    rollout = make("a")
    for event in (Pushed("x", 1), Ran("x"), NotPushed("x", "why")):
        assert rollout.handle(event, 0.0) == []


@pytest.mark.parametrize("policy", [{"canary": 0}, {"share": 0}, {"share": 1.1}, {"failures": -1}])
def test_policies_have_bounds(policy: Mapping[str, float]) -> None:
    with pytest.raises(ConfigError):
        RolloutPolicy(**policy)  # type: ignore[arg-type]


class Fleet(RuleBasedStateMachine):
    """Agents that come, go, take a program or fail with it, in any order."""

    @initialize(
        canary=st.integers(1, 3),
        share=st.sampled_from([0.1, 0.5, 1.0]),
        failures=st.integers(0, 2),
        count=st.integers(1, 8),
    )
    def begin(self, canary: int, share: float, failures: int, count: int) -> None:
        self.policy = RolloutPolicy(canary=canary, share=share, failures=failures, verdict_seconds=50)
        names = [f"a{number}" for number in range(count)]
        self.rollout = Rollout(self.policy, everyone=True, members={name: Member() for name in names})
        self.sights = {name: Sight(online=False) for name in names}
        self.looked: Mapping[str, Sight] = {}
        self.now = 0.0
        self.asked: set[str] = set()
        self.revision = 0
        self.wave: set[str] = set()

    def feed(self, event: Seen | Pushed | Ran | NotPushed | Pause | Resume | Abort) -> None:
        before = {name: member.standing for name, member in self.rollout.members.items()}
        if isinstance(event, Seen):
            self.looked = event.agents
        effects = self.rollout.handle(event, self.now)
        chosen = pushes(effects)
        assert not chosen or effects[: -len(chosen)][-2] == Keep(), "written down before it is done"
        if chosen:
            assert self.rollout.phase is Phase.RUNNING
            assert not any(standing in OPEN for name, standing in before.items() if name not in chosen) or isinstance(
                event, Seen | Ran
            )
            assert all(self.looked[name].online for name in chosen)
            assert all(name not in self.asked for name in chosen)
            size = (
                self.policy.canary if self.rollout.wave == 1 else -(-len(self.rollout.members) * self.policy.share // 1)
            )
            assert len(chosen) <= size
            self.wave = set(chosen)
            self.asked |= set(chosen)

    @rule(data=st.data(), online=st.booleans())
    def link(self, data: st.DataObject, online: bool) -> None:
        name = data.draw(st.sampled_from(sorted(self.sights)))
        self.sights[name] = attrs.evolve(self.sights[name], online=online)

    @rule()
    def newcomer(self) -> None:
        self.sights[f"n{len(self.sights)}"] = THERE

    @rule(seconds=st.floats(0, 60))
    def look(self, seconds: float) -> None:
        self.now += seconds
        self.feed(Seen(dict(self.sights)))

    @rule(data=st.data(), how=st.sampled_from(["pushed", "ran", "not", "refused"]))
    def answer(self, data: st.DataObject, how: str) -> None:
        if not self.asked:
            return
        name = data.draw(st.sampled_from(sorted(self.asked)))
        self.asked.discard(name)
        if how == "pushed":
            self.revision += 1
            self.sights[name] = attrs.evolve(self.sights[name], desired=self.revision)
            self.feed(Pushed(name, self.revision))
        elif how == "ran":
            self.feed(Ran(name))
        else:
            self.feed(NotPushed(name, how, refused=how == "refused"))

    @rule(data=st.data(), outcome=st.sampled_from(["trying", "running", "good", "failed", "refused"]))
    def verdict(self, data: st.DataObject, outcome: str) -> None:
        given = sorted(name for name, member in self.rollout.members.items() if member.revision)
        if given:
            name = data.draw(st.sampled_from(given))
            attempted = self.rollout.members[name].revision
            self.sights[name] = attrs.evolve(self.sights[name], attempted=attempted, outcome=outcome)

    @rule()
    def pause(self) -> None:
        self.feed(Pause("a person"))

    @rule()
    def resume(self) -> None:
        self.feed(Resume())

    @invariant()
    def open_ones_are_of_the_last_wave(self) -> None:
        if hasattr(self, "rollout"):
            standing = {name for name, member in self.rollout.members.items() if member.standing in OPEN}
            assert standing <= self.wave
            assert {n for n, m in self.rollout.members.items() if m.standing is Standing.ASKED} == self.asked

    def teardown(self) -> None:
        """When everybody is there and says good, everybody is served, whatever came before."""
        if not hasattr(self, "rollout"):
            return
        for _ in range(4 * len(self.sights) + 4):
            for name in sorted(self.asked):
                self.asked.discard(name)
                self.revision += 1
                self.feed(Pushed(name, self.revision))
            for name, sight in list(self.sights.items()):
                member = self.rollout.members.get(name, Member())
                self.sights[name] = attrs.evolve(
                    sight,
                    online=True,
                    desired=member.revision or sight.desired,
                    attempted=member.revision,
                    outcome="good",
                )
            self.feed(Resume())
            self.feed(Seen(dict(self.sights)))
        assert self.rollout.served, standings(self.rollout)
        refused = [m for m in self.rollout.members.values() if not m.revision and m.standing is Standing.FAILED]
        assert self.rollout.counts()["good"] + len(refused) == len(self.rollout.members)


TestFleet = Fleet.TestCase
TestFleet.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
