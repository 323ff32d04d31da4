"""When a template is started, and who waits for it."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Callable, Iterator

import pytest

from fustor.guardian.process import Program
from fustor.guardian.table import Slot
from fustor.guardian.tending import FIRST_SECONDS, RETRY_SECONDS, RETRY_SECONDS_MAX, Tending

Start = Callable[[Tending], socket.socket]


def program(module: str = "some.module") -> Program:
    return Program([word.encode() for word in (sys.executable, "-P", "-m", module)], {}, [], 0)


@pytest.fixture
def started() -> Iterator[Callable[[Tending], socket.socket]]:
    """Starts one; the template's end of its socket."""
    opened: list[socket.socket] = []

    def start(tending: Tending) -> socket.socket:
        pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        opened.extend(pair)
        tending.started(Slot("template", 1, "", 1), pair[0])
        return pair[1]

    yield start
    for sock in opened:
        sock.close()


def test_where_none_is_wanted_none_is_started_or_waited_for() -> None:
    tending = Tending(wanted=False, awaited=True, now=10.0)
    assert not tending.due(10.0)
    assert not tending.awaited(10.0)
    assert tending.wake_at(10.0) is None
    assert tending.fork(program()) is None


def test_the_first_is_waited_for_until_it_says_what_it_has(started: Start) -> None:
    tending = Tending(wanted=True, awaited=True, now=10.0)
    assert tending.due(10.0)
    template = started(tending)
    assert not tending.due(10.0)
    assert tending.awaited(11.0)
    assert tending.wake_at(11.0) == 10.0 + FIRST_SECONDS
    assert tending.fork(program()) is None
    template.send(json.dumps({"modules": ["some.module"]}).encode())
    assert tending.heard(11.0)
    assert not tending.awaited(11.0)
    assert tending.wake_at(11.0) is None
    assert tending.fork(program()) is not None
    assert tending.fork(program("another")) is None
    template.close()
    assert not tending.heard(12.0)
    tending.dropped(12.0)
    assert tending.fork(program()) is None


def test_nobody_waits_for_ever_or_for_a_second_one(started: Start) -> None:
    tending = Tending(wanted=True, awaited=True, now=10.0)
    started(tending)
    assert not tending.awaited(10.0 + FIRST_SECONDS)
    tending = Tending(wanted=True, awaited=True, now=10.0)
    started(tending)
    tending.exited(10.5)
    assert not tending.awaited(10.5)


def test_one_that_does_not_get_ready_is_tried_ever_less_often(started: Start) -> None:
    tending, now, waits = Tending(wanted=True, awaited=False, now=0.0), 0.0, []
    for _ in range(12):
        assert tending.due(now)
        started(tending)
        waits.append(tending.exited(now))
        assert not tending.due(now)
        now += waits[-1]
        assert tending.wake_at(now) == now
    assert waits[:3] == [RETRY_SECONDS, 2 * RETRY_SECONDS, 4 * RETRY_SECONDS]
    assert waits[-1] == RETRY_SECONDS_MAX
    template = started(tending)
    template.send(b'{"modules": ["m"]}')
    assert tending.heard(now)
    assert tending.exited(now) == RETRY_SECONDS
    tending.end()
    assert not tending.due(1e9)


@pytest.mark.parametrize("said", [b"nonsense", b"[]", b'{"modules": 3}'])
def test_one_that_talks_nonsense_is_of_no_use(started: Start, said: bytes) -> None:
    tending = Tending(wanted=True, awaited=True, now=0.0)
    started(tending).send(said)
    assert not tending.heard(1.0)
