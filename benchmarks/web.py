"""
Questions over HTTP as the benchmarks ask them: one connection, blocking, standard library.

A load of many clients is in ``benchmarks.load``.
"""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

import attrs

from benchmarks.errors import WrongAnswerError

#: Seconds that a server may be silent.
PATIENCE = 60.0
_PIECE = 1 << 20
#: Every node of an answer has this once, whoever serves it.
NODE = b'"content_type":'


@attrs.frozen
class Answer:
    """Attributes: status; headers with lower-case names; body; seconds from sending to the last byte."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float

    @property
    def json(self) -> Any:
        """The body, decoded. Raises WrongAnswerError when it is no JSON."""
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise WrongAnswerError(f"not JSON: {error}: {self.body[:80]!r}") from None


@attrs.frozen
class Download:
    """
    A long answer that was read and thrown away.

    Attributes:
        first: seconds to the first byte of the body.
        seconds: to the last.
        size: bytes of the body.
        nodes: how many it has; -1 if they were not counted.
    """

    first: float
    seconds: float
    size: int
    nodes: int


class Connection:
    """
    One keep-alive connection. A context manager.

    Args:
        address: host and port.
        headers: sent with every request.
    """

    def __init__(self, address: tuple[str, int], headers: Mapping[str, str]) -> None:
        self._headers = dict(headers)
        self._connection = http.client.HTTPConnection(*address, timeout=PATIENCE)
        self._connection.connect()
        self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._connection.close()

    def ask(self, target: str, method: str = "GET", headers: Mapping[str, str] | None = None) -> Answer:
        """One question and its whole answer, whatever its status."""
        start = time.perf_counter()
        self._connection.request(method, target, headers={**self._headers, **(headers or {})})
        response = self._connection.getresponse()
        body = response.read()
        seconds = time.perf_counter() - start
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, body, seconds)

    def node(self, target: str) -> dict[str, Any]:
        """The root node of an answer. Raises WrongAnswerError: not 200, or no node."""
        answer = self.ask(target)
        if answer.status != 200:
            raise WrongAnswerError(f"{target}: {answer.status} {answer.body[:200]!r}")
        node = answer.json
        if not isinstance(node, dict):
            raise WrongAnswerError(f"{target}: no node: {answer.body[:80]!r}")
        return node

    def download(self, target: str, *, count: bool) -> Download:
        """
        Read a long answer.

        Args:
            target: what.
            count: count the nodes, which takes time of its own.

        Raises:
            WrongAnswerError: not 200, or cut short.
        """
        piece = memoryview(bytearray(_PIECE))
        tail = b""
        size = 0
        nodes = 0 if count else -1
        first = 0.0
        start = time.perf_counter()
        self._connection.request("GET", target, headers=self._headers)
        response = self._connection.getresponse()
        if response.status != 200:
            raise WrongAnswerError(f"{target}: {response.status} {response.read(200)!r}")
        try:
            while got := response.readinto(piece):
                first = first or time.perf_counter() - start
                size += got
                if count:
                    data = tail + piece[:got].tobytes()
                    nodes += data.count(NODE)
                    # One byte less than the word: it can't be counted twice.
                    tail = data[-(len(NODE) - 1) :]
        except http.client.IncompleteRead:
            raise WrongAnswerError(f"{target}: cut short after {size} bytes") from None
        if response.length:
            raise WrongAnswerError(f"{target}: {response.length} bytes are missing")
        return Download(first, time.perf_counter() - start, size, nodes)


def until(condition: Callable[[], Any], what: str, patience: float, pause: float) -> Any:
    """
    The first true value of ``condition``, asked every ``pause`` seconds.

    Raises:
        WrongAnswerError: it did not become true within ``patience`` seconds; names ``what``.
    """
    deadline = time.monotonic() + patience
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise WrongAnswerError(f"waited {patience:g} s for {what}")
        time.sleep(pause)
    return value
