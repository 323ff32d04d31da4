"""A link over real CURVE sockets to a Fusion that the test plays."""

from __future__ import annotations

import logging
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import zmq

from fustor.agent.link import Link
from fustor.runtime.keys import AuthorizedKeys, KeyPair, load_or_create, write_public
from fustor.runtime.mesh import MeshSocket
from fustor.runtime.sockets import ClientCurve, ServerCurve, open_socket
from fustor.runtime.zap import serve_zap
from protocols.codec import decode, encode
from protocols.errors import ConfigError, MachineError
from protocols.messages import Goodbye, Heartbeat, HeartbeatReply, Login, LoginReply
from protocols.restart import BackoffPolicy
from protocols.session import Accepted, AgentPolicy, AgentSession, AgentState, Refused, Superseded
from tests.support.ports import free_ports

LOG = logging.getLogger("test")
AGENTS = frozenset({"agent"})
#: Short pauses: what shall happen happens soon.
POLICY = AgentPolicy(
    reply_seconds=1.0, retry=BackoffPolicy(first_seconds=0.05, cap_seconds=0.2), superseded_seconds=0.2
)


@attrs.define
class Stage:
    """
    Attributes:
        link: not running yet.
        outcomes: what it told.
        context: Fusion's.
        fusion, agent: the keys.
        endpoint: where Fusion shall be.
    """

    link: Link
    outcomes: list[Any]
    context: zmq.Context[zmq.Socket[bytes]]
    fusion: KeyPair
    agent: KeyPair
    endpoint: str

    async def open(self) -> MeshSocket:
        curve = ServerCurve(self.fusion.secret, AGENTS)
        for _ in range(6000):
            try:
                return MeshSocket(open_socket(self.context, zmq.ROUTER, bind=self.endpoint, curve=curve))
            except MachineError:  # libzmq closes the socket before it in a thread of its own
                await trio.sleep(0.01)
        raise AssertionError(f"{self.endpoint} never becomes free")


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    fusion = load_or_create(str(tmp_path / "fusion.key"), "fusion", "fusion")
    agent = load_or_create(str(tmp_path / "agent.key"), "local", "agent")
    (tmp_path / "authorized").mkdir()
    write_public(str(tmp_path / "authorized" / "local.pub"), agent)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    theirs: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    port = free_ports(1)
    outcomes: list[Any] = []
    session = AgentSession("local", 7, "i", "0.1.0", ("data",), random.Random(1), POLICY)
    link = Link(
        context,
        f"tcp://127.0.0.1:{port}",
        lambda: ClientCurve(fusion.public, agent.public, agent.secret),
        session,
        statuses=tuple,
        on_outcome=outcomes.append,
        log=LOG,
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(serve_zap, theirs, AuthorizedKeys(str(tmp_path / "authorized")), AGENTS)
        yield Stage(link, outcomes, theirs, fusion, agent, f"tcp://127.0.0.1:{port}")
        nursery.cancel_scope.cancel()
    theirs.term()
    context.term()


async def hear(socket: MeshSocket, kind: type) -> tuple[bytes, Any]:
    """The next message of ``kind``, and whose; others are passed over."""
    with trio.fail_after(60):
        while True:
            peer, frame = await socket.receive()
            message: Any = decode(frame, Login, Heartbeat, Goodbye)
            if isinstance(message, kind):
                return peer, message


async def admit(socket: MeshSocket, outcome: str = "accepted") -> bytes:
    peer, login = await hear(socket, Login)
    reply = LoginReply(outcome=outcome, nonce=login.nonce, epoch=7, reason="so it is", heartbeat_ms=50)
    await socket.send([peer, encode(reply)])
    return peer


async def answer(socket: MeshSocket, outcome: str = "ok") -> None:
    peer, beat = await hear(socket, Heartbeat)
    reply = HeartbeatReply(outcome=outcome, seq=beat.seq, epoch=7, heartbeat_ms=50)
    await socket.send([peer, encode(reply)])


async def test_login_heartbeats_goodbye(stage: Stage) -> None:
    socket = await stage.open()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stage.link.run)
        await admit(socket)
        for _ in range(5):
            await answer(socket)
        assert stage.outcomes == [Accepted(())]
        assert stage.link.session.rtt_us > 0
        stage.link.goodbye("stopped")
        nursery.cancel_scope.cancel()
    _, goodbye = await hear(socket, Goodbye)
    assert (goodbye.agent, goodbye.epoch, goodbye.reason) == ("local", 7, "stopped")
    assert stage.link.session.state is AgentState.CLOSED
    socket.close()


async def test_fusion_may_come_late_go_and_come_back(stage: Stage) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stage.link.run)
        while stage.link.counters["connections"] < 2:  # noqa: ASYNC110
            await trio.sleep(0.01)
        for _ in range(2):
            socket = await stage.open()
            await admit(socket)
            await answer(socket)
            socket.close()
        nursery.cancel_scope.cancel()
    assert [o for o in stage.outcomes if o != Accepted(())] == []


async def test_a_fusion_that_answers_nothing_is_left(stage: Stage) -> None:
    socket = await stage.open()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stage.link.run)
        peer = await admit(socket)
        # Heartbeats are not answered: the link is given up, and the next login comes on another connection.
        other, _ = await hear(socket, Login)
        assert other != peer
        nursery.cancel_scope.cancel()
    socket.close()


async def test_outcomes_are_told_and_asked_for_again(stage: Stage) -> None:
    socket = await stage.open()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stage.link.run)
        await admit(socket, "refused")
        await admit(socket, "superseded")
        await admit(socket)
        await answer(socket, "superseded")
        await admit(socket)
        await answer(socket, "login")
        await admit(socket)
        await answer(socket)
        nursery.cancel_scope.cancel()
    kinds = [type(outcome) for outcome in stage.outcomes]
    assert kinds == [Refused, Superseded, Accepted, Superseded, Accepted, Accepted]
    socket.close()


async def test_rubbish_is_counted(stage: Stage) -> None:
    socket = await stage.open()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stage.link.run)
        peer = await admit(socket)
        for rubbish in (b"", b"\xc1", encode(Goodbye(agent="x", epoch=1)), b"x" * 1000):
            await socket.send([peer, rubbish])
        while stage.link.counters["bad_messages"] < 4:
            await answer(socket)
        nursery.cancel_scope.cancel()
    socket.close()


async def test_a_key_that_can_not_be_read_is_an_error(stage: Stage) -> None:
    def missing() -> ClientCurve:
        raise ConfigError("fusion_key_file", "x", "a file is accepted")

    link = Link(stage.context, stage.endpoint, missing, stage.link.session, statuses=tuple, on_outcome=print, log=LOG)
    with pytest.raises(ConfigError):
        await link.run()
