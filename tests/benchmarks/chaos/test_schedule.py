"""The schedule: everything is hit, somebody is always left, and what begins ends."""

from __future__ import annotations

import itertools

import pytest

from benchmarks.chaos.schedule import ENDS, EVERYBODY, GUARDIAN, KINDS, PAYLOADS, SIDES, TEMPLATE, Step, schedule


def test_the_same_seed_gives_the_same_steps() -> None:
    assert schedule(7, 100) == schedule(7, 100)
    assert schedule(7, 100) != schedule(8, 100)


@pytest.mark.parametrize("seed", range(20))
def test_one_deck_hits_everything(seed: int) -> None:
    steps = schedule(seed, 0)
    assert {step.kind for step in steps} == KINDS
    alone = [step.victims[0] for step in steps if step.kind == "kill" and len(step.victims) == 1]
    assert sorted(alone) == sorted(EVERYBODY)
    assert sum(len(step.victims) == 2 for step in steps) >= 5
    stopped = {step.victims[0] for step in steps if step.kind in ("stop", "stand")}
    assert stopped == {who for who in EVERYBODY if who[1] != TEMPLATE}
    assert {step.victims[0] for step in steps if step.kind == "restart"} == set(PAYLOADS)
    assert all(name == GUARDIAN for step in steps if step.kind in ("stand", "reexec") for _, name in step.victims)


@pytest.mark.parametrize("seed", range(20))
def test_of_each_side_somebody_is_left(seed: int) -> None:
    steps = schedule(seed, 200)
    for step in steps:
        for side, names in SIDES.items():
            # A template succeeds nobody.
            assert {(side, name) for name in names if name != TEMPLATE} - set(step.victims)
    whole = [{side for side, _ in step.victims} for step in steps if len(step.victims) > 2]
    assert {"fusion"} in whole
    assert {"agent"} in whole
    assert {"fusion", "agent"} in whole


@pytest.mark.parametrize("seed", range(20))
def test_what_lasts_has_its_end_and_others_between(seed: int) -> None:
    steps = schedule(seed, 200)
    for kind, end in ENDS.items():
        places = [number for number, step in enumerate(steps) if step.kind in (kind, end)]
        assert [steps[number].kind for number in places] == [kind, end] * (len(places) // 2)
        lengths = [after - before for before, after in zip(places[::2], places[1::2], strict=True)]
        assert all(1 <= length <= 5 for length in lengths)
        assert any(length > 1 for length in lengths)


def test_every_pair_comes_in_time() -> None:
    pairs = {step.victims for step in schedule(1, 1200) if step.kind == "kill" and len(step.victims) == 2}
    assert {frozenset(pair) for pair in pairs} >= {frozenset(p) for p in itertools.combinations(EVERYBODY, 2)}


def test_kills_are_counted() -> None:
    steps = schedule(1, 1000)
    assert sum(step.kills for step in steps) >= 1000
    assert sum(step.kills for step in schedule(1, 0)) < 50


def test_kinds_that_are_not_possible_are_left_out() -> None:
    steps = schedule(1, 0, kinds=KINDS - {"fill", "kill"})
    assert {step.kind for step in steps} == KINDS - {"fill", "free", "kill"}


@pytest.mark.parametrize(
    ("kinds", "words"), [(frozenset({"nap"}), "nap: accepted are corrupt"), (KINDS - {"kill"}, "there are none")]
)
def test_what_can_not_be_is_refused(kinds: frozenset[str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        schedule(1, 1, kinds=kinds)


def test_a_step_says_what_it_is() -> None:
    assert str(Step("kill", (("fusion", "view.main"), ("agent", "control")))) == "kill fusion/view.main + agent/control"
    assert str(Step("fill")) == "fill"
