"""Waiting together: who is served where he waits, who is woken, and how waiting ends."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator

import pytest
import trio
import trio.testing

from actors.query.http.lobby import Lobby


class Echo:
    """Sends back what it gets; a word in capitals is work for the task, ``fail`` an error."""

    def __init__(self) -> None:
        self.here, self.there = socket.socketpair()
        self.here.setblocking(False)
        self.there.settimeout(10)
        self.served = 0

    def serve_now(self) -> bytes | None:
        data = self.here.recv(100)
        if data == b"fail":
            raise RuntimeError("failed")
        if data.isupper() or not data:
            return data or b"END"
        self.here.send(data)
        self.served += 1
        return None

    async def back(self) -> bytes:
        await trio.lowlevel.wait_readable(self.there)
        return self.there.recv(100)

    def close(self) -> None:
        self.here.close()
        self.there.close()


@pytest.fixture
async def lobby() -> AsyncIterator[Lobby[bytes]]:
    with Lobby[bytes]() as made:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(made.run)
            yield made
            nursery.cancel_scope.cancel()


@pytest.fixture
def echo() -> Iterator[Echo]:
    made = Echo()
    yield made
    made.close()


async def test_its_task_sleeps_while_it_is_served(lobby: Lobby[bytes], echo: Echo) -> None:
    got: list[bytes] = []

    async def task() -> None:
        for _ in range(2):
            got.append(await lobby.wait(echo.here.fileno(), echo))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(task)
        for word in (b"one", b"two"):
            echo.there.send(word)
            assert await echo.back() == word
        assert got == []
        echo.there.send(b"WORK")
        await trio.testing.wait_all_tasks_blocked()
        echo.there.send(b"three")
        assert await echo.back() == b"three"
        assert got == [b"WORK"]
        echo.there.close()
    assert got == [b"WORK", b"END"]
    assert echo.served == 3


async def test_an_error_is_raised_in_the_task_and_nowhere_else(lobby: Lobby[bytes], echo: Echo) -> None:
    other = Echo()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lobby.wait, other.here.fileno(), other)
        echo.there.send(b"fail")
        with pytest.raises(RuntimeError, match="failed"):
            await lobby.wait(echo.here.fileno(), echo)
        other.there.send(b"still there")
        assert await other.back() == b"still there"
        nursery.cancel_scope.cancel()
    other.close()


async def test_who_was_cancelled_is_not_served_and_may_come_again(lobby: Lobby[bytes], echo: Echo) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await lobby.wait(echo.here.fileno(), echo)
    assert scope.cancelled_caught
    echo.there.send(b"word")
    await trio.testing.wait_all_tasks_blocked()
    assert echo.served == 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lobby.wait, echo.here.fileno(), echo)
        assert await echo.back() == b"word"
        nursery.cancel_scope.cancel()


async def test_many_are_served_and_others_get_their_turn(lobby: Lobby[bytes]) -> None:
    echoes = [Echo() for _ in range(100)]
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        for echo in echoes:
            nursery.start_soon(lobby.wait, echo.here.fileno(), echo)
            echo.there.send(b"word")
        nursery.start_soon(other)
        for echo in echoes:
            assert await echo.back() == b"word"
        nursery.cancel_scope.cancel()
    assert turns >= 100 // 16
    assert [echo.served for echo in echoes] == [1] * 100
    for echo in echoes:
        echo.close()


async def test_what_is_no_descriptor_is_told_at_once(lobby: Lobby[bytes], echo: Echo) -> None:
    fd = echo.here.fileno()
    echo.here.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        await lobby.wait(fd, echo)
