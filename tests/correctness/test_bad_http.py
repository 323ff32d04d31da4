"""fs/tree and clients that do not behave: an answer that says what was wrong, never a 5xx, and nobody else notices."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from tests.support.cluster import PATIENCE, Cluster, Poller, until


@pytest.fixture
def cluster(shared: Cluster) -> Cluster:
    return shared


@pytest.fixture(autouse=True)
def unharmed(cluster: Cluster) -> Iterator[None]:
    cluster.settled()
    pids = [cluster.pid(f"query.{number}") for number in range(2)]
    with Poller(cluster) as poller:
        yield
        seen = len(poller.answers)
        until(lambda: len(poller.answers) > seen + 2, "answers after it")
    assert [cluster.pid(f"query.{number}") for number in range(2)] == pids


def raw(cluster: Cluster, request: bytes) -> bytes:
    """What is answered to exactly these bytes, until the end of the connection."""
    with socket.create_connection(cluster.address, timeout=PATIENCE) as connection:
        with contextlib.suppress(OSError):
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while more := connection.recv(65536):
                answer += more
        return answer


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500), 400),  # TLS
        (b"\r\n\r\nGARBAGE\r\n\r\n", 400),
        (b"GET\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (b"GET /fs/tree HTTP/1.1\r\n\r\n", 400),  # no Host
        (b"GET /fs/tree HTTP/1.1\r\nHost: x\r\nbad header\r\n\r\n", 400),
        (b"GET /fs/tree HTTP/1.1\r\nHost: x\r\nX: \0\r\n\r\n", 400),
        (b"GET /fs/tree HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n", 400),
        (b"GET /fs/tree HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"GET /fs/tree HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 100_000 + b"\r\n\r\n", 431),
        (b"GET /fs/tree HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 20_000 + b"\r\n", 431),
        (b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"POST /fs/tree HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", 405),
        (b"DELETE /fs/tree HTTP/1.1\r\nHost: x\r\n\r\n", 405),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_malformed_requests(cluster: Cluster, request_bytes: bytes, status: int) -> None:
    answer = raw(cluster, request_bytes)
    assert answer.split(b" ", 2)[1:2] == [str(status).encode()], answer[:200]


@pytest.mark.parametrize(
    ("target", "field"),
    [
        ("/fs/tree?path=/%zz", "path"),
        ("/fs/tree?path=/%", "path"),
        ("/fs/tree?path=/../etc/passwd", "path"),
        ("/fs/tree?path=/a/%2e%2e/b", "path"),
        ("/fs/tree?path=/a/./b", "path"),
        ("/fs/tree?path=relative", "path"),
        ("/fs/tree?path=/a%00b", "path"),
        ("/fs/tree?path=/&path=/", "path"),
        ("/fs/tree?path_b64=!!!", "path_b64"),
        ("/fs/tree?max_depth=-1", "max_depth"),
        ("/fs/tree?max_depth=1e3", "max_depth"),
        ("/fs/tree?max_depth=" + "9" * 400, "max_depth"),
        ("/fs/tree?recursive=maybe", "recursive"),
        ("/fs/tree?only_path=2", "only_path"),
        ("/fs/tree?view=no-such-view", "view"),
    ],
)
def test_bad_parameters_are_named(cluster: Cluster, target: str, field: str) -> None:
    answer = cluster.get(target)
    assert answer.status in (400, 404)
    said = answer.json
    assert said["field"] == field
    assert said["accepted"]


def test_a_path_as_long_as_a_target_may_be(cluster: Cluster) -> None:
    assert cluster.get("/fs/tree?path=/" + "a/" * 4000).status == 404
    assert cluster.get("/fs/tree?path=/" + "a" * 8000).status == 404


def test_clients_that_are_slow_or_never_finish(cluster: Cluster) -> None:
    with contextlib.ExitStack() as stack:
        for content in (b"", b"G", b"GET /fs/tree HTTP/1.1\r\nHost:", b"GET /fs/tree HTTP/1.1\r\nHost: x\r\n\r\n"):
            for _ in range(100):
                connection = stack.enter_context(socket.create_connection(cluster.address, timeout=PATIENCE))
                connection.sendall(content)
        # Byte by byte, and still served.
        patient = stack.enter_context(socket.create_connection(cluster.address, timeout=PATIENCE))
        for byte in b"GET /fs/tree?max_depth=0 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n":
            patient.sendall(bytes([byte]))
        assert patient.recv(100).startswith(b"HTTP/1.1 200 ")


def test_clients_that_vanish_in_the_middle_of_an_answer(cluster: Cluster) -> None:
    for _ in range(50):
        with socket.create_connection(cluster.address, timeout=PATIENCE) as connection:
            connection.sendall(b"GET /fs/tree HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
            connection.recv(10)
