"""
The HTTP layer of the query actor without what it asks: one body, the same for every request, in a process of its own.

What a small answer costs above this is what a tree costs. ``python -m benchmarks.constant`` reads the number of bytes
and the body from its input, prints its port, and ends when its input does.
"""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
from types import TracebackType

import trio

from actors.query.answer import Answer, HeaderBlock
from actors.query.http.server import HttpLimits, HttpServer
from benchmarks.checkout import CHECKOUT

#: As many and as long as those of an answer about a view.
_HEADERS = {
    "X-Fustor-View": "main",
    "X-Fustor-Generation": "1795527454376555",
    "X-Fustor-As-Of": "1795527454.123456",
    "X-Fustor-Age": "0.292",
    "X-Fustor-State": "live",
    "X-Fustor-Complete": "true",
}
_ETAG = 'W/"dd2c3ddd-e29d-448c-b484-2cc8234a592c-d84-661091e8ee062-live-f1"'


class Constant:
    """
    One server, as a context manager.

    Args:
        body: what it answers.

    Attributes:
        address: host and port.
        pid: of its process.
    """

    def __init__(self, body: bytes) -> None:
        self._body = body

    def __enter__(self) -> Constant:
        command = [sys.executable, "-m", "benchmarks.constant"]
        self._process = subprocess.Popen(command, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"%d\n" % len(self._body) + self._body)
        self._process.stdin.flush()
        self.address = "127.0.0.1", int(self._process.stdout.readline())
        self.pid = self._process.pid
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


async def _serve(body: bytes) -> None:
    answer = Answer(200, body, HeaderBlock.of(_HEADERS), _ETAG)
    server = HttpServer(lambda request: answer, HttpLimits(), {}, logging.getLogger("constant"))
    stop = trio.Event()
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        print(listener.getsockname()[1], flush=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.serve, listener, stop)
            await trio.lowlevel.wait_readable(sys.stdin.fileno())
            nursery.cancel_scope.cancel()


def main() -> None:
    """Serve until the input ends."""
    size = int(sys.stdin.buffer.readline())
    trio.run(_serve, sys.stdin.buffer.read(size))


if __name__ == "__main__":
    main()
