"""The request load: answers are told apart whole and by status, and wrk's output is understood."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from benchmarks.errors import WrongAnswerError
from benchmarks.load import closed_loop, parse_wrk

WRK = """\
Running 1s test @ http://127.0.0.1:8101/fs/tree
  1 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   812.34us  201.11us   9.51ms   95.32%
    Req/Sec    19.91k     1.02k   21.44k    70.00%
  Latency Distribution
     50%  801.00us
     75%  822.00us
     90%    1.10ms
     99%    1.46s
  19812 requests in 1.00s, 101.53MB read
Requests/sec:  19804.55
Transfer/sec:    101.49MB
"""


class Handler(BaseHTTPRequestHandler):
    """Answers in the three ways there are: with a length, in chunks, and without a body."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """By the path."""
        if self.headers.get("If-None-Match"):
            self.send_response(304)
            self.send_header("Content-Length", "5")
            self.end_headers()
        elif self.path == "/chunked":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"3\r\nabc\r\n")
            self.wfile.write(b"2\r\nde\r\n0\r\n\r\n")
        else:
            self.send_response(200 if self.path == "/whole" else 404)
            self.send_header("Content-Length", "5")
            self.end_headers()
            self.wfile.write(b"abcde")

    def do_HEAD(self) -> None:
        """As GET, with the length of what is not sent."""
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
        """Nothing."""


class Server(ThreadingHTTPServer):
    """Waits for its threads in the end; a client that leaves in the middle of an answer is nothing to speak of."""

    daemon_threads = False

    def handle_error(self, request: object, client_address: object) -> None:
        """Only what is no broken connection."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


@pytest.fixture
def address() -> Iterator[tuple[str, int]]:
    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield "127.0.0.1", server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("target", ["/whole", "/chunked", ["/whole", "/chunked"]])
def test_whole_answers_are_counted(address: tuple[str, int], target: str | list[str]) -> None:
    found = closed_loop(address, target, clients=3, seconds=0.2)
    assert found["requests_per_second"] > 0
    assert found["not_200"] == 0
    assert 0 < found["p50_ms"] <= found["p99_ms"]


def test_answers_without_a_body(address: tuple[str, int]) -> None:
    assert closed_loop(address, "/whole", clients=1, seconds=0.1, method="HEAD")["not_200"] == 0
    found = closed_loop(address, "/whole", clients=1, seconds=0.1, headers={"If-None-Match": '"x"'}, status=304)
    assert found["requests_per_second"] > 0
    assert found["not_200"] == 0


def test_other_statuses_are_counted_apart(address: tuple[str, int]) -> None:
    found = closed_loop(address, ["/whole", "/missing"], clients=1, seconds=0.2)
    assert found["not_200"] > 0


def test_wrk_is_understood() -> None:
    load = parse_wrk(WRK)
    assert (load.answers, load.rate, load.tool) == (19812, 19804.55, "wrk")
    assert load.p50 == pytest.approx(801e-6)
    assert load.p99 == pytest.approx(1.46)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (WRK + "  Non-2xx or 3xx responses: 5\n", "Non-2xx or 3xx responses: 5"),
        (WRK + "  Socket errors: connect 0, read 3, write 0, timeout 0\n", "read 3"),
        ("something else", "something else"),
        (WRK.replace("99%", "98%"), "something else"),
    ],
)
def test_wrk_with_errors_has_no_figure(text: str, words: str) -> None:
    with pytest.raises(WrongAnswerError, match=words):
        parse_wrk(text)
