"""Who is blamed, when an item is quarantined, and that nothing of it grows without bound."""

from __future__ import annotations

import signal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import ConfigError, RequestError
from protocols.quarantine import (
    Effect,
    Full,
    Quarantine,
    Quarantined,
    QuarantinePolicy,
    State,
    Suspected,
    blames,
)
from protocols.supervision import CAUSES


def die(quarantine: Quarantine, item: str = "/a/", group: str = "scanner.data", now: float = 0.0) -> Effect:
    return quarantine.died(group, item, f"{group}.0", "signal 11 (SIGSEGV)", now)


def test_the_second_death_quarantines() -> None:
    quarantine = Quarantine(QuarantinePolicy())
    first = die(quarantine)
    assert isinstance(first, Suspected)
    assert quarantine.items("scanner.data") == ()
    second = die(quarantine, now=5.0)
    assert isinstance(second, Quarantined)
    assert (second.case.deaths, second.case.payload) == (2, "scanner.data.0")
    assert quarantine.items("scanner.data") == ("/a/",)
    assert quarantine.items("scanner.other") == ()


def test_deaths_far_apart_do_not_add_up() -> None:
    quarantine = Quarantine(QuarantinePolicy(suspect_seconds=60))
    for hour in range(5):
        assert isinstance(die(quarantine, now=hour * 3600.0), Suspected)
    assert len(quarantine.cases) == 1


def test_other_items_and_groups_do_not_add_up() -> None:
    quarantine = Quarantine(QuarantinePolicy())
    assert isinstance(die(quarantine, "/a/"), Suspected)
    assert isinstance(die(quarantine, "/a"), Suspected)
    assert isinstance(die(quarantine, "/a/", "scanner.other"), Suspected)
    assert len({case.id for case in quarantine.cases.values()}) == 3


def test_released_it_takes_as_many_deaths_again() -> None:
    quarantine = Quarantine(QuarantinePolicy())
    case = [die(quarantine), die(quarantine)][1].case
    assert quarantine.release(case.id, 10.0) is case
    assert quarantine.release(case.id, 11.0) is case, "an order may be carried out twice"
    assert (quarantine.items("scanner.data"), quarantine.again("scanner.data")) == ((), ("/a/",))
    assert isinstance(die(quarantine, now=12.0), Suspected)
    assert quarantine.again("scanner.data") == ()
    assert isinstance(die(quarantine, now=13.0), Quarantined)


def test_what_was_released_is_forgotten_one_day() -> None:
    quarantine = Quarantine(QuarantinePolicy(suspect_seconds=60))
    case = [die(quarantine), die(quarantine)][1].case
    quarantine.release(case.id, 100.0)
    quarantine.forget(150.0)
    assert quarantine.again("scanner.data") == ("/a/",)
    quarantine.forget(161.0)
    assert quarantine.cases == {}


def test_only_what_is_quarantined_can_be_released() -> None:
    quarantine = Quarantine(QuarantinePolicy())
    case = die(quarantine).case
    with pytest.raises(RequestError, match="none is"):
        quarantine.release(case.id, 0.0)
    die(quarantine)
    with pytest.raises(RequestError, match=case.id):
        quarantine.release("0123456789", 0.0)


def test_a_group_has_room_for_so_many_and_the_rest_is_said() -> None:
    quarantine = Quarantine(QuarantinePolicy(items=2))
    effects = [die(quarantine, f"/{name}/") for name in "aabbcc"]
    assert [type(effect) for effect in effects] == [Suspected, Quarantined, Suspected, Quarantined, Suspected, Full]
    assert isinstance([die(quarantine, "/d/", "other"), die(quarantine, "/d/", "other")][1], Quarantined)


def test_a_death_by_what_was_handed_out_just_before_is_no_news() -> None:
    quarantine = Quarantine(QuarantinePolicy())
    assert [type(die(quarantine)) for _ in range(3)] == [Suspected, Quarantined, Quarantined]


