"""
Asks for paths at a steady pace and writes down what came, as a process: ``python -m benchmarks.chaos.asking``.

Its input is one line, the JSON of :func:`start`; it ends when its input does. A GET that failed is sent once more, on
another connection; each failure is written down. Who keeps connections looks before each question whether the server
has closed its one, as HTTP clients do, and then takes another.

What this module does not do: judge what came (``answers`` does), except whether it is JSON with the fields of a node.
"""

from __future__ import annotations

import http.client
import itertools
import json
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs

from benchmarks.chaos.answers import STATES, Asked, Failure
from benchmarks.checkout import CHECKOUT

#: Seconds that a server may be silent: above what any repair takes.
PATIENCE = 30.0


@attrs.frozen
class Asker:
    """
    Attributes:
        name: of what is written down.
        targets: asked for in turn.
        per_second: how often. Who was late asks no more often for it.
        keeps: its connection; else there is one for each question.
        lists: the files of its answers are written down as well.
    """

    name: str
    targets: tuple[str, ...]
    per_second: float
    keeps: bool = False
    lists: bool = False


def start(address: tuple[str, int], askers: Sequence[Asker], folder: Path, name: str) -> subprocess.Popen[str]:
    """
    Let them ask, each in a thread of one process, until its standard input is closed.

    Args:
        folder: what came is in ``<name>.answers`` (see :class:`~benchmarks.chaos.answers.Asked`), and the files of the
            answers in ``<name>.files``: JSON arrays of asker, as_of, when it came (both in seconds since 1970), and an
            object name → size.
    """
    told = {"address": address, "askers": [attrs.asdict(one) for one in askers], "path": str(folder / name)}
    command = [sys.executable, "-m", "benchmarks.chaos.asking"]
    process = subprocess.Popen(command, cwd=CHECKOUT, stdin=subprocess.PIPE, text=True)
    assert process.stdin is not None
    process.stdin.write(json.dumps(told) + "\n")
    process.stdin.flush()
    return process


class Mouth:
    """
    One who asks.

    Args:
        address: host and port.
        asker: what, and how.
        written: is given each answer.
        listed: is given as_of, when it came, and name → size.
    """

    def __init__(
        self,
        address: tuple[str, int],
        asker: Asker,
        written: Callable[[Asked], None],
        listed: Callable[[float, float, dict[str, int]], None],
    ) -> None:
        self._address = address
        self._asker = asker
        self._written = written
        self._listed = listed
        self._connection: http.client.HTTPConnection | None = None
        self._begun = self._kept = False

    def run(self, stopped: threading.Event) -> None:
        """Ask until ``stopped``."""
        targets = itertools.cycle(self._asker.targets)
        due = time.perf_counter()
        while not stopped.wait(max(0.0, due - time.perf_counter())):
            due = max(due + 1 / self._asker.per_second, time.perf_counter())
            self._written(self.ask(next(targets)))
        self.close()

    def ask(self, target: str) -> Asked:
        """One question, asked once more where it fails."""
        failures: list[Failure] = []
        begin = time.perf_counter()
        for _ in range(2):
            try:
                status, body = self._get(target)
            except (OSError, http.client.HTTPException) as error:
                failures.append(failure_of(error, begun=self._begun, kept=self._kept))
                self.close()
                continue
            received = time.time()
            seconds = time.perf_counter() - begin
            node = _node(body) if status == 200 else {}
            if self._asker.lists and node.get("as_of") is not None and "children" in node:
                self._listed(node["as_of"], received, _files(node))
            return Asked(
                self._asker.name,
                begin,
                seconds,
                status,
                len(body),
                tuple(failures),
                bool(node) or status != 200,
                node.get("state", ""),
                node.get("generation", 0),
                node.get("as_of"),
            )
        return Asked(self._asker.name, begin, time.perf_counter() - begin, 0, 0, tuple(failures))

    def is_closed(self) -> bool:
        """It has no connection, or the server has closed it: nothing else comes between two questions."""
        connection = self._connection
        return connection is None or connection.sock is None or bool(select.select([connection.sock], [], [], 0)[0])

    def _get(self, target: str) -> tuple[int, bytes]:
        self._begun, self._kept = False, True
        if self.is_closed():
            self._kept = False
            self.close()
            self._connection = http.client.HTTPConnection(*self._address, timeout=PATIENCE)
            self._connection.connect()
            self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = self._connection
        assert connection is not None
        connection.request("GET", target)
        response = connection.getresponse()
        self._begun = True
        body = response.read()
        if not self._asker.keeps:
            self.close()
        return response.status, body

    def close(self) -> None:
        """Close its connection, if it has one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def failure_of(error: OSError | http.client.HTTPException, *, begun: bool, kept: bool) -> Failure:
    """In one word; ``begun``: the head of an answer had come; ``kept``: on a connection that had been used before."""
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    if isinstance(error, TimeoutError):
        return "timeout"
    if begun:
        return "cut"
    if not isinstance(error, OSError):
        return "malformed"
    if kept:
        return "kept"
    return "closed" if isinstance(error, http.client.RemoteDisconnected) else "reset"


def _node(body: bytes) -> dict[str, Any]:
    """The root node of a body; empty when it is none."""
    try:
        node = json.loads(body)
    except ValueError:
        return {}
    if not isinstance(node, dict) or not isinstance(node.get("generation"), int) or node.get("state") not in STATES:
        return {}
    return node


def _files(node: dict[str, Any]) -> dict[str, int]:
    return {child["name"]: child["size"] for child in node["children"] if child["content_type"] == "file"}


def main() -> None:
    """Ask until the input ends."""
    sys.setswitchinterval(0.0005)  # what one waits for the others is not the server's doing
    told = json.loads(sys.stdin.readline())
    lock, stopped = threading.Lock(), threading.Event()
    with open(told["path"] + ".answers", "w") as answers, open(told["path"] + ".files", "w") as files:

        def written(one: Asked) -> None:
            with lock:
                answers.write(one.line() + "\n")
                answers.flush()

        threads = []
        for one in told["askers"]:
            asker = Asker(**{**one, "targets": tuple(one["targets"])})

            def listed(as_of: float, received: float, sizes: dict[str, int], name: str = asker.name) -> None:
                with lock:
                    files.write(json.dumps([name, as_of, received, sizes]) + "\n")

            mouth = Mouth(tuple(told["address"]), asker, written, listed)
            threads.append(threading.Thread(target=mouth.run, args=(stopped,)))
            threads[-1].start()
        sys.stdin.read()
        stopped.set()
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    main()
