from __future__ import annotations

import pytest

from protocols.codec import encode
from protocols.errors import ProtocolError
from protocols.lifeline import BEAT_MS, ERROR_CHARACTERS, ActorLifeline
from protocols.looks import Findings, Look, Looked
from protocols.messages import Beat, Configure, Hello, Stop, Welcome


@pytest.fixture
def line() -> ActorLifeline:
    return ActorLifeline(name="view.main", token="t", pid=7, software="1")


def test_hello_tells_what_runs(line: ActorLifeline) -> None:
    assert line.hello() == Hello(name="view.main", token="t", pid=7, software="1", revision=0)
    line.accept(4)
    assert line.hello().revision == 4


def test_a_beat_is_a_copy_of_the_whole_state(line: ActorLifeline) -> None:
    counters = {"rows": 1}
    beat = line.beat("running", outstanding=True, counters=counters, gauges={"queue": 2}, facts={"endpoint": "x"})
    counters["rows"] = 2
    assert beat == Beat(
        name="view.main",
        token="t",
        pid=7,
        revision=0,
        state="running",
        outstanding=True,
        counters={"rows": 1},
        gauges={"queue": 2},
        facts={"endpoint": "x"},
    )


def test_a_refusal_leaves_the_revision_that_runs(line: ActorLifeline) -> None:
    line.accept(4)
    line.refuse(5, "mode = 3: text is accepted")
    beat = line.beat("running")
    assert (beat.revision, beat.refused, beat.error) == (4, 5, "mode = 3: text is accepted")
    line.accept(6)
    beat = line.beat("running")
    assert (beat.revision, beat.refused, beat.error) == (6, 0, "")


def test_what_is_news(line: ActorLifeline) -> None:
    line.accept(4)
    line.refuse(5, "no")
    assert [revision for revision in (3, 4, 5, 6) if line.is_news(revision)] == [3, 6]


def test_a_long_error_is_cut(line: ActorLifeline) -> None:
    line.refuse(5, "x" * (ERROR_CHARACTERS + 1))
    assert len(line.error) == ERROR_CHARACTERS
    assert line.error.endswith("x…")


@pytest.mark.parametrize(("asked", "taken"), [(-1, BEAT_MS[0]), (500, 500), (10**9, BEAT_MS[1])])
def test_welcome_sets_incarnation_and_interval(line: ActorLifeline, asked: int, taken: int) -> None:
    line.receive(encode(Welcome(incarnation="i", beat_ms=asked)))
    assert (line.incarnation, line.beat_ms) == ("i", taken)


@pytest.mark.parametrize(
    "message",
    [
        Configure(revision=1, config={"a": (1,)}),
        Stop(deadline_ms=3),
        Look(id="1", view="v", agent="a", source="s", path=b"x"),
        Looked(id="1", agent="a", source="s", state="done"),
        Findings(request="1"),
    ],
)
def test_other_messages_change_nothing_by_themselves(line: ActorLifeline, message: object) -> None:
    before = line.beat("running")
    assert line.receive(encode(message)) == message
    assert line.beat("running") == before


@pytest.mark.parametrize("frame", [b"", b"\xc1", encode(Hello(name="n", token="t", pid=1, software="1"))])
def test_anything_else_is_an_error_of_the_peer(line: ActorLifeline, frame: bytes) -> None:
    with pytest.raises(ProtocolError):
        line.receive(frame)
    assert line.incarnation == ""
