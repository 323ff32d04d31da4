"""The gate: who comes, what they bring, and what is believed."""

from __future__ import annotations

import json
import os
import resource
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fustor.guardian import gate as module
from fustor.guardian.errors import RefusedError
from fustor.guardian.gate import Gate, Visitor
from fustor.guardian.requests import Join, Keep

GREETING: dict[str, Any] = {"join": "a", "pid": os.getpid(), "born": 5, "token": "t1", "fds": []}


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    monkeypatch.chdir(tmp_path)
    gate = Gate()
    yield gate
    gate.close()


def come(gate: Gate, packet: bytes, fds: tuple[int, ...] = ()) -> tuple[socket.socket, Visitor]:
    """A client that has said ``packet``, and the visitor that it is."""
    client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    client.settimeout(30)
    client.connect(module.NAME)
    socket.send_fds(client, [packet], fds)
    visitor = gate.accept()
    assert visitor is not None
    return client, visitor


def greeting(**changes: Any) -> bytes:
    return json.dumps(GREETING | changes).encode()


def test_somebody_leaves_something(gate: Gate) -> None:
    reader, writer = os.pipe2(os.O_CLOEXEC)
    said = {"keep": "a", "pid": os.getpid(), "token": "t1", "fds": ["x", "y"]}
    client, visitor = come(gate, json.dumps(said).encode(), (reader, writer))
    keep, brought = visitor.receive()
    assert isinstance(keep, Keep)
    assert (keep.name, keep.pid, keep.token, keep.fds) == ("a", os.getpid(), "t1", ["x", "y"])
    assert list(brought) == ["x", "y"]
    for fd in (reader, writer, *brought.values()):
        os.close(fd)
    client.close()
    visitor.close()


@pytest.mark.parametrize("changes", [{"fds": ["x", "x"]}, {"fds": ["x"]}, {"pid": 1}, {"token": ""}, {"more": 1}])
def test_what_is_wrong_is_not_kept(gate: Gate, changes: dict[str, Any]) -> None:
    said = {"keep": "a", "pid": os.getpid(), "token": "t1", "fds": ["x", "y"]}
    client, visitor = come(gate, json.dumps(said | changes).encode(), (0, 1))
    with pytest.raises(RefusedError):
        visitor.receive()
    client.close()
    visitor.close()


def test_somebody_comes_with_a_socket(gate: Gate) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        client, visitor = come(gate, greeting(fds=["http"]), (server.fileno(),))
        join, brought = visitor.receive()
        assert isinstance(join, Join)
        assert (join.name, join.pid, join.born, join.token, join.fds) == ("a", os.getpid(), 5, "t1", ["http"])
        assert visitor.pid == os.getpid()
        with socket.socket(fileno=brought["http"]) as sock:
            assert sock.getsockname() == server.getsockname()
            assert not sock.get_inheritable()
    visitor.welcome()
    assert json.loads(client.recv(1000)) == {"welcome": os.getpid()}
    visitor.refuse("so")
    assert json.loads(client.recv(1000)) == {"refused": "so"}
    channel = visitor.detach()
    channel.send(b"x")
    assert client.recv(1000) == b"x"
    visitor.close()
    assert client.recv(1000) == b""
    client.close()
    assert channel.fileno() == -1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"pid": 1}, "pid"),
        ({"pid": "x"}, "pid"),
        ({"born": 0}, "born"),
        ({"token": ""}, "token"),
        ({"join": "../a"}, "name"),
        ({"fds": ["http"]}, "fds"),
        ({"fds": 1}, "fds"),
        ({"more": 1}, "more"),
    ],
)
def test_what_is_not_believed(gate: Gate, change: dict[str, object], field: str) -> None:
    client, visitor = come(gate, greeting(**change))
    with client, pytest.raises(RefusedError) as refused:
        visitor.receive()
    assert refused.value.field == field
    visitor.close()


@pytest.mark.parametrize("packet", [b"{", b"[]", b"x" * 100_000], ids=["no JSON", "no object", "too long"])
def test_what_is_not_understood(gate: Gate, packet: bytes) -> None:
    client, visitor = come(gate, packet)
    with client, pytest.raises(RefusedError, match="a JSON object is accepted"):
        visitor.receive()
    visitor.close()


def test_only_sockets_are_brought_and_nothing_is_left_open(gate: Gate) -> None:
    with open("/dev/null", "rb") as file:
        client, visitor = come(gate, greeting(fds=["http", "more"]), (file.fileno(), file.fileno()))
        before = len(os.listdir("/proc/self/fd"))
        with client, pytest.raises(RefusedError, match="sockets are accepted"):
            visitor.receive()
    assert len(os.listdir("/proc/self/fd")) == before - 2  # client and file
    visitor.close()


def test_one_that_went_away_is_an_error_of_the_system(gate: Gate) -> None:
    client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    client.connect(module.NAME)
    visitor = gate.accept()
    assert visitor is not None
    with pytest.raises(BlockingIOError):
        visitor.receive()
    client.close()
    with pytest.raises(ConnectionResetError):
        visitor.receive()
    visitor.welcome()  # nobody hears it
    visitor.close()


def test_without_descriptors_left_nobody_is_refused_for_it(gate: Gate) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        client, visitor = come(gate, greeting(fds=["http"]), (server.fileno(),))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            visitor.receive()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    client.close()
    visitor.close()


def test_nobody_is_there(gate: Gate) -> None:
    assert gate.accept() is None


def test_a_gate_replaces_the_one_of_before(gate: Gate) -> None:
    new = Gate()
    client, visitor = come(new, greeting())
    assert gate.accept() is None
    assert visitor.receive()[0].name == "a"
    visitor.close()
    client.close()
    new.close()


def test_a_gate_goes_through_an_execve(gate: Gate) -> None:
    again = Gate(os.dup(gate.fileno()))
    client, visitor = come(again, greeting())
    assert visitor.receive()[0].name == "a"
    visitor.close()
    client.close()
    again.close()


def test_a_folder_in_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / module.NAME).mkdir()
    with pytest.raises(OSError, match="Is a directory"):
        Gate()
