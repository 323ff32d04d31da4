"""A story and how it is told: bounded, numbered, and whole again after any loss."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from protocols.happenings import EVIDENCE_CHARACTERS, EventLimits, Story, Teller, Told, cut, weight
from protocols.messages import Happening


def numbers(happenings: tuple[Happening, ...]) -> list[int]:
    return [one.number for one in happenings]


def test_the_oldest_go_first_and_who_follows_sees_what_is_lost() -> None:
    story = Story(EventLimits(most=3))
    for _ in range(5):
        story.tell(0, "p", "exit", "x")
    assert numbers(story.after(0)) == [3, 4, 5]
    assert numbers(story.after(4)) == [5]
    assert story.after(5) == ()
    told = Told()
    assert [told.take(one.number) for one in (*story.after(0), *story.after(4))] == [True, True, True, False]
    assert (told.lost, told.last) == (2, 5)


def test_bytes_are_bounded_too() -> None:
    story = Story(EventLimits(bytes=3000))
    for _ in range(5):
        story.tell(0, "p", "evidence", "x", "e" * 300)
    assert sum(map(weight, story.all())) <= 3000
    assert numbers(story.all())[-1] == 5


def test_long_evidence_keeps_both_ends() -> None:
    text = cut("a" * 50_000 + "b" * 50_000)
    assert len(text) <= EVIDENCE_CHARACTERS
    assert text.startswith("aaa")
    assert text.endswith("bbb")
    assert "characters left out" in text
    assert cut("short") == "short"


def test_one_message_has_room_for_so_much() -> None:
    story = Story()
    for _ in range(4):
        story.tell(0, "p", "evidence", "x", "e" * 1000)
    teller = Teller(story)
    assert numbers(teller.due(9000)) == [1, 2]
    assert numbers(teller.due(1)) == [3]  # one in any case
    assert numbers(teller.due(9000)) == [4]
    assert teller.due(9000) == ()


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3)), max_size=40))
def test_whatever_is_lost_the_other_side_has_all_in_the_end(steps: list[tuple[bool, int]]) -> None:
    story, told_so_far = Story(), Told()
    teller = Teller(story)
    for arrives, told in steps:
        for _ in range(told):
            story.tell(0, "p", "exit", "x")
        for one in teller.due(400):
            if arrives:
                told_so_far.take(one.number)
        if arrives:
            teller.confirm(told_so_far.last)
    for _ in range(len(steps) * 3 + 3):
        for one in teller.due(400):
            told_so_far.take(one.number)
        teller.confirm(told_so_far.last)
    assert told_so_far.last == story.last
