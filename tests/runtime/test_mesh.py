"""Real sockets of libzmq; the torture test passes ``FUSTOR_TORTURE`` messages (default a million in all)."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
import trio
import trio.testing
import zmq

from fustor.runtime.mesh import BURST, MeshSocket, PeerGone
from fustor.runtime.sockets import open_socket

PATIENCE = 10.0
TORTURE = int(os.environ.get("FUSTOR_TORTURE", "1000000"))

ZmqContext = zmq.Context[zmq.Socket[bytes]]


@pytest.fixture
def context() -> Iterator[ZmqContext]:
    made: ZmqContext = zmq.Context()
    yield made
    made.destroy(linger=0)


@contextlib.contextmanager
def pair(
    context: ZmqContext, bound: int, connected: int, *, hwm: int = 128, endpoint: str = "inproc://pair"
) -> Iterator[tuple[MeshSocket, MeshSocket]]:
    left = MeshSocket(open_socket(context, bound, bind=endpoint, hwm=hwm))
    right = MeshSocket(open_socket(context, connected, connect=endpoint, hwm=hwm))
    try:
        yield left, right
    finally:
        left.close()
        right.close()
        assert left.statistics().missed_edge == 0
        assert right.statistics().missed_edge == 0


def fill(socket: MeshSocket, head: list[bytes]) -> int:
    """Send 0, 1, 2, … until it would block, or 100; how many were sent."""
    for number in range(100):
        try:
            socket.send_nowait([*head, b"%d" % number])
        except trio.WouldBlock:
            return number
    return 100


async def test_a_message_is_whole(context: ZmqContext) -> None:
    with pair(context, zmq.PULL, zmq.PUSH) as (pull, push), trio.fail_after(PATIENCE):
        await push.send([b"a", b"", b"c" * 100_000])
        assert await pull.receive() == [b"a", b"", b"c" * 100_000]
        assert (push.statistics().sent, pull.statistics().received) == (1, 1)


async def test_frames_carry_metadata(context: ZmqContext, tmp_path: Path) -> None:
    with pair(context, zmq.PULL, zmq.PUSH, endpoint=f"ipc://{tmp_path}/x") as (pull, push), trio.fail_after(PATIENCE):
        await push.send([b"a", b"b"])
        frames = await pull.receive_frames()
        assert [frame.bytes for frame in frames] == [b"a", b"b"]
        assert frames[0].get("Socket-Type") == "PUSH"


async def test_nowait_says_would_block(context: ZmqContext) -> None:
    with pair(context, zmq.PULL, zmq.PUSH, hwm=2) as (pull, push):
        with pytest.raises(trio.WouldBlock):
            pull.receive_nowait()
        with pytest.raises(trio.WouldBlock):
            pull.receive_frames_nowait()
        sent = fill(push, [])
        assert 0 < sent < 100
        assert [pull.receive_nowait() for _ in range(sent)] == [[b"%d" % i] for i in range(sent)]


async def test_without_a_peer_nothing_is_queued(context: ZmqContext, tmp_path: Path) -> None:
    socket = MeshSocket(open_socket(context, zmq.DEALER, connect=f"ipc://{tmp_path}/nobody"))
    with pytest.raises(trio.WouldBlock):
        socket.send_nowait([b"x"])
    with trio.move_on_after(0.05) as scope:
        await socket.send([b"x"])
    assert scope.cancelled_caught
    assert socket.statistics().sent == 0
    socket.close()


async def test_who_waits_until_it_could_send_sends_nothing(context: ZmqContext, tmp_path: Path) -> None:
    push = MeshSocket(open_socket(context, zmq.PUSH, bind=f"ipc://{tmp_path}/x"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(push.wait_writable)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.WouldBlock):
            push.send_nowait([b"nobody"])
        pull = MeshSocket(open_socket(context, zmq.PULL, connect=f"ipc://{tmp_path}/x"))
    push.send_nowait([b"now"])
    assert await pull.receive() == [b"now"]
    push.close()
    pull.close()


async def test_a_sender_that_waits_goes_on_when_there_is_room(context: ZmqContext) -> None:
    with pair(context, zmq.PULL, zmq.PUSH, hwm=1) as (pull, push), trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:

            async def send() -> None:
                for number in range(50):
                    await push.send([b"%d" % number])

            nursery.start_soon(send)
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert push.statistics().tasks_waiting_send == 1
            assert [await pull.receive() for _ in range(50)] == [[b"%d" % i] for i in range(50)]


async def test_an_unknown_peer_is_gone(context: ZmqContext) -> None:
    with pair(context, zmq.ROUTER, zmq.DEALER) as (router, _):
        with pytest.raises(PeerGone, match="6e6f626f6479 is not connected"):
            await router.send([b"nobody", b"x"])
        with pytest.raises(PeerGone) as caught:
            router.send_nowait([b"nobody", b"x"])
        assert caught.value.peer == b"nobody"


async def test_a_full_peer_makes_a_router_wait_and_lose_nothing(context: ZmqContext) -> None:
    with pair(context, zmq.ROUTER, zmq.DEALER, hwm=2) as (router, dealer), trio.fail_after(PATIENCE):
        await dealer.send([b"hello"])
        peer, _ = await router.receive()
        accepted = fill(router, [peer])
        assert 0 < accepted < 100
        async with trio.open_nursery() as nursery:
            nursery.start_soon(router.send, [peer, b"last"])
            await trio.testing.wait_all_tasks_blocked(0.005)
            received = [(await dealer.receive())[0] for _ in range(accepted + 1)]
        assert received == [b"%d" % i for i in range(accepted)] + [b"last"]


async def test_wait_readable_leaves_the_message(context: ZmqContext) -> None:
    with pair(context, zmq.PULL, zmq.PUSH) as (pull, push), trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pull.wait_readable)
            nursery.start_soon(pull.wait_readable)
            await trio.testing.wait_all_tasks_blocked(0.01)
            await push.send([b"x"])
        assert pull.receive_nowait() == [b"x"]


async def test_close_wakes_everybody(context: ZmqContext) -> None:
    with pair(context, zmq.PULL, zmq.PUSH) as (pull, _), trio.fail_after(PATIENCE):
        closed = 0

        async def receive() -> None:
            nonlocal closed
            with pytest.raises(trio.ClosedResourceError):
                await pull.receive()
            closed += 1

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(receive)
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert pull.statistics().tasks_waiting_receive == 3
            pull.close()
            pull.close()
        assert closed == 3
        with pytest.raises(trio.ClosedResourceError):
            pull.receive_nowait()


async def test_a_busy_socket_lets_others_run(context: ZmqContext) -> None:
    with pair(context, zmq.PULL, zmq.PUSH, hwm=10 * BURST) as (_, push):
        ran = False

        async def other() -> None:
            nonlocal ran
            ran = True

        async with trio.open_nursery() as nursery:
            nursery.start_soon(other)
            for _ in range(2 * BURST):  # two checkpoints: trio shuffles the tasks of one round
                await push.send([b"x"])
            assert ran


async def test_a_cancelled_poller_hands_its_place_on(context: ZmqContext) -> None:
    with pair(context, zmq.PULL, zmq.PUSH) as (pull, push), trio.fail_after(PATIENCE):
        scopes = [trio.CancelScope() for _ in range(3)]
        got: list[bytes] = []

        async def receive(scope: trio.CancelScope) -> None:
            with scope:
                got.extend(await pull.receive())

        async with trio.open_nursery() as nursery:
            for scope in scopes:
                nursery.start_soon(receive, scope)
                await trio.testing.wait_all_tasks_blocked(0.01)
            scopes[0].cancel()
            await trio.testing.wait_all_tasks_blocked(0.01)
            await push.send([b"1"])
            await push.send([b"2"])
        assert got == [b"1", b"2"]
        assert scopes[0].cancelled_caught


async def test_a_woken_and_cancelled_waiter_loses_no_message(context: ZmqContext) -> None:
    """
    1. Two tasks wait. 2. A third one takes a message and sees that there is another: it wakes a waiter.
    3. All waiters are cancelled before they run. 4. The message must be there still.
    """
    with pair(context, zmq.PULL, zmq.PUSH) as (pull, push), trio.fail_after(PATIENCE):
        for _ in range(200):
            got: list[list[bytes]] = []

            async def receive(into: list[list[bytes]]) -> None:
                into.append(await pull.receive())

            async with trio.open_nursery() as nursery:
                nursery.start_soon(receive, got)
                nursery.start_soon(receive, got)
                await trio.lowlevel.checkpoint()
                for number in range(3):
                    push.send_nowait([b"%d" % number])
                got.append(pull.receive_nowait())
                nursery.cancel_scope.cancel()
            while len(got) < 3:
                got.append(await pull.receive())
            assert sorted(got) == [[b"0"], [b"1"], [b"2"]]


@pytest.mark.parametrize("waits", [False, True])
async def test_who_swallows_an_edge_wakes_the_one_it_was_for(context: ZmqContext, waits: bool) -> None:
    """
    1. A sender waits for room. 2. The peer makes room: there is an edge. 3. Before trio sees it, another task tries to
    receive, finds nothing, and in doing so takes the edge. 4. The sender must be woken all the same.
    """
    with pair(context, zmq.DEALER, zmq.DEALER, hwm=2) as (peer, dealer), trio.fail_after(PATIENCE):
        filled = fill(dealer, [])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(dealer.send, [b"last"])
            await trio.testing.wait_all_tasks_blocked(0.01)
            received = [peer.receive_nowait() for _ in range(filled)]
            if waits:
                with trio.move_on_after(0.05):
                    await dealer.receive()
            else:
                with pytest.raises(trio.WouldBlock):
                    dealer.receive_nowait()
        assert len(received) == filled
        assert await peer.receive() == [b"last"]


# -- torture ---------------------------------------------------------------------------------------------------------

#: Echoes what it gets, by several tasks that share its sockets; told kind, endpoint and high-water mark.
ECHO = """
import random, sys, trio, zmq
from fustor.runtime.mesh import MeshSocket
from fustor.runtime.sockets import open_socket

