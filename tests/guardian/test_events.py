"""One epoll, and bugs in handlers that end nothing."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from pathlib import Path

import pytest

from fustor.guardian.events import Events
from fustor.guardian.logs import Logs


@pytest.fixture
def events(tmp_path: Path) -> Events:
    return Events(Logs(str(tmp_path), 1 << 20))


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


def test_a_handler_is_called_while_its_descriptor_is_readable(events: Events, pipe: tuple[int, int]) -> None:
    heard: list[bytes] = []
    events.watch(pipe[0], lambda: heard.append(os.read(pipe[0], 1)))
    events.wait(0)
    os.write(pipe[1], b"ab")
    events.wait(None)
    events.wait(None)
    assert heard == [b"a", b"b"]
    events.unwatch(pipe[0])
    os.write(pipe[1], b"c")
    events.wait(0)
    assert heard == [b"a", b"b"]


def test_a_handler_may_take_away_the_next_one(events: Events) -> None:
    pipes = [os.pipe() for _ in range(2)]
    heard: list[int] = []

    def hear(reader: int, other: int) -> None:
        heard.append(reader)
        events.unwatch(other)

    (first, one), (second, two) = pipes
    events.watch(first, lambda: hear(first, second))
    events.watch(second, lambda: hear(second, first))
    os.write(one, b"x")
    os.write(two, b"x")
    events.wait(None)
    assert len(heard) == 1
    for pair in pipes:
        for fd in pair:
            os.close(fd)


def test_room_for_writing_can_be_waited_for(events: Events, pipe: tuple[int, int]) -> None:
    called: list[int] = []
    events.watch(pipe[1], lambda: called.append(1))
    events.wait(0)
    assert called == []
    events.modify(pipe[1], select.EPOLLOUT)
    events.wait(None)
    assert called == [1]


def test_a_bug_is_told_and_counted_and_ends_nothing(events: Events, pipe: tuple[int, int], tmp_path: Path) -> None:
    events.watch(pipe[0], lambda: [][os.read(pipe[0], 1)[0]])
    os.write(pipe[1], b"x")
    events.wait(None)
    assert events.faults == 1
    assert (
        "CRITICAL guardian bug: IndexError: list index out of range at=test_events.py:"
        in (tmp_path / "guardian.log").read_text()
    )
