"""What is counted of answers."""

from __future__ import annotations

import pytest

from benchmarks.chaos.answers import Asked, End, Phase, by_phase, cause_of, first, regressions, spans, tally


def asked(start: float, seconds: float = 0.01, *failures: str, status: int = 200, **more: object) -> Asked:
    return Asked("root", start, seconds, status, 100, failures, **{"state": "live", **more})  # type: ignore[arg-type]


def test_an_answer_is_the_same_as_a_line() -> None:
    one = Asked("ledger", 1.25, 0.5, 200, 17, ("reset", "cut"), True, "live", 7, 12.5)
    assert Asked.of(one.line()) == one


def test_generations_may_not_go_back_between_one_answer_and_the_next_question() -> None:
    before = asked(1.0, 0.5, generation=5)
    meanwhile = asked(1.4, 0.01, generation=4)
    after = asked(1.6, 0.01, generation=4)
    lost = asked(1.7, 0.01, status=0, generation=0)
    blank = asked(1.8, 0.01, state="empty", generation=0)
    assert regressions([after, meanwhile, before, lost, blank]) == [after]
    assert tally([blank, before], []).blank == 1
    cut, lost_too = asked(1.0, 1.0, "cut", "cut", status=0), asked(1.0, 1.0, "cut", "refused", status=0)
    assert tally([cut, lost_too], []).unanswered == 1


@pytest.mark.parametrize(
    ("ends", "manner"),
    [
        ([], None),
        ([End(9.0, 9.0, "query.0", 1, "killed")], None),
        ([End(10.5, 10.5, "query.0", 1, "killed")], "killed"),
        ([End(10.5, 10.5, "query.0", 1, "ordered")], "ordered"),
        ([End(10.5, 15.0, "query.0", 1, "ordered")], "ordered"),  # it closes its connections, and ends later
        ([End(15.0, 16.0, "query.0", 1, "ordered")], None),
        ([End(10.5, 10.5, "query.0", 1, "ordered"), End(10.6, 10.6, "query.1", 2, "killed")], "killed"),
        ([End(10.5, 10.5, "query.0", 1, "killed"), End(10.6, 10.6, "query.1", 2, "stopped")], "stopped"),
    ],
)
def test_what_explains_a_failure(ends: list[End], manner: str | None) -> None:
    assert cause_of(asked(10.0, 1.0, "reset"), ends) == manner


def test_the_tally() -> None:
    ends = [
        End(2.0, 2.0, "query.0", 1, "killed"),
        End(4.0, 4.0, "query.1", 2, "stopped"),
        End(6.0, 6.0, "query.1", 3, "ordered"),
    ]
    found = tally(
        [
            asked(1.0, 0.01),
            asked(1.9, 0.2, "reset"),
            asked(3.5, 0.6, "closed"),
            asked(5.99, 0.02, "closed"),
            asked(6.01, 0.02, "kept"),
            asked(8.0, 0.1, "cut"),
            asked(9.0, 0.1, "refused", "refused", status=0),
            asked(9.5, 0.03, status=404, state="stale"),
            asked(9.6, 0.03, valid=False),
            Asked("whole", 9.7, 5.0, 200, 9, (), True, "stale"),
        ],
        ends,
        slow="whole",
    )
    assert found.statuses == {200: 8, 404: 1}
    assert (found.answers, found.other, found.unanswered, found.invalid, found.retried) == (9, 1, 1, 1, 6)
    assert found.attempts == {"reset": 1, "closed": 2, "kept": 1, "cut": 1, "refused": 2}
    assert found.resets == 5
    assert [one.start for one in found.unexplained] == [8.0]
    assert [one.start for one in found.drained] == [5.99]
    assert found.hung == [0.6]
    assert sorted(found.seconds) == [0.01, 0.02, 0.02, 0.03, 0.03, 0.1, 0.2]
    assert found.share("live") == pytest.approx(7 / 8)


def test_a_question_belongs_to_the_phase_in_which_nobody_was_there() -> None:
    phases = [Phase("chaos", 0.0, 10.0), Phase("down", 10.0, 12.0, away=True), Phase("after", 12.0, 20.0)]
    found = by_phase([asked(5.0), asked(9.9, 1.0), asked(11.0), asked(12.0)], phases)
    assert {name: [one.start for one in those] for name, those in found.items()} == {
        "chaos": [5.0],
        "down": [9.9, 11.0],
        "after": [12.0],
    }


def test_the_first_answer_of_a_state() -> None:
    answers = [asked(1.0, state="stale"), asked(4.9, 0.2, state="stale"), asked(5.0, 0.5, state="stale"), asked(6.0)]
    assert first(answers, "stale", 5.0) == pytest.approx(0.5)
    assert first(answers, "building", 0.0) is None


def test_stretches_of_a_state() -> None:
    answers = [asked(1.0, 0.0), asked(2.0, 0.0, state="stale"), asked(3.0, 0.0, state="stale"), asked(4.0, 0.0)]
    assert list(spans(answers)) == [("live", 1.0, 2.0), ("stale", 2.0, 4.0), ("live", 4.0, 4.0)]
    assert list(spans([])) == []
