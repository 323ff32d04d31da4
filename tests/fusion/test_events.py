"""The ring of events: in order of arrival, bounded, followed by number."""

from __future__ import annotations

from fustor.fusion.events import Events
from protocols.codec import CONTROL_LIMITS, encode
from protocols.messages import AdminReply, Happening


def happening(number: int, evidence: str = "") -> Happening:
    return Happening(number, 5, "p", "exit", f"text {number}", evidence)


def test_followed_by_number() -> None:
    events = Events(most=3)
    for number in range(1, 6):
        events.add("a" if number % 2 else "b", happening(number, "e" * 10))
    answer = events.after(0)
    assert [one["number"] for one in answer["events"]] == [3, 4, 5]
    assert answer["events"][0]["evidence"] == ""
    assert answer["events"][0]["evidence_characters"] == 10
    assert events.after(1)["lost"] == 1
    assert [one["number"] for one in events.after(0, "b")["events"]] == [4]
    assert events.after(0, "b")["next"] == 5
    assert events.after(5) == {"events": [], "next": 5, "lost": 0}
    assert events.after(4, evidence=True)["events"][0]["evidence"] == "e" * 10


def test_every_answer_fits_into_a_message() -> None:
    events = Events()
    for number in range(1, 30):
        events.add("a", happening(number, "\U0001f600" * 30_000))
    after, seen = 0, 0
    while found := (answer := events.after(after, evidence=True))["events"]:
        assert len(encode(AdminReply(request="r", ok=True, data=answer))) < CONTROL_LIMITS.size
        after, seen = answer["next"], seen + len(found)
    assert seen == 29
