"""Phases: what may be claimed, and that it is never too much."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.watcher.pending import NO_PHASE, Phases


def test_nothing_is_claimed_before_anything_was_read() -> None:
    assert Phases().reached == 0


def test_an_idle_source_is_as_fresh_as_its_last_read() -> None:
    phases = Phases()
    phases.drained(5)
    phases.drained(9)
    assert phases.reached == 9


def test_open_work_holds_the_claim() -> None:
    phases = Phases()
    phases.drained(5)
    phase = phases.begin()
    phases.drained(8)
    phases.drained(9)
    assert phases.reached == 5
    phases.end(phase)
    assert phases.reached == 9
    assert phases.outstanding == 0


def test_work_seen_later_does_not_hold_an_earlier_claim() -> None:
    phases = Phases()
    early = phases.begin()
    phases.drained(10)
    late = phases.begin()
    phases.drained(20)
    phases.end(early)
    assert phases.reached == 10
    phases.end(late)
    assert phases.reached == 20


def test_what_work_turns_out_to_need_belongs_to_its_phase() -> None:
    phases = Phases()
    phase = phases.begin()
    phases.drained(10)
    more = phases.more(phase)
    phases.end(phase)
    assert phases.reached == 0
    phases.end(more)
    assert phases.reached == 10


def test_no_phase_holds_nothing() -> None:
    phases = Phases()
    assert phases.more(NO_PHASE) == NO_PHASE
    phases.drained(3)
    phases.end(NO_PHASE)
    assert phases.reached == 3


def test_ending_twice_is_a_fault() -> None:
    phases = Phases()
    phase = phases.begin()
    phases.end(phase)
    with pytest.raises(AssertionError, match="more often than it began"):
        phases.end(phase)


def test_endless_work_keeps_bounded_books() -> None:
    """A source that never comes to rest: the number of phases is bounded, and all ends well."""
    phases = Phases()
    held = []
    for now in range(1, 1000):
        held.append(phases.begin())
        phases.drained(now)
    assert len(set(held)) <= 64
    assert phases.reached == 0
    for phase in held:
        phases.end(phase)
    phases.drained(1000)
    assert phases.reached == 1000


@settings(max_examples=300)
@given(st.lists(st.tuples(st.sampled_from(["begin", "drained", "end", "more"]), st.integers(0))))
def test_no_claim_is_ever_false_or_goes_back(steps: list[tuple[str, int]]) -> None:
    """
    Changes happen at the moment they are seen at the latest. A claim of t says that all work for changes seen before
    the read at t is done; work that more work was needed for counts as its origin.
    """
    phases = Phases()
    now = 0
    open_work: list[tuple[int, int]] = []  # (phase, moment at which the need was seen)
    reached = 0
    for kind, which in steps:
        now += 1
        if kind == "begin":
            open_work.append((phases.begin(), now))
        elif kind == "drained":
            phases.drained(now)
        elif open_work:
            phase, seen = open_work[which % len(open_work)]
            if kind == "end":
                phases.end(phase)
                open_work.pop(which % len(open_work))
            else:
                open_work.append((phases.more(phase), seen))
        assert phases.outstanding == len(open_work)
        assert phases.reached >= reached
        reached = phases.reached
        assert all(seen > reached for _, seen in open_work), "something claimed is not done"
    for phase, _ in open_work:
        phases.end(phase)
    phases.drained(now + 1)
    assert phases.reached == now + 1, "nothing is claimed too late for ever"
