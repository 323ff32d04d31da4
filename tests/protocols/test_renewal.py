"""What is done next about a wish for another program of the shell."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.renewal import MOST_TRIES, Move, Part, Proof, move

NEW = Part(program="new", runs="new")
OLD = Part()
TRIAL = attrs.evolve(NEW, trial=True)
LEFT = Part(left="new", left_tag="7", why="it crashed", tries=1)


@pytest.mark.parametrize(
    ("control", "guardian", "expected"),
    [
        (OLD, OLD, Move.CONTROL),
        (TRIAL, OLD, Move.WAIT),
        (NEW, OLD, Move.GUARDIAN),
        (NEW, TRIAL, Move.WAIT),
        (NEW, attrs.evolve(TRIAL, runs=""), Move.WAIT),
        (NEW, attrs.evolve(NEW, runs=""), Move.GUARDIAN),
        (NEW, NEW, Move.NOTHING),
        (LEFT, OLD, Move.REFUSE),
        (NEW, LEFT, Move.REFUSE),
        (attrs.evolve(LEFT, left_tag="6"), OLD, Move.CONTROL),
        (attrs.evolve(LEFT, unproved=True), OLD, Move.CONTROL),
        (attrs.evolve(LEFT, unproved=True, tries=MOST_TRIES), OLD, Move.REFUSE),
        (Part(program="other", runs="other", trial=True), OLD, Move.WAIT),
    ],
)
def test_moves(control: Part, guardian: Part, expected: Move) -> None:
    assert move("new", "7", control, guardian)[0] is expected


def test_back_to_what_is_installed_nothing_is_tried() -> None:
    assert move("", "8", NEW, NEW)[0] is Move.CONTROL
    assert move("", "8", OLD, NEW)[0] is Move.GUARDIAN
    assert move("", "8", OLD, OLD)[0] is Move.NOTHING


def test_why_is_told() -> None:
    assert move("new", "7", NEW, LEFT) == (Move.REFUSE, "the guardian of it was left: it crashed")


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 2), st.floats(0, 10)), min_size=1))
def test_proved_is_what_was_well_all_the_time(looks: list[tuple[bool, int, float]]) -> None:
    proof, now, faults = Proof(10.0), 0.0, 0
    since: float | None = None
    for good, more, pause in looks:
        now += pause
        if more:
            faults += more
            since = None
        if not good:
            since = None
        elif since is None:
            since = now
        assert proof.holds(good, faults, now) == (since is not None and now - since >= 10.0)
