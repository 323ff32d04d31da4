"""Whatever anybody sends to a tcp socket: no process dies, nothing is lost, and the others are served meanwhile."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import socket
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from fustor.runtime.endpoint import parse_endpoint
from fustor.runtime.keys import KeyPair, load_or_create, load_secret
from fustor.runtime.sockets import ClientCurve, open_socket
from protocols.codec import encode, pack
from protocols.data import Batch
from protocols.messages import TreeRequest
from tests.support.cluster import Cluster, Poller, until

#: Sockets by name → type of a peer, and whose key is let in.
SOCKETS = {
    "control": (zmq.DEALER, "agent/keys/agent.key"),
    "admin": (zmq.DEALER, "fusion/keys/admin.key"),
    "data": (zmq.PUSH, "agent/keys/agent.key"),
    "acks": (zmq.SUB, "agent/keys/agent.key"),
    "query": (zmq.DEALER, "fusion/keys/admin.key"),
}


def nested(depth: int) -> bytes:
    """msgpack: arrays of one in each other."""
    return b"\x91" * depth + b"\xc0"


def rubbish() -> list[list[bytes]]:
    """Messages that are none."""
    rng = random.Random(1)
    batch = encode(Batch(agent="local", source="data", epoch=1, first=1, count=1))
    return [
        [b""],
        [b"", b"", b""],
        [b"\xc1"],
        [rng.randbytes(1000)],
        [nested(10)],
        [nested(100_000)],
        [b"\xdd\xff\xff\xff\xff"],  # an array of four thousand million elements, of which none comes
        [b"\xdf\xff\xff\xff\xff"],
        [b"\xc6\xff\xff\xff\xff"],
        [pack({"v": 1, "t": "no such message"})],
        [pack({"v": 99, "t": "login"})],
        [pack({"v": 1, "t": "login", "agent": 5})],
        [pack({"v": 1, "t": "admin-request", "request": "x", "op": "\0" * 1000})],
        [pack([1] * 60_000)],
        [b"x" * 900_000],
        [batch],
        [batch, b"\xc1", b"\xc1"],
        [batch] + [b""] * 500,
        [encode(TreeRequest(request="q", op="no such op"))],
        [encode(TreeRequest(request="q", op="tree", path=b"../../etc"))],
        [encode(TreeRequest(request="q", op="tree", path=b"/", params={"max_depth": "-1"}))],
    ]


@pytest.fixture
def cluster(shared: Cluster) -> Cluster:
    return shared


@pytest.fixture
def endpoints(cluster: Cluster) -> dict[str, str]:
    section: dict[str, Any] = tomllib.loads((cluster.state / "fusion.toml").read_text())["fusion"]
    named = {name: str(section[name]) for name in ("control", "admin", "data", "query")}
    data = parse_endpoint(named["data"]).plus(1)
    return {**named, "acks": f"tcp://{data.host}:{data.port}"}


def states(cluster: Cluster) -> set[str]:
    """Of all payloads, as Fusion knows them."""
    status = cluster.status()["status"]
    return {payload["state"] for payload in (*status["payloads"], *status["agents"][0]["payloads"])}


@pytest.fixture
def unharmed(cluster: Cluster, place: Path) -> Iterator[None]:
    """Everything is right before and after, fs/tree answers all the time, and every process is the same one."""
    (place / "before").touch()
    cluster.assert_right()
    pids = {name: cluster.pid(name) for name in cluster.payloads()}
    with Poller(cluster) as poller:
        yield
        (place / "after").touch()
        cluster.assert_right()
        until(lambda: poller.answers, "an answer")
    assert {name: cluster.pid(name) for name in cluster.payloads()} == pids
    status = cluster.status()
    assert not status["error"]
    assert status["status"]["agents"][0]["link"] == "online"
    # How an agent's payloads are is known by its last heartbeat, which may be of before they were all asked.
    until(lambda: states(cluster) == {"running"}, "everybody to run")


def key(cluster: Cluster, name: str) -> KeyPair:
    found = cluster.state / name
    return load_secret(str(found if found.exists() else next(cluster.state.rglob(found.name))))


def curve(cluster: Cluster, pair: KeyPair) -> ClientCurve:
    return ClientCurve(key(cluster, "fusion/keys/fusion.key").public, pair.public, pair.secret)


@contextlib.contextmanager
def peer(kind: int, endpoint: str, curve: ClientCurve | None) -> Iterator[zmq.Socket[bytes]]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        with open_socket(
            context, kind, connect=endpoint, curve=curve, subscribe=[b""] if kind == zmq.SUB else []
        ) as sock:
            sock.sndtimeo = sock.rcvtimeo = 5000
            yield sock
    finally:
        context.term()


@pytest.mark.usefixtures("unharmed")
def test_bytes_that_are_not_zmtp(endpoints: dict[str, str]) -> None:
    rng = random.Random(2)
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00CURVE" + bytes(48)
    for endpoint, content in itertools.product(
        endpoints.values(),
        [
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            b"\0" * 64,
            b"\xff" * 4096,
            rng.randbytes(100_000),
            greeting + rng.randbytes(4000),
            greeting.replace(b"CURVE", b"NULL\0"),
            greeting.replace(b"CURVE", b"PLAIN"),
            greeting + b"\x06" + b"\xff" * 8 + b"x" * 1000,  # a command of 2**64 - 1 bytes
        ],
    ):
        where = parse_endpoint(endpoint)
        with socket.create_connection((where.host, where.port)) as connection, contextlib.suppress(OSError):
            connection.sendall(content)


@pytest.mark.usefixtures("unharmed")
def test_connections_that_say_nothing(endpoints: dict[str, str]) -> None:
    with contextlib.ExitStack() as stack:
        for endpoint in endpoints.values():
            where = parse_endpoint(endpoint)
            for _ in range(50):
                stack.enter_context(socket.create_connection((where.host, where.port)))


@pytest.mark.usefixtures("unharmed")
def test_unknown_keys_and_none_are_not_heard(cluster: Cluster, endpoints: dict[str, str], tmp_path: Path) -> None:
    stranger = load_or_create(str(tmp_path / "stranger.key"), "local", "agent")
    for name, (kind, _) in SOCKETS.items():
        for curved in (curve(cluster, stranger), None):
            with peer(kind, endpoints[name], curved) as sock:
                sock.rcvtimeo = 200
                if kind != zmq.SUB:
                    sock.sndtimeo = 200
                    with pytest.raises(zmq.Again):
                        sock.send_multipart(rubbish()[-3])  # a peer that is not let in has no connection to send on
                if kind != zmq.PUSH:
                    with pytest.raises(zmq.Again):
                        sock.recv()


@pytest.mark.parametrize("name", [name for name, (kind, _) in SOCKETS.items() if kind != zmq.SUB])
@pytest.mark.usefixtures("unharmed")
def test_rubbish_from_those_who_are_let_in(cluster: Cluster, endpoints: dict[str, str], name: str) -> None:
    kind, owner = SOCKETS[name]
    with peer(kind, endpoints[name], curve(cluster, key(cluster, owner))) as sock:
        for frames in rubbish():
            sock.send_multipart(frames)
        if kind == zmq.DEALER:
            # In order: when this is answered (or refused), everything before was read.
            sock.send(encode(TreeRequest(request="last", op="tree", path=b"/", params={"max_depth": "0"})))
            with contextlib.suppress(zmq.Again):
                while name == "query" and b"last" not in sock.recv():
                    pass


@pytest.mark.parametrize("name", ["control", "admin", "data", "query"])
@pytest.mark.usefixtures("unharmed")
def test_a_frame_larger_than_any_is_taken(cluster: Cluster, endpoints: dict[str, str], name: str) -> None:
    kind, owner = SOCKETS[name]
    with peer(kind, endpoints[name], curve(cluster, key(cluster, owner))) as sock:
        sock.send(os.urandom(80 << 20))
        monitor = sock.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        assert monitor.poll(20_000), "the peer was not disconnected"
        sock.disable_monitor()
        monitor.close()
