"""The lifeline alone, against a ROUTER in the same process; with whole actors it is tested in test_actor.py."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import trio
import zmq

from fustor.runtime.lifeline import Lifeline
from fustor.runtime.mesh import MeshSocket
from fustor.runtime.sockets import open_socket
from protocols.codec import decode, encode
from protocols.lifeline import ActorLifeline
from protocols.messages import Beat, Configure, Hello, Stop, Welcome

PATIENCE = 10.0

#: A beat that nobody waits for.
NEVER_MS = 60_000


@pytest.fixture
def endpoint(tmp_path: Path) -> str:
    return f"ipc://{tmp_path}/lifeline"


@contextlib.contextmanager
def control_at(endpoint: str) -> Iterator[MeshSocket]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = MeshSocket(open_socket(context, zmq.ROUTER, bind=endpoint))
    try:
        yield socket
    finally:
        socket.close()
        context.term()


class Recorder:
    """What the lifeline called back."""

    def __init__(self) -> None:
        self.line = ActorLifeline(name="n", token="t", pid=1, software="1", beat_ms=NEVER_MS)
        self.configured: list[Configure] = []
        self.stops: list[float] = []
        self.changed = trio.Event()

    def configure(self, message: Configure) -> None:
        self.configured.append(message)
        self.changed.set()

    def stop(self, seconds: float) -> None:
        self.stops.append(seconds)
        self.changed.set()


@contextlib.asynccontextmanager
async def lifeline_to(endpoint: str, recorder: Recorder) -> AsyncIterator[Lifeline]:
    lifeline = Lifeline(
        recorder.line,
        beat=lambda: recorder.line.beat("running"),
        on_configure=recorder.configure,
        on_stop=recorder.stop,
        endpoint=endpoint,
    )
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lifeline.run)
            yield lifeline
            nursery.cancel_scope.cancel()


async def next_of(control: MeshSocket, kind: type[Hello] | type[Beat]) -> bytes:
    """Drop messages until one of ``kind``; its sender."""
    while True:
        peer, frame = await control.receive()
        if isinstance(decode(frame, Hello, Beat), kind):
            return peer


async def test_hello_comes_with_each_connection(endpoint: str) -> None:
    async with lifeline_to(endpoint, Recorder()):
        for _ in range(3):
            with control_at(endpoint) as control:
                await next_of(control, Hello)


async def test_a_nudge_is_a_beat_at_once_and_a_new_incarnation_gets_one(endpoint: str) -> None:
    recorder = Recorder()
    with control_at(endpoint) as control:
        async with lifeline_to(endpoint, recorder) as lifeline:
            peer = await next_of(control, Hello)
            await control.send([peer, encode(Welcome(incarnation="one", beat_ms=NEVER_MS))])
            # The first beat may have been under way before the welcome was.
            while recorder.line.incarnation != "one":
                await next_of(control, Beat)
            lifeline.nudge()
            await next_of(control, Beat)


async def test_orders_are_handed_on_and_garbage_is_counted(endpoint: str) -> None:
    recorder = Recorder()
    with control_at(endpoint) as control:
        async with lifeline_to(endpoint, recorder) as lifeline:
            peer = await next_of(control, Hello)
            await control.send([peer, b"garbage"])
            await control.send([peer, encode(Configure(revision=1, config={"a": 1}))])
            await recorder.changed.wait()
            recorder.changed = trio.Event()
            assert recorder.configured == [Configure(revision=1, config={"a": 1})]
            assert lifeline.refused_messages == 1
            await control.send([peer, encode(Stop(deadline_ms=1500))])
            await recorder.changed.wait()
            assert recorder.stops == [1.5]


async def test_while_nobody_is_there_nothing_is_queued(endpoint: str) -> None:
    recorder = Recorder()
    recorder.line.beat_ms = 20
    async with lifeline_to(endpoint, recorder):
        for _ in range(3):
            await trio.sleep(0.05)  # beats that go nowhere
        recorder.line.beat_ms = NEVER_MS
        await trio.sleep(0.05)
        with control_at(endpoint) as control:
            _, frame = await control.receive()
            assert isinstance(decode(frame, Hello, Beat), Hello)  # and none of the Beats before