async def main():
    context = zmq.Context()
    if sys.argv[1] == "pipe":
        inner = MeshSocket(open_socket(context, zmq.PULL, bind=sys.argv[2] + ".in", hwm=int(sys.argv[3])))
        outer = MeshSocket(open_socket(context, zmq.PUSH, connect=sys.argv[2] + ".out", hwm=int(sys.argv[3])))
    else:
        inner = outer = MeshSocket(open_socket(context, zmq.ROUTER, bind=sys.argv[2] + ".in", hwm=int(sys.argv[3])))

    async def echo():
        while True:
            with trio.move_on_after(random.random() * 0.02):
                while True:
                    frames = await inner.receive()
                    with trio.CancelScope(shield=True):
                        await outer.send(frames)

    async def report():
        while True:
            await trio.sleep(0.2)
            print(inner.statistics().missed_edge + outer.statistics().missed_edge, flush=True)

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(echo)
        nursery.start_soon(report)

trio.run(main)
"""


@attrs.define
class Tally:
    """What was sent for certain, and what came back; message k is its number."""

    next_number: int = 0
    sent: int = 0
    cancelled: int = 0
    received: bytearray = attrs.Factory(bytearray)
    distinct: int = 0
    doubled: int = 0

    def take(self, number: int) -> None:
        if number >= len(self.received):
            self.received.extend(bytes(number + 1024 - len(self.received)))
        if self.received[number]:
            self.doubled += 1
        else:
            self.received[number] = 1
            self.distinct += 1


@pytest.mark.parametrize(("hwm", "share"), [(7, 0.05), (128, 0.45)])
@pytest.mark.parametrize("kind", ["pipe", "router"])
async def test_nothing_is_lost_or_doubled(
    context: ZmqContext, tmp_path: Path, kind: str, hwm: int, share: float
) -> None:
    """
    Messages go to another process and back, through PUSH and PULL or DEALER and ROUTER, and count at each of these two
    hops. Several senders and receivers on each socket, all of them cancelled at random, and the peer is stopped and
    continued. Every message whose send was not cancelled comes back once, and no other one.
    """
    total = int(TORTURE * share / 2)
    endpoint = f"ipc://{tmp_path}/torture"
    seed = random.Random(1)
    if kind == "pipe":
        source = MeshSocket(open_socket(context, zmq.PULL, bind=endpoint + ".out", hwm=hwm))
        sink = MeshSocket(open_socket(context, zmq.PUSH, connect=endpoint + ".in", hwm=hwm))
    else:
        source = sink = MeshSocket(open_socket(context, zmq.DEALER, connect=endpoint + ".in", hwm=hwm))
    tally = Tally()
    (tmp_path / "echo.py").write_text(ECHO)
    with (tmp_path / "echo.out").open("wb") as out:
        echo = subprocess.Popen(  # noqa: ASYNC220 - an exec
            [sys.executable, "echo.py", kind, endpoint, str(hwm)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            stdout=out,
        )
    done = trio.Event()

    def look() -> None:
        if tally.distinct == tally.sent and tally.sent + tally.cancelled == total:
            done.set()

    async def send() -> None:
        while tally.next_number < total:
            with trio.move_on_after(seed.random() * 0.02):
                while tally.next_number < total:
                    number = tally.next_number
                    tally.next_number += 1
                    size = seed.choice((1, 1, 1, 300))
                    sent = False
                    try:
                        await sink.send([b"%d" % number, b"x" * size])
                        sent = True
                    finally:
                        tally.sent += sent
                        tally.cancelled += not sent

    async def receive() -> None:
        while not done.is_set():
            with trio.move_on_after(seed.random() * 0.02):
                while True:
                    number, _ = await source.receive()
                    tally.take(int(number))
                    look()

    async def interrupt() -> None:
        while True:
            await trio.sleep(seed.random())
            echo.send_signal(signal.SIGSTOP)
            await trio.sleep(seed.random() * 0.1)
            echo.send_signal(signal.SIGCONT)

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(interrupt)
            async with trio.open_nursery() as senders:
                for _ in range(3):
                    nursery.start_soon(receive)
                    senders.start_soon(send)
            look()
            await done.wait()
            nursery.cancel_scope.cancel()
        # What a cancelled send had sent after all would come now.
        with trio.move_on_after(0.5):
            while True:
                tally.take(int((await source.receive())[0]))
    finally:
        echo.kill()
        echo.wait()
        source.close()
        sink.close()
    assert tally.sent + tally.cancelled == total
    assert tally.distinct == tally.sent
    assert tally.doubled == 0
    assert source.statistics().missed_edge + sink.statistics().missed_edge == 0
    reports = (tmp_path / "echo.out").read_text().split()
    assert reports
    assert set(reports) == {"0"}
