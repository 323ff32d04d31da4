"""The ring of events: in order of arrival, bounded, followed by number."""

from __future__ import annotations

from fustor.fusion.events import Events
from protocols.codec import CONTROL_LIMITS, encode
from protocols.happenings import EventLimits
from protocols.messages import AdminReply, Happening


def happening(number: int, evidence: str = "") -> Happening:
    return Happening(number, 5, "p", "exit", f"text {number}", evidence)


def test_followed_by_number() -> None:
    events = Events(EventLimits(most=3))
    for number in range(1, 6):
        events.add("a" if number % 2 else "b", happening(number, "e" * 10))
    answer = events.after(0)
    assert [one["number"] for one in answer["events"]] == [2, 4, 5]
    assert answer["events"][0]["evidence"] == ""
    assert answer["events"][0]["evidence_characters"] == 10
    assert events.after(2)["lost"] is True
    assert events.after(3)["lost"] is False
    assert [one["number"] for one in events.after(0, "b")["events"]] == [2, 4]
    assert events.after(0, "b")["next"] == 5
    assert events.after(5) == {"events": [], "next": 5, "lost": False}
    assert events.after(4, evidence=True)["events"][0]["evidence"] == "e" * 10


def test_whoever_follows_goes_on_in_the_next_life() -> None:
    later = Events(last=100)
    later.add("a", happening(1))
    assert later.after(7) == {**later.after(0), "lost": True}
    assert later.after(0)["events"][0]["number"] == 101
    ahead = later.after(5000)
    assert (len(ahead["events"]), ahead["next"]) == (1, 101)


def test_one_side_in_trouble_costs_the_others_nothing() -> None:
    events = Events(EventLimits(most=20, bytes=200_000))
    for number in range(1, 4):
        events.add("quiet", happening(number))
    for number in range(1, 100):
        events.add("noisy", happening(number, "e" * 10_000))
    assert len(events.after(0, "quiet")["events"]) == 3
    assert 1 < len(events.after(0, "noisy")["events"]) < 17
    numbers = [one["number"] for one in events.after(0)["events"]]
    assert numbers == sorted(numbers)
    assert numbers[-1] == 102


def test_every_answer_fits_into_a_message() -> None:
    events = Events()
    for number in range(1, 30):
        events.add("a", happening(number, "\U0001f600" * 30_000))
    after, seen = 0, 0
    while found := (answer := events.after(after, evidence=True))["events"]:
        assert len(encode(AdminReply(request="r", ok=True, data=answer))) < CONTROL_LIMITS.size
        after, seen = answer["next"], seen + len(found)
    assert seen == 29
