"""The keeper client against a real guardian: the test itself takes the place of the control actor."""

from __future__ import annotations

import errno
import json
import os
import queue
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from fustor.runtime.keeper import Entry, Exit, Keeper, KeeperGone, SpawnError, open_keeper
from protocols.errors import MachineError, RequestError

ROOT = Path(__file__).resolve().parents[2]
MAIN = ROOT / "fustor" / "guardian" / "main.py"
RELAY = ROOT / "tests" / "guardian" / "relay.py"
SLEEP = ["/bin/sleep", "1000"]


@pytest.fixture
def guardian(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A guardian whose control actor relays packets."""
    (tmp_path / "run").mkdir()
    config = {
        "run": str(tmp_path / "run"),
        "log": str(tmp_path / "log"),
        "control": [sys.executable, "-I", "-S", str(RELAY)],
        "beat_timeout": 0,
        "grace": 1,
        "listen": {"http": ["127.0.0.1", 0]},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    process = subprocess.Popen([sys.executable, "-I", "-S", str(MAIN), str(tmp_path / "config.json")])
    yield process
    if process.poll() is None:
        process.send_signal(signal.SIGCONT)
        process.terminate()
    process.wait(60)


async def connect(folder: Path) -> socket.socket:
    with trio.fail_after(30):
        while True:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            try:
                sock.connect(str(folder / "run" / "relay.sock"))
                return sock
            except (FileNotFoundError, ConnectionRefusedError):
                sock.close()
                await trio.sleep(0.01)


@pytest.fixture
async def keeper(guardian: subprocess.Popen[bytes], tmp_path: Path) -> AsyncIterator[Keeper]:
    async with open_keeper(Keeper(await connect(tmp_path))) as keeper:
        yield keeper


async def test_spawn_and_table(keeper: Keeper) -> None:
    pid = await keeper.spawn("a", SLEEP, {"A": "1"}, ["http"], token="t1")
    assert await keeper.spawn("b", SLEEP, {}) != pid
    first, second = await keeper.table()
    assert (first.name, first.pid, first.token, first.running, first.exit) == ("a", pid, "t1", True, None)
    assert first.born > 0
    assert len(second.token) == 32
    environment = (await trio.Path(f"/proc/{pid}/environ").read_bytes()).split(b"\0")
    assert b"A=1" in environment
    assert b"FUSTOR_TOKEN=t1" in environment


async def test_exits_are_heard(keeper: Keeper) -> None:
    pid = await keeper.spawn("a", SLEEP, {}, token="t1")
    await keeper.kill("a", signal.SIGTERM)
    with trio.fail_after(30):
        ended = await keeper.exits.receive()
    assert (ended.name, ended.pid, ended.token, ended.code, ended.signal) == ("a", pid, "t1", 0, signal.SIGTERM)
    (entry,) = await keeper.table()
    assert entry.exit == ended
    await keeper.forget("a")
    assert await keeper.table() == []
    assert not keeper.overflowed
    assert keeper.statistics().exits == 1


async def test_an_abandoned_process_frees_its_name_and_its_exit_is_heard(keeper: Keeper) -> None:
    pid = await keeper.spawn("a", SLEEP, {})
    name = await keeper.abandon("a")
    assert name == f"a.abandoned.{pid}"
    assert await keeper.spawn("a", SLEEP, {}) != pid
    await keeper.kill(name, signal.SIGKILL)
    with trio.fail_after(30):
        ended = await keeper.exits.receive()
    assert (ended.name, ended.pid) == (name, pid)
    await keeper.forget(name)
    with pytest.raises(RequestError, match="no such slot"):
        await keeper.abandon("b")


async def test_refused_requests_are_request_errors(keeper: Keeper) -> None:
    await keeper.spawn("a", SLEEP, {})
    with pytest.raises(RequestError, match="is running already") as caught:
        await keeper.spawn("a", SLEEP, {})
    assert caught.value.field == "name"
    with pytest.raises(RequestError, match="is running"):
        await keeper.forget("a")
    with pytest.raises(RequestError, match="no such slot"):
        await keeper.kill("nobody", signal.SIGKILL)
    with pytest.raises(RequestError, match="absolute path"):
        await keeper.spawn("b", ["sleep"], {})
    with pytest.raises(RequestError, match="accepted are http"):
        await keeper.spawn("b", SLEEP, {}, ["https"])
    with pytest.raises(RequestError, match="65536 bytes are accepted"):
        await keeper.spawn("b", [*SLEEP, "x" * 70_000], {})


async def test_a_program_that_cannot_be_executed(keeper: Keeper) -> None:
    with pytest.raises(SpawnError, match="No such file") as caught:
        await keeper.spawn("a", ["/nonexistent"], {})
    assert caught.value.errno == errno.ENOENT
    assert await keeper.table() == []


async def test_requests_at_once_get_their_own_answers(keeper: Keeper) -> None:
    pids: dict[str, int] = {}

    async def spawn(name: str) -> None:
        pids[name] = await keeper.spawn(name, SLEEP, {})

    async with trio.open_nursery() as nursery:
        for index in range(20):
            nursery.start_soon(spawn, f"p{index}")
            nursery.start_soon(keeper.beat)
    assert {entry.name: entry.pid for entry in await keeper.table()} == pids
    status = await keeper.status()
    assert status["payload_starts"] == 20


async def test_long_tables_come_whole(keeper: Keeper) -> None:
    for index in range(120):
        await keeper.spawn(f"p{index}", ["/bin/true"], {})
    assert [entry.name for entry in await keeper.table()] == [f"p{index}" for index in range(120)]


async def test_a_cancelled_request_harms_no_other(keeper: Keeper, guardian: subprocess.Popen[bytes]) -> None:
    guardian.send_signal(signal.SIGSTOP)
    with trio.move_on_after(0.05) as scope:
        await keeper.status()
    assert scope.cancelled_caught
    guardian.send_signal(signal.SIGCONT)
    assert await keeper.table() == []
    assert keeper.statistics().strays == 1


async def test_exits_that_nobody_takes_are_dropped_and_flagged(
    guardian: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    async with open_keeper(Keeper(await connect(tmp_path), exit_limit=1)) as keeper:
        for name in ("a", "b"):
            await keeper.spawn(name, ["/bin/true"], {})
        with trio.fail_after(30):
            while not keeper.overflowed:
                await keeper.beat()
        assert all(entry.exit for entry in await keeper.table())
        assert isinstance(keeper.exits.receive_nowait(), Exit)
        with pytest.raises(trio.WouldBlock):
            keeper.exits.receive_nowait()


async def test_a_dead_guardian_ends_everything() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    gone = []

    async def ask(keeper: Keeper) -> None:
        with pytest.raises(KeeperGone):
            await keeper.table()
        gone.append("table")

    async def hear(keeper: Keeper) -> None:
        async for _ in keeper.exits:
            pass
        gone.append("exits")

    keeper = Keeper(ours)
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            await nursery.start(keeper.run)
            nursery.start_soon(ask, keeper)
            nursery.start_soon(hear, keeper)
            await trio.testing.wait_all_tasks_blocked()
            assert json.loads(theirs.recv(1000))["op"] == "list"
            theirs.send(b"unread by nobody")
            theirs.close()
        assert sorted(gone) == ["exits", "table"]
        with pytest.raises(KeeperGone):
            await keeper.beat()
    assert keeper.statistics().strays == 1


async def test_a_guardian_killed_with_requests_unread_is_gone_too() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    async with open_keeper(Keeper(ours)) as keeper:
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:

                async def ask() -> None:
                    with pytest.raises(KeeperGone):
                        await keeper.status()

                nursery.start_soon(ask)
                await trio.testing.wait_all_tasks_blocked()
                theirs.close()  # with unread data: ECONNRESET, no end of file


@pytest.mark.parametrize("packet", [b"\xff", b"[]", b"1", b'{"event": "exit"}', b'{"re": 99}', b'{"event": "news"}'])
async def test_packets_that_nobody_waits_for_are_counted(packet: bytes) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    keeper = Keeper(ours)
    theirs.send(packet)
    theirs.close()
    await keeper.run()
    assert keeper.statistics().strays == 1


@pytest.mark.parametrize("fds", ["", "{", "{}", '{"keeper": "x"}', '{"keeper": 987654}', "[]"])
def test_an_environment_without_keeper(fds: str) -> None:
    with pytest.raises(MachineError, match="FUSTOR_FDS names no keeper channel"):
        Keeper.from_environment({"FUSTOR_FDS": fds})
    with pytest.raises(MachineError):
        Keeper.from_environment({})


async def test_the_channel_of_the_environment_is_not_inherited_further() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    descriptor = ours.detach()
    os.set_inheritable(descriptor, True)
    keeper = Keeper.from_environment({"FUSTOR_FDS": json.dumps({"admin": 77, "keeper": descriptor})})
    assert keeper.listening == {"admin": 77}
    assert not os.get_inheritable(descriptor)
    async with open_keeper(keeper):
        pass
    theirs.close()


class Successors:
    """Guardians one after the other, played by the test; the first is there."""

    def __init__(self) -> None:
        self._next: queue.SimpleQueue[socket.socket] = queue.SimpleQueue()
        self.ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.keeper = Keeper(self.ours, next_socket=self._next.get)

    async def hear(self) -> dict[str, Any]:
        """The next request."""
        found: dict[str, Any] = json.loads(await trio.to_thread.run_sync(self._theirs.recv, 100_000))
        return found

    def say(self, **message: object) -> None:
        self._theirs.send(json.dumps(message).encode())

    def die(self) -> None:
        self._theirs.close()

    def follow(self) -> None:
        """The next guardian takes over."""
        theirs, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._next.put(theirs)

    def close(self) -> None:
        """Close what nobody has taken."""
        self._theirs.close()
        while not self._next.empty():
            self._next.get().close()


@pytest.fixture
def play() -> Iterator[Successors]:
    one = Successors()
    yield one
    one.close()


async def test_what_was_not_answered_is_asked_again_of_the_successor(play: Successors) -> None:
    found: list[list[Entry]] = []
    slot = {"name": "a", "pid": 5, "token": "t", "born": 1, "exit": None}

    async def ask() -> None:
        found.append(await play.keeper.table())

    with trio.fail_after(30):
        async with open_keeper(play.keeper), trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            first = await play.hear()
            # The first part of an answer, of which the second never comes.
            play.say(re=first["id"], slots=[slot], more=True)
            play.die()
            play.follow()
            again = await play.hear()
            assert again == first
            play.say(re=again["id"], slots=[slot | {"pid": 6}])
    assert [entry.pid for entry in found[0]] == [6]


async def test_what_is_asked_while_there_is_no_guardian_waits_for_the_next(play: Successors) -> None:
    heard: list[dict[str, int]] = []

    async def ask() -> None:
        heard.append(await play.keeper.status())

    with trio.fail_after(30):
        async with open_keeper(play.keeper), trio.open_nursery() as nursery:
            play.die()
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            await play.keeper.beat()  # heard by nobody, and none is missed
            assert heard == []
            succession = trio.Event()

            async def wait() -> None:
                await play.keeper.wait_succession()
                succession.set()

            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            play.follow()
            request = await play.hear()
            assert request["op"] == "status"
            play.say(re=request["id"], counters={"x": 1})
            await succession.wait()
    assert heard == [{"x": 1}]


async def test_a_cancelled_request_is_not_asked_again(play: Successors) -> None:
    with trio.fail_after(30):
        async with open_keeper(play.keeper):
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(play.keeper.status)
                    assert (await play.hear())["op"] == "status"
                    scope.cancel()
            play.die()
            play.follow()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(play.keeper.table)
                request = await play.hear()
                assert request["op"] == "list"
                play.say(re=request["id"], slots=[])


async def test_exits_go_on_with_the_successor(play: Successors) -> None:
    ended = {"event": "exit", "name": "a", "pid": 5, "token": "t", "code": 0, "signal": 9, "maxrss": 0, "cpu": 0.0}
    with trio.fail_after(30):
        async with open_keeper(play.keeper):
            for number in range(3):
                play.say(**ended | {"pid": number, "known": False})
                assert (await play.keeper.exits.receive()) == Exit("a", number, "t", 0, 9, 0, 0.0, known=False)
                play.die()
                play.follow()