@pytest.mark.parametrize(
    ("cause", "code", "number", "waiting", "expected"),
    [
        ("signal", 0, signal.SIGSEGV, False, True),
        ("signal", 0, signal.SIGABRT, True, True),
        ("signal", 0, signal.SIGKILL, False, False),
        ("signal", 0, signal.SIGTERM, False, False),
        ("exit", 1, 0, False, True),
        ("exit", 0, 0, False, False),
        ("exit", 3, 0, False, False),
        ("hang", 0, signal.SIGABRT, False, True),
        ("hang", 0, signal.SIGKILL, True, False),
        ("oom", 0, signal.SIGKILL, False, True),
        ("memory", 4, 0, False, True),
        ("cpu", 0, signal.SIGABRT, False, True),
        ("log", 0, signal.SIGABRT, False, False),
        ("operator", 0, signal.SIGSEGV, False, False),
        ("protocol", 0, signal.SIGABRT, False, False),
        ("abandoned", 0, 0, False, False),
        ("spawn", 0, 0, False, False),
    ],
)
def test_who_is_blamed(cause: str, code: int, number: int, waiting: bool, expected: bool) -> None:
    assert cause in CAUSES
    assert blames(cause, code, number, waiting=waiting) is expected


def test_it_outlives_a_control_actor() -> None:
    before = Quarantine(QuarantinePolicy())
    for item in ("/a/", "/a/", "/b\udcff", "/c/", "/c/"):
        die(before, item)
    released = before.release(before.cases["scanner.data", "/c/"].id, 5.0)
    after = Quarantine(QuarantinePolicy())
    assert after.restore(before.plain()) == 0
    assert after.plain() == before.plain()
    assert after.release(released.id, 6.0).item == "/c/"
    assert isinstance(die(after, "/b\udcff"), Quarantined)


@pytest.mark.parametrize("bad", [{}, {"group": "g"}, {"state": "x"}, None, {"deaths": "many"}])
def test_what_can_not_be_restored_is_counted(bad: Any) -> None:
    good = [die(Quarantine(QuarantinePolicy())).case.plain()]
    broken = {**good[0], **bad} if bad and "group" not in bad else bad
    quarantine = Quarantine(QuarantinePolicy())
    assert quarantine.restore([broken, *good]) == 1
    assert len(quarantine.cases) == 1


@pytest.mark.parametrize("wrong", [{"deaths": 0}, {"items": -1}, {"suspects": 0}, {"suspect_seconds": 0}])
def test_a_wrong_bound_is_refused_by_name(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        QuarantinePolicy(**wrong)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["die", "release", "restart"]),
        st.sampled_from(["/a/", "/b/", "/c", "/d", "/e", "/f"]),
        st.sampled_from(["one", "two"]),
        st.floats(0, 50),
    ),
    max_size=80,
)


@given(STEPS, st.integers(1, 3), st.integers(0, 3), st.integers(1, 4))
def test_whatever_happens(steps: list[tuple[str, str, str, float]], deaths: int, items: int, suspects: int) -> None:
    """Against a model that keeps the times of all deaths: nothing is quarantined early, late, or without room."""
    policy = QuarantinePolicy(deaths=deaths, items=items, suspects=suspects, suspect_seconds=60)
    quarantine, now = Quarantine(policy), 0.0
    for what, item, group, passed in steps:
        now += passed
        case = quarantine.cases.get((group, item))
        if what == "die":
            old = case is not None and case.state is not State.QUARANTINED and case.last < now - 60
            fresh = case is None or case.state is State.RELEASED or old
            counted = 0 if fresh or case is None else case.deaths
            was = case is not None and case.state is State.QUARANTINED
            held = len(quarantine.items(group))
            effect = die(quarantine, item, group, now)
            assert effect.case.deaths == counted + 1
            if was:
                assert isinstance(effect, Quarantined)
            elif counted + 1 < deaths:
                assert isinstance(effect, Suspected)
            else:
                assert isinstance(effect, Full if held >= items else Quarantined)
        elif what == "release" and case is not None and case.state is State.QUARANTINED:
            quarantine.release(case.id, now)
            assert item not in quarantine.items(group)
            assert item in quarantine.again(group)
        elif what == "restart":
            kept, quarantine = quarantine, Quarantine(policy)
            assert quarantine.restore(kept.plain()) == 0
            assert quarantine.plain() == kept.plain()
        for one in ("one", "two"):
            assert len(quarantine.items(one)) <= items
            assert not set(quarantine.items(one)) & set(quarantine.again(one))
        loose = [c for c in quarantine.cases.values() if c.state is not State.QUARANTINED]
        assert len(loose) <= suspects
