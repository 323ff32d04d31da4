"""The rules by which a program of the shell is kept or left."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fustor.guardian.programs import MOST_ON_TRIAL, MOST_PROVED, PARTS, Part, Programs, read, understood, write

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("begin"), st.sampled_from(["", "/a", "/b"]), st.sampled_from(["1", "2"])),
        st.tuples(st.just("died"), st.booleans(), st.booleans()),
        st.tuples(st.just("prove")),
        st.tuples(st.just("leave")),
    ),
    max_size=60,
)


def begun(program: str = "/a") -> Part:
    part = Part()
    part.begin(program, "1")
    return part


@given(STEPS)
def test_whatever_happens_a_program_that_only_dies_is_left(steps: list[tuple[object, ...]]) -> None:
    part, proved = Part(), {""}
    for what, *values in steps:
        if what == "begin":
            part.begin(str(values[0]), str(values[1]))
        elif what == "died":
            part.died("why", hung=bool(values[0]), killed=bool(values[1]))
        elif what == "prove":
            part.prove()
            proved.add(part.program)
        else:
            part.leave("why")
        assert part.trial or part.program in proved, "nothing is trusted that was not proved"
        assert part.before in proved, "and nothing else is gone back to"
    for _ in range(MOST_ON_TRIAL + 2 * MOST_PROVED):
        part.died("why")
    assert part.program == ""
    assert not part.trial


def test_on_trial_it_is_left_for_the_one_before() -> None:
    part = begun("/a")
    assert part.prove()
    part.begin("/b", "2")
    assert [part.died("it crashed") for _ in range(MOST_ON_TRIAL)] == [False] * (MOST_ON_TRIAL - 1) + [True]
    assert (part.program, part.left, part.left_tag, part.why, part.trial) == ("/a", "/b", "2", "it crashed", False)


def test_a_hang_on_trial_is_enough() -> None:
    part = begun()
    assert part.died("silent", hung=True)
    assert part.program == ""


def test_a_proved_one_may_be_killed_by_others_for_ever() -> None:
    part = begun()
    part.prove()
    assert not any(part.died("kill -9", killed=True) for _ in range(100))
    assert [part.died("it crashed") for _ in range(MOST_PROVED)][-1]
    assert part.program == "", "for what is installed"


def test_what_is_installed_is_never_left() -> None:
    part = Part()
    assert not any(part.died("it crashed", hung=True) for _ in range(100))
    part.begin("", "1")
    assert not part.trial


def test_a_second_wish_during_a_trial_goes_back_to_what_was_proved() -> None:
    part = begun("/a")
    part.prove()
    part.begin("/b", "2")
    part.begin("/c", "3")
    assert part.before == "/a"


def test_tries_of_one_wish_are_counted() -> None:
    part = begun("/a")
    for tries in (1, 2, 3):
        assert part.tries == tries
        part.leave("not in time", unproved=True)
        part.begin("/a", "1")
    part.leave("not in time", unproved=True)
    part.begin("/a", "2")
    assert part.tries == 1


def test_it_is_the_same_after_a_reboot(tmp_path: Path) -> None:
    programs = Programs()
    programs.control.begin("/a", "7")
    programs.control.died("it crashed")
    programs.guardian.begin("/b", "8")
    programs.guardian.leave("it hung", unproved=True)
    programs.runs = "/c"
    path = tmp_path / "shell.json"
    write(str(path), programs)
    assert read(str(path)).as_json() == programs.as_json()
    assert path.stat().st_mode & 0o777 == 0o600


def test_no_file_says_that_nothing_was_sent(tmp_path: Path) -> None:
    for path in ("", str(tmp_path / "shell.json")):
        assert [read(path).part(name).program for name in PARTS] == ["", ""]


@pytest.mark.parametrize(
    "content",
    [b"{", b"[]", b"1", b'{"control": {}}', b'{"control": {"program": 1}, "guardian": {}}', b"[" * 100_000],
    ids=["cut", "list", "number", "half", "wrong", "deep"],
)
def test_what_is_no_such_file_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of json, or of ours
        understood(content)


def test_what_a_later_version_has_added_is_passed_over() -> None:
    found = understood(b'{"control": {"program": "/a", "colour": "red"}, "guardian": {}, "more": 1}')
    assert found.control.program == "/a"


def test_starts_are_counted_before_they_are_made() -> None:
    part = begun()
    assert [part.starts() for _ in range(MOST_ON_TRIAL + 1)] == [False] * MOST_ON_TRIAL + [True]
    assert (part.program, part.why) == ("", "it was started again and again, and never proved")
    part = begun()
    part.prove()
    assert [part.starts() for _ in range(MOST_PROVED + 1)] == [False] * MOST_PROVED + [True]
