from __future__ import annotations

import socket as stdlib_socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from fustor.runtime.sockets import ClientCurve, ServerCurve, open_socket, roles_of
from protocols.errors import ConfigError, MachineError

ZmqContext = zmq.Context[zmq.Socket[bytes]]


@pytest.fixture
def context() -> Iterator[ZmqContext]:
    made: ZmqContext = zmq.Context()
    yield made
    made.destroy(linger=0)


@pytest.mark.parametrize("kind", [zmq.DEALER, zmq.ROUTER, zmq.PUSH, zmq.PULL, zmq.PUB, zmq.SUB])
def test_options_on_tcp(context: ZmqContext, kind: int) -> None:
    socket = open_socket(context, kind, bind="tcp://127.0.0.1:0", hwm=9, max_size=1234)
    expected = {
        zmq.LINGER: 0,
        zmq.SNDHWM: 9,
        zmq.RCVHWM: 9,
        zmq.MAXMSGSIZE: 1234,
        zmq.HANDSHAKE_IVL: 5000,
        zmq.IPV6: 1,
        zmq.RECONNECT_IVL: 100,
        zmq.RECONNECT_IVL_MAX: 10_000,
        zmq.HEARTBEAT_IVL: 0,
        zmq.TCP_KEEPALIVE: 1,
        zmq.IMMEDIATE: int(kind in (zmq.DEALER, zmq.PUSH)),
    }
    assert {option: socket.getsockopt(option) for option in expected} == expected
    assert context.getsockopt(zmq.BLOCKY) == 0
    socket.close()


@pytest.mark.parametrize("ping", [2000, 10_000])
def test_whoever_connects_pings(context: ZmqContext, ping: int) -> None:
    socket = open_socket(context, zmq.DEALER, connect="tcp://127.0.0.1:1", ping=ping)
    expected = {zmq.HEARTBEAT_IVL: ping, zmq.HEARTBEAT_TIMEOUT: 3 * ping, zmq.HEARTBEAT_TTL: 3 * ping}
    assert {option: socket.getsockopt(option) for option in expected} == expected
    socket.close()


def test_options_on_ipc(context: ZmqContext, tmp_path: Path) -> None:
    socket = open_socket(context, zmq.DEALER, connect=f"ipc://{tmp_path}/x")
    assert socket.getsockopt(zmq.RECONNECT_IVL) == 20
    assert socket.getsockopt(zmq.RECONNECT_IVL_MAX) == 0
    assert socket.getsockopt(zmq.HEARTBEAT_IVL) == 0
    socket.close()


def test_a_router_says_that_a_peer_is_unknown(context: ZmqContext) -> None:
    socket = open_socket(context, zmq.ROUTER, bind="inproc://x")
    with pytest.raises(zmq.ZMQError, match="Host unreachable"):
        socket.send_multipart([b"nobody", b"x"], zmq.NOBLOCK)
    socket.close()


def test_a_longer_frame_ends_the_connection(context: ZmqContext, tmp_path: Path) -> None:
    pull = open_socket(context, zmq.PULL, bind=f"ipc://{tmp_path}/x", max_size=100)
    push = open_socket(context, zmq.PUSH, connect=f"ipc://{tmp_path}/x")
    assert push.poll(5000, zmq.POLLOUT)
    monitor = pull.get_monitor_socket(zmq.EVENT_DISCONNECTED)
    push.send(b"x" * 101)
    assert monitor.poll(5000)
    assert not pull.poll(0)
    pull.disable_monitor()
    monitor.close()
    push.close()
    pull.close()


def test_subscriptions(context: ZmqContext) -> None:
    pub = open_socket(context, zmq.XPUB, bind="inproc://x")
    sub = open_socket(context, zmq.SUB, connect="inproc://x", subscribe=[b"a/b", b"c"])
    assert {pub.recv(), pub.recv()} == {b"\x01a/b", b"\x01c"}
    sub.close()
    pub.close()


def test_an_address_in_use_is_named(context: ZmqContext) -> None:
    with stdlib_socket.create_server(("127.0.0.1", 0)) as other:
        endpoint = f"tcp://127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(MachineError) as caught:
            open_socket(context, zmq.ROUTER, bind=endpoint)
    assert endpoint in str(caught.value)
    assert "address in use; stop the process" in str(caught.value)


def test_a_socket_that_somebody_keeps_is_used_and_stays() -> None:
    with stdlib_socket.create_server(("127.0.0.1", 0), backlog=16) as kept:
        kept.setblocking(False)
        endpoint = f"tcp://127.0.0.1:{kept.getsockname()[1]}"
        for turn in (b"one", b"two"):
            context: ZmqContext = zmq.Context()
            push = open_socket(context, zmq.PUSH, connect=endpoint)  # while nobody accepts
            pull = open_socket(context, zmq.PULL, bind=endpoint, held=kept.fileno())
            assert pull.getsockopt_string(zmq.LAST_ENDPOINT) == endpoint
            assert push.poll(20_000, zmq.POLLOUT)
            push.send(turn)
            assert pull.poll(20_000)
            assert pull.recv() == turn
            pull.close()
            push.close()
            # A socket that is closed may go on accepting until its context has ended.
            context.term()


def test_an_address_of_another_host_is_named(context: ZmqContext) -> None:
    with pytest.raises(MachineError, match=r"tcp://192\.0\.2\.1:7700: this host has no such address"):
        open_socket(context, zmq.ROUTER, bind="tcp://192.0.2.1:7700")


@pytest.mark.parametrize("endpoint", ["nonsense", "tcp://127.0.0.1", "pony://x", "ipc://" + "x" * 200])
def test_a_malformed_endpoint_is_a_fault_of_the_configuration(context: ZmqContext, endpoint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_socket(context, zmq.ROUTER, bind=endpoint)
    assert caught.value.value == endpoint


def test_a_failed_socket_is_closed(context: ZmqContext) -> None:
    with pytest.raises(ConfigError):
        open_socket(context, zmq.ROUTER, bind="nonsense")
    context.term()  # would wait for a socket that is open


def test_exactly_one_endpoint(context: ZmqContext) -> None:
    with pytest.raises(ValueError, match="exactly one"):
        open_socket(context, zmq.PULL)
    with pytest.raises(ValueError, match="exactly one"):
        open_socket(context, zmq.PULL, bind="inproc://x", connect="inproc://x")


def test_domains_carry_roles() -> None:
    assert roles_of(ServerCurve("s", frozenset({"operator", "agent"})).domain) == {"agent", "operator"}
    assert roles_of("global") == roles_of("") == roles_of("fustor:") == frozenset()


def test_secrets_are_not_shown() -> None:
    assert "geheim" not in repr(ServerCurve("geheim")) + repr(ClientCurve("server", "public", "geheim"))


def test_a_curve_server_without_zap_handler_lets_nobody_in(context: ZmqContext) -> None:
    public, secret = (key.decode() for key in zmq.curve_keypair())
    client = tuple(key.decode() for key in zmq.curve_keypair())
    router = open_socket(context, zmq.ROUTER, bind="tcp://127.0.0.1:0", curve=ServerCurve(secret))
    endpoint = router.getsockopt_string(zmq.LAST_ENDPOINT)
    monitor = router.get_monitor_socket(zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_DISCONNECTED)
    dealer = open_socket(context, zmq.DEALER, connect=endpoint, curve=ClientCurve(public, *client))
    assert monitor.poll(8000)
    assert not dealer.poll(0, zmq.POLLOUT)
    router.disable_monitor()
    monitor.close()
    dealer.close()
    router.close()
