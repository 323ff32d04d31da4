"""Asking the HTTP port, answered by a real server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from fustor.admin.probe import ask_root, reachable, url

ANSWERS: dict[str, tuple[int, bytes]] = {
    "node": (200, json.dumps({"state": "live", "path": "/"}).encode()),
    "other": (200, b"[]"),
    "html": (200, b"<html>"),
    "error": (500, b'{"state": "live"}'),
}


@pytest.fixture
def server() -> Iterator[tuple[str, dict[str, str]]]:
    """The address of a server and a box: what it answers (``kind``), what it was asked (``path``)."""
    box = {"kind": "node"}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            box["path"] = self.path
            status, body = ANSWERS[box["kind"]]
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
            """Not here."""

    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"127.0.0.1:{http.server_port}", box
        http.shutdown()
        thread.join()


def test_the_root_without_its_content(server: tuple[str, dict[str, str]]) -> None:
    address, box = server
    assert ask_root(address, 10) == {"state": "live", "path": "/"}
    assert box["path"] == "/fs/tree?path=/&max_depth=0"


@pytest.mark.parametrize("kind", ["other", "html", "error"])
def test_who_is_not_fs_tree_does_not_count(server: tuple[str, dict[str, str]], kind: str) -> None:
    address, box = server
    box["kind"] = kind
    assert ask_root(address, 10) is None


def test_nobody_there_is_no_error() -> None:
    assert ask_root("127.0.0.1:1", 10) is None


@pytest.mark.parametrize(
    ("address", "expected", "shown"),
    [
        ("0.0.0.0:8101", ("127.0.0.1", 8101), "http://127.0.0.1:8101/fs/tree"),
        ("[::]:80", ("::1", 80), "http://[::1]:80/fs/tree"),
        ("10.0.0.7:80", ("10.0.0.7", 80), "http://10.0.0.7:80/fs/tree"),
    ],
)
def test_a_wildcard_is_reached_by_loopback(address: str, expected: tuple[str, int], shown: str) -> None:
    assert reachable(address) == expected
    assert url(address) == shown
