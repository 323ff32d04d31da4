"""Who asks tells what came, and what went wrong, in the words of the answers."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks.chaos.answers import Asked
from benchmarks.chaos.asking import Asker, Mouth, start
from tests.support.cluster import until

NODE = {"state": "live", "generation": 7, "as_of": 12.5, "children": []}
RESET = b"\1\0\0\0\0\0\0\0"


def answer(node: object) -> bytes:
    body = json.dumps(node).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


def whole(sock: socket.socket) -> None:
    sock.recv(4096)
    sock.sendall(answer(NODE))


def twice(sock: socket.socket) -> None:
    whole(sock)
    whole(sock)


def reset(sock: socket.socket) -> None:
    sock.recv(4096)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


def close(sock: socket.socket) -> None:
    sock.recv(4096)


def cut(sock: socket.socket) -> None:
    sock.recv(4096)
    sock.sendall(answer(NODE)[:-5])


def no_http(sock: socket.socket) -> None:
    sock.recv(4096)
    sock.sendall(b"hello\r\n\r\n")


def no_json(sock: socket.socket) -> None:
    sock.recv(4096)
    sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n{"a"')


def no_node(sock: socket.socket) -> None:
    sock.recv(4096)
    sock.sendall(answer({"a": 1}))


def not_found(sock: socket.socket) -> None:
    sock.recv(4096)
    sock.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}")


@contextmanager
def server(*acts: Callable[[socket.socket], None]) -> Iterator[tuple[str, int]]:
    """One connection after the other, each with an act of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for act in acts:
                sock, _ = listener.accept()
                with sock:
                    act(sock)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()
        thread.join()


def mouth(address: tuple[str, int], listed: list[Any], **more: Any) -> Mouth:
    asker = Asker("root", ("/",), 20.0, **more)
    return Mouth(address, asker, lambda one: None, lambda *what: listed.append(what))


@pytest.mark.parametrize(
    ("acts", "failures", "status", "valid"),
    [
        ((whole,), (), 200, True),
        ((reset, whole), ("reset",), 200, True),
        ((close, whole), ("closed",), 200, True),
        ((cut, whole), ("cut",), 200, True),
        ((no_http, reset), ("malformed", "reset"), 0, True),
        ((no_json,), (), 200, False),
        ((no_node,), (), 200, False),
        ((not_found,), (), 404, True),
    ],
)
def test_what_came(
    acts: tuple[Callable[[socket.socket], None], ...], failures: tuple[str, ...], status: int, valid: bool
) -> None:
    with server(*acts) as address:
        one = mouth(address, []).ask("/fs/tree")
    assert (one.failures, one.status, one.valid) == (failures, status, valid)
    assert (one.generation, one.state) == ((7, "live") if status == 200 and valid else (0, ""))


def test_nobody_listens() -> None:
    with server() as address:
        pass
    one = mouth(address, []).ask("/")
    assert (one.failures, one.status) == (("refused", "refused"), 0)


def test_a_kept_connection_that_was_closed_meanwhile_is_no_failure() -> None:
    with server(twice, whole) as address:
        asking = mouth(address, [], keeps=True)
        asked = [asking.ask("/") for _ in range(2)]
        until(lambda: asking.is_closed(), "the server to close it")
        asked.append(asking.ask("/"))
        asking.close()
    assert [(one.status, one.failures) for one in asked] == [(200, ())] * 3


def test_a_kept_connection_that_ends_as_it_is_asked_on_is_told_apart() -> None:
    def once(sock: socket.socket) -> None:
        whole(sock)
        reset(sock)

    with server(once, whole) as address:
        asking = mouth(address, [], keeps=True)
        asked = [asking.ask("/") for _ in range(2)]
        asking.close()
    assert [one.failures for one in asked] == [(), ("kept",)]


def test_files_are_written_down_with_the_claim() -> None:
    listed: list[Any] = []
    children = [{"name": "f", "size": 3, "content_type": "file"}, {"name": "d", "size": 0, "content_type": "directory"}]

    def listing(sock: socket.socket) -> None:
        sock.recv(4096)
        sock.sendall(answer({**NODE, "children": children}))

    def nothing_claimed(sock: socket.socket) -> None:
        sock.recv(4096)
        sock.sendall(answer({**NODE, "as_of": None}))

    with server(listing, nothing_claimed) as address:
        asking = mouth(address, listed, lists=True)
        asking.ask("/")
        asking.ask("/")
    assert [(as_of, sizes) for as_of, _, sizes in listed] == [(12.5, {"f": 3})]


def test_a_process_asks_until_its_input_ends(tmp_path: Path) -> None:
    with server(*[whole] * 2) as address:
        process = start(address, [Asker("root", ("/",), 20.0, lists=True)], tmp_path, "here")
        path = tmp_path / "here.answers"
        until(lambda: path.exists() and path.read_text().count("\n") >= 2, "two answers")
        process.communicate()
    assert process.returncode == 0
    answers = [Asked.of(line) for line in path.read_text().splitlines()]
    assert {(one.asker, one.status) for one in answers[:2]} == {("root", 200)}
    assert json.loads((tmp_path / "here.files").read_text().splitlines()[0])[:2] == ["root", 12.5]
