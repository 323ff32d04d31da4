"""Looks between query workers and agents, without either."""

from __future__ import annotations

import attrs
import pytest

from fustor.fusion.looks import ANSWER_BYTES, LookLimits, Looks
from protocols.looks import DONE, LOOKING, REFUSED, Look, Looked


@attrs.define
class Between:
    """A table of looks, whom it passes what on, and whom it tells what."""

    kept: int = 4
    online: bool = True
    passed: list[Look] = attrs.field(factory=list)
    told: list[tuple[str, Looked]] = attrs.field(factory=list)
    looks: Looks = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.looks = Looks(
            LookLimits(kept=self.kept, forgotten_seconds=10),
            {"main": frozenset({("a", "s"), ("b", "t")})},
            pass_on=self._pass_on,
            tell=lambda name, looked: self.told.append((name, looked)),
        )

    def _pass_on(self, look: Look) -> bool:
        if self.online:
            self.passed.append(look)
        return self.online


def look(id: str = "1", *, source: str = "s", view: str = "main", path: bytes = b"x", later: bool = False) -> Look:  # noqa: A002
    return Look(id=id, view=view, agent="a", source=source, path=path, later=later)


def said(state: str, id: str = "1", source: str = "s", text: str = "") -> Looked:  # noqa: A002
    return Looked(id=id, agent="a", source=source, state=state, text=text, directories=3)


def test_it_is_passed_on_and_its_end_told_to_whoever_asked() -> None:
    between = Between()
    between.looks.wanted("query.0", look(), 0.0)
    between.looks.wanted("query.1", look(), 0.5)
    assert between.passed == [look(), look()]
    between.looks.heard("a", said(LOOKING), 1.0)
    between.looks.heard("a", said(DONE), 2.0)
    assert {name for name, looked in between.told if looked.state == DONE} == {"query.0", "query.1"}
    between.told.clear()
    between.looks.wanted("query.0", look(), 3.0)
    assert between.told == [("query.0", said(DONE))]
    assert len(between.passed) == 2, "what has ended is not begun again"
    (row,) = between.looks.rows("main", 4.0)
    assert (row["job_id"], row["state"], row["directories"], row["age"], row["seconds"]) == ("1", "done", 3, 4.0, 2.0)


@pytest.mark.parametrize(
    ("wanted", "online", "why"),
    [
        (look(view="other"), True, "no such source"),
        (look(source="t"), True, "no such source"),
        (look(), False, "not connected"),
    ],
)
def test_what_cannot_be_is_refused_at_once(wanted: Look, online: bool, why: str) -> None:
    between = Between(online=online)
    between.looks.wanted("query.0", wanted, 0.0)
    ((name, looked),) = between.told
    assert (name, looked.state, looked.id) == ("query.0", REFUSED, "1")
    assert why in looked.text
    assert between.looks.rows("main", 0.0) == ()
    assert between.looks.counters == {"looks": 0, "looks_done": 0, "looks_refused": 1}


def test_an_agent_that_goes_away_meanwhile_is_asked_when_it_is_back() -> None:
    between = Between()
    between.looks.wanted("query.0", look(), 0.0)
    between.online = False
    between.looks.wanted("query.0", look(), 1.0)
    assert between.told == []
    between.online = True
    between.looks.wanted("query.0", look(), 2.0)
    assert len(between.passed) == 2


def test_one_that_is_to_follow_is_known_before_it_begins() -> None:
    between = Between()
    between.looks.wanted("query.0", look(later=True), 0.0)
    assert (between.passed, between.looks.rows("main", 1.0)[0]["state"]) == ([], "waiting")
    between.looks.wanted("query.0", look(), 2.0)
    assert between.passed == [look()]
    between.looks.wanted("query.0", look("2", later=True), 3.0)
    between.online = False
    between.looks.wanted("query.0", look("2"), 4.0)
    ((name, looked),) = between.told
    assert (name, looked.id, looked.state) == ("query.0", "2", REFUSED)


def test_what_nobody_asked_for_changes_nothing() -> None:
    between = Between()
    between.looks.heard("a", said(DONE), 0.0)
    between.looks.wanted("query.0", look(), 0.0)
    between.looks.heard("b", said(DONE), 1.0)
    between.looks.heard("a", said(DONE, source="t"), 1.0)
    assert between.told == []
    between.looks.heard("a", said(REFUSED, text="no"), 2.0)
    between.looks.heard("a", said(DONE), 3.0)
    assert [looked.state for _, looked in between.told] == [REFUSED], "an end is the end"


def test_above_the_bound_those_that_ended_or_are_forgotten_go() -> None:
    between = Between(kept=2)
    between.looks.wanted("query.0", look("1"), 0.0)
    between.looks.wanted("query.0", look("2"), 0.0)
    between.looks.wanted("query.0", look("3"), 1.0)
    assert between.told[-1][1].state == REFUSED
    assert "kept" in between.told[-1][1].text
    between.looks.heard("a", said(DONE, "1"), 2.0)
    between.looks.wanted("query.0", look("4"), 3.0)
    assert [row["job_id"] for row in between.looks.rows("main", 3.0)] == ["4", "2"]
    between.looks.wanted("query.0", look("5"), 10.5)
    assert [row["job_id"] for row in between.looks.rows("main", 3.0)] == ["5", "4"], "nobody asked for 2 for long"


def test_rows_fit_into_a_message_and_are_of_one_view() -> None:
    between = Between(kept=64)
    for number in range(40):
        between.looks.wanted("query.0", look(str(number), path=b"x" * 30_000), 0.0)
    rows = between.looks.rows("main", 0.0)
    assert rows[0]["job_id"] == "39"
    assert sum(len(row["path"]) for row in rows) < ANSWER_BYTES
    assert len(rows) > 4
    assert between.looks.rows("other", 0.0) == ()
