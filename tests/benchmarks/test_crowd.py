"""A crowd that behaves badly, against a server of the standard library."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator

import pytest

from benchmarks import crowd


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def address() -> Iterator[tuple[str, int]]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield ("127.0.0.1", server.server_address[1])
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("kind", ["idle", "headers", "readers", "pipeline"])
def test_all_come_and_are_counted(address: tuple[str, int], kind: str) -> None:
    with crowd.start(address, "/", kind, 8) as clients:
        there = crowd.heard(clients)
        assert (there["connected"], there["refused"], there["ended"]) == (8, 0, 0)
        assert clients.stdin is not None
        clients.stdin.close()
        after = crowd.heard(clients)
        assert after["connected"] + after["ended"] == 8
    assert clients.returncode == 0


def test_who_is_refused_is_counted(address: tuple[str, int]) -> None:
    with crowd.start((address[0], 1), "/", "idle", 3) as clients:
        assert crowd.heard(clients)["refused"] == 3
        assert clients.stdin is not None
        clients.stdin.close()
