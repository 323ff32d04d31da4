"""What an answer may claim."""

from __future__ import annotations

import pytest

from actors.query.freshness import source_status, view_status
from fustor.treestore.reader import SourceStatus

NOW = 100_000_000_000


def source(state: str, age: float | None = 0.5, *, complete: bool = True) -> SourceStatus:
    arrived = 0 if age is None else NOW - int(age * 1e9)
    return SourceStatus(
        0,
        "a",
        "s",
        "/",
        1,
        state=state,
        as_of_ns=5_000_000_000,
        complete=complete,
        reasons=("why",),
        arrived_ns=arrived,
    )


def test_a_watermark_is_a_lease() -> None:
    fresh = source_status(source("live", 2.9), NOW, 3.0)
    assert (fresh.state, fresh.age, fresh.as_of, fresh.complete, fresh.reasons) == ("live", 2.9, 5.0, True, ("why",))
    over = source_status(source("live", 3.1), NOW, 3.0)
    assert (over.state, over.age, over.complete) == ("stale", 3.1, False)
    assert over.reasons == ("why", "not heard for more than 3 s")


def test_a_watermark_of_an_earlier_boot_is_stale_and_of_unknown_age() -> None:
    status = source_status(source("live", None), NOW, 3.0)
    assert (status.state, status.age, status.complete) == ("stale", None, False)
    assert view_status([source("live", None), source("live")], NOW, 3.0).age is None


def test_a_clock_that_seems_to_go_backwards_gives_age_zero() -> None:
    assert source_status(source("live", -1), NOW, 3.0).age == 0


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([], "empty"),
        (["empty"], "empty"),
        (["empty", "empty"], "empty"),
        (["empty", "live"], "building"),
        (["building", "live"], "building"),
        (["building", "offline"], "building"),
        (["live", "live"], "live"),
        (["live", "offline"], "stale"),
        (["degraded", "live"], "stale"),
        (["stale"], "stale"),
    ],
)
def test_the_state_of_a_view(states: list[str], expected: str) -> None:
    assert view_status([source(state) for state in states], NOW, 3.0).state == expected


def test_a_source_that_was_building_when_its_lease_ended_makes_the_view_stale() -> None:
    assert view_status([source("building", 9)], NOW, 3.0).state == "stale"


def test_completeness_and_ages_are_those_of_the_worst() -> None:
    status = view_status([source("live", 1), source("live", 2)], NOW, 3.0)
    assert (status.complete, status.age, status.as_of) == (True, 2.0, 5.0)
    assert not view_status([source("live"), source("live", complete=False)], NOW, 3.0).complete
    assert not view_status([source("live"), source("live", 9)], NOW, 3.0).complete
    assert not view_status([], NOW, 3.0).complete
    empty = view_status([source("empty", None)], NOW, 3.0)
    assert (empty.age, empty.complete) == (None, False)
