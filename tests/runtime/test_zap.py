"""Real CURVE handshakes."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import attrs
import pytest
import trio
import zmq
from zmq.utils.monitor import parse_monitor_message

from fustor.runtime.keys import AuthorizedKeys, KeyPair, write_public
from fustor.runtime.mesh import MeshSocket
from fustor.runtime.sockets import ClientCurve, ServerCurve, open_socket
from fustor.runtime.zap import Connection, Fence, KeyWithdrawn, ZapCounts, serve_zap, user_of
from protocols.errors import MachineError, ProtocolError

PATIENCE = 15.0
ALL = frozenset({"agent", "operator", "observer"})

ZmqContext = zmq.Context[zmq.Socket[bytes]]


@pytest.fixture
def context() -> Iterator[ZmqContext]:
    made: ZmqContext = zmq.Context()
    yield made
    made.destroy(linger=0)


def pair_of(name: str, role: str) -> KeyPair:
    public, secret = zmq.curve_keypair()
    return KeyPair(name=name, role=role, public=public.decode(), secret=secret.decode())


SERVER = pair_of("fusion", "fusion")


@contextlib.asynccontextmanager
async def server(
    context: ZmqContext, folder: Path, *, process: frozenset[str] = ALL, socket: frozenset[str] = ALL
) -> AsyncIterator[tuple[MeshSocket, str, ZapCounts]]:
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            counts = await nursery.start(serve_zap, context, AuthorizedKeys(str(folder)), process)
            raw = open_socket(context, zmq.ROUTER, bind="tcp://127.0.0.1:0", curve=ServerCurve(SERVER.secret, socket))
            router = MeshSocket(raw)
            try:
                yield router, raw.getsockopt_string(zmq.LAST_ENDPOINT), counts
            finally:
                router.close()
            nursery.cancel_scope.cancel()


def client(context: ZmqContext, endpoint: str, pair: KeyPair, server_key: str = SERVER.public) -> MeshSocket:
    curve = ClientCurve(server_key, pair.public, pair.secret)
    return MeshSocket(open_socket(context, zmq.DEALER, connect=endpoint, curve=curve))


async def refused(context: ZmqContext, endpoint: str, pair: KeyPair) -> int:
    """The status with which the handshake of ``pair`` is refused."""
    raw = context.socket(zmq.DEALER)
    raw.curve_serverkey, raw.curve_publickey, raw.curve_secretkey = (
        text.encode() for text in (SERVER.public, pair.public, pair.secret)
    )
    monitor = MeshSocket(raw.get_monitor_socket(zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_SUCCEEDED))
    try:
        raw.connect(endpoint)
        event = parse_monitor_message(await monitor.receive())
        assert event["event"] == zmq.EVENT_HANDSHAKE_FAILED_AUTH
        return int(event["value"])
    finally:
        raw.disable_monitor()
        monitor.close()
        raw.close(linger=0)


async def test_an_authorized_key_is_let_in_and_known(context: ZmqContext, tmp_path: Path) -> None:
    ann = pair_of("ann", "operator")
    write_public(str(tmp_path / "ann.pub"), ann)
    async with server(context, tmp_path) as (router, endpoint, counts):
        dealer = client(context, endpoint, ann)
        await dealer.send([b"hello"])
        frames = await router.receive_frames()
        assert user_of(frames[-1]) == ("operator", "ann")
        await router.send([frames[0].bytes, b"welcome"])
        assert await dealer.receive() == [b"welcome"]
        assert (counts.accepted, counts.refused, counts.malformed) == (1, 0, 0)
        dealer.close()


async def test_an_unknown_key_is_refused(context: ZmqContext, tmp_path: Path) -> None:
    async with server(context, tmp_path) as (_, endpoint, counts):
        assert await refused(context, endpoint, pair_of("eve", "operator")) == 400
        assert counts.refused >= 1
        assert counts.accepted == 0


@pytest.mark.parametrize(("process", "socket"), [(frozenset({"agent"}), ALL), (ALL, frozenset({"agent"}))])
async def test_a_role_must_suit_the_process_and_the_socket(
    context: ZmqContext, tmp_path: Path, process: frozenset[str], socket: frozenset[str]
) -> None:
    ann, bob = pair_of("ann", "operator"), pair_of("bob", "agent")
    for pair in (ann, bob):
        write_public(str(tmp_path / f"{pair.name}.pub"), pair)
    async with server(context, tmp_path, process=process, socket=socket) as (router, endpoint, _):
        assert await refused(context, endpoint, ann) == 400
        dealer = client(context, endpoint, bob)
        await dealer.send([b"hello"])
        assert user_of((await router.receive_frames())[-1]) == ("agent", "bob")
        dealer.close()


async def test_a_key_that_is_authorized_later_gets_in_by_itself(context: ZmqContext, tmp_path: Path) -> None:
    ann = pair_of("ann", "agent")
    async with server(context, tmp_path) as (router, endpoint, _):
        assert await refused(context, endpoint, ann) == 400
        write_public(str(tmp_path / "ann.pub"), ann)
        dealer = client(context, endpoint, ann)
        await dealer.send([b"hello"])
        assert (await router.receive())[-1] == b"hello"
        dealer.close()


@pytest.mark.parametrize("how", ["removed", "another key", "another role"])
async def test_a_withdrawn_key_is_shut_out_at_once(context: ZmqContext, tmp_path: Path, how: str) -> None:
    ann, path = pair_of("ann", "agent"), tmp_path / "ann.pub"
    write_public(str(path), ann)
    fence = Fence(AuthorizedKeys(str(tmp_path)))
    async with server(context, tmp_path) as (router, endpoint, _):
        dealer = client(context, endpoint, ann)
        monitor = MeshSocket(dealer.socket.get_monitor_socket(zmq.EVENT_DISCONNECTED))
        await dealer.send([b"hello"])
        assert fence.user_of((await router.receive_frames())[-1]) == ("agent", "ann")
        if how == "removed":
            path.unlink()
        else:
            other = pair_of("ann", "agent") if how == "another key" else attrs.evolve(ann, role="observer")
            write_public(str(path), other)
        await dealer.send([b"still here"])
        frames = await router.receive_frames()
        with pytest.raises(KeyWithdrawn, match="agent ann"):
            fence.user_of(frames[-1])
        await monitor.receive()  # it is told by the end of its connection
        assert fence.counts.fenced == 1
        dealer.socket.disable_monitor()
        monitor.close()
        dealer.close()


async def test_only_the_connection_that_was_meant_is_ended(context: ZmqContext, tmp_path: Path) -> None:
    ann = pair_of("ann", "agent")
    write_public(str(tmp_path / "ann.pub"), ann)
    async with server(context, tmp_path) as (router, endpoint, _):
        dealer = client(context, endpoint, ann)
        await dealer.send([b"hello"])
        connection = Connection.of((await router.receive_frames())[-1])
        assert not attrs.evolve(connection, peer=("127.0.0.1", 1)).end()  # that descriptor is another's by now
        assert not attrs.evolve(connection, fd=1 << 20).end()
        with (tmp_path / "file").open("w") as file:
            assert not attrs.evolve(connection, fd=file.fileno()).end()
        await dealer.send([b"unharmed"])
        assert (await router.receive())[-1] == b"unharmed"
        assert connection.end()
        dealer.close()


async def test_a_client_that_expects_another_server_gets_nowhere(context: ZmqContext, tmp_path: Path) -> None:
    ann = pair_of("ann", "agent")
    write_public(str(tmp_path / "ann.pub"), ann)
    async with server(context, tmp_path) as (router, endpoint, counts):
        stranger = client(context, endpoint, ann, server_key=pair_of("other", "fusion").public)
        friend = client(context, endpoint, ann)
        await friend.send([b"friend"])  # by then the stranger had its chance
        assert (await router.receive())[-1] == b"friend"
        with pytest.raises(trio.WouldBlock):
            stranger.send_nowait([b"x"])
        assert counts.accepted == 1
        stranger.close()
        friend.close()


async def test_garbage_does_not_end_the_handler(context: ZmqContext, tmp_path: Path) -> None:
    ann = pair_of("ann", "agent")
    write_public(str(tmp_path / "ann.pub"), ann)
    async with server(context, tmp_path) as (router, endpoint, counts):
        forger = MeshSocket(open_socket(context, zmq.DEALER, connect="inproc://zeromq.zap.01"))
        for frames in (
            [b""],
            [b"x"] * 3,
            [b"", b"2.0", b"1", b"d", b"a", b"i", b"CURVE", b"k" * 32],
            [b"", b"1.0", b"7", b"\xff", b"a", b"i", b"NULL"],
        ):
            await forger.send(frames)
        assert (await forger.receive())[:4] == [b"", b"1.0", b"7", b"400"]
        assert (counts.malformed, counts.refused) == (3, 1)
        dealer = client(context, endpoint, ann)
        await dealer.send([b"hello"])
        assert (await router.receive())[-1] == b"hello"
        forger.close()
        dealer.close()


async def test_one_handler_per_context(context: ZmqContext, tmp_path: Path) -> None:
    async with server(context, tmp_path):
        with pytest.raises(MachineError, match=r"zeromq\.zap\.01: address in use"):
            await serve_zap(context, AuthorizedKeys(str(tmp_path)), ALL)


async def test_a_connection_without_authentication_has_no_user(context: ZmqContext, tmp_path: Path) -> None:
    pull = MeshSocket(open_socket(context, zmq.PULL, bind=f"ipc://{tmp_path}/x"))
    push = MeshSocket(open_socket(context, zmq.PUSH, connect=f"ipc://{tmp_path}/x"))
    with trio.fail_after(PATIENCE):
        await push.send([b"x"])
        (frame,) = await pull.receive_frames()
    with pytest.raises(ProtocolError, match="not authenticated"):
        user_of(frame)
    push.close()
    pull.close()
