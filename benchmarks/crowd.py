"""
A crowd of clients that behave badly, as a process of its own.

    python -m benchmarks.crowd HOST PORT TARGET KIND COUNT

Kinds: ``idle`` (ask once, then nothing), ``headers`` (a header line every second, never the last one), ``readers`` (ask
for TARGET, take a few bytes a second), ``pipeline`` (64 questions at once, again and again).

Prints one line when all of them are there, and when its input ends another one, both JSON: how many are connected, how
many were refused, how many the server has ended.
"""

from __future__ import annotations

import errno
import json
import resource
import select
import socket
import subprocess
import sys
import time
from typing import Any

from benchmarks.checkout import CHECKOUT

#: Questions of one pipeline, and seconds between two rounds of those who are slow.
_PIPELINE, _SLOW = 64, 1.0
#: Addresses of this host that the crowd comes from: each has ports of its own.
_PER_ADDRESS = 20_000


class Crowd:
    """Args: address: of the server; target: what is asked for; kind, count: of the clients."""

    def __init__(self, address: tuple[str, int], target: str, kind: str, count: int) -> None:
        self._address = address
        question = f"GET {target} HTTP/1.1\r\nHost: fustor\r\n"
        self._first = {
            "idle": question + "\r\n",
            "headers": question,
            "readers": question + "\r\n",
            "pipeline": (question + "\r\n") * _PIPELINE,
        }[kind].encode()
        self._kind = kind
        self._count = count
        self._poll = select.epoll()
        self._members: dict[int, socket.socket] = {}
        self.refused = self.ended = self.answers = 0

    def gather(self) -> None:
        """Everybody comes."""
        for number in range(self._count):
            member = socket.socket()
            if self._kind == "readers":
                member.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            member.bind((f"127.0.1.{1 + number // _PER_ADDRESS}", 0))
            try:
                member.connect(self._address)
                member.sendall(self._first)
            except OSError as error:
                if error.errno == errno.ECONNREFUSED:
                    self.refused += 1
                else:
                    self.ended += 1
                member.close()
                continue
            member.setblocking(False)
            self._members[member.fileno()] = member
            if self._kind != "readers":
                self._poll.register(member, select.EPOLLIN)
            if not number % 64:
                self._hear(0)

    def state(self) -> dict[str, int]:
        """Counts so far."""
        return {"connected": len(self._members), "refused": self.refused, "ended": self.ended, "answers": self.answers}

    def behave(self) -> None:
        """Badly, until the input ends."""
        due = time.monotonic()
        while not select.select([sys.stdin], [], [], 0)[0]:
            self._hear(0.05)
            if time.monotonic() >= due:
                due = time.monotonic() + _SLOW
                for fd in list(self._members):
                    self._annoy(fd)

    def _annoy(self, fd: int) -> None:
        try:
            if self._kind == "headers":
                self._members[fd].send(b"X-Slow: 1\r\n")
            elif self._kind == "readers" and not self._members[fd].recv(64):
                self._gone(fd)
        except BlockingIOError:
            pass
        except OSError:
            self._gone(fd)

    def _hear(self, seconds: float) -> None:
        for fd, _ in self._poll.poll(seconds):
            member = self._members[fd]
            try:
                data = member.recv(1 << 18)
            except BlockingIOError:
                continue
            except OSError:
                data = b""
            if not data:
                self._gone(fd)
                continue
            found = data.count(b"HTTP/1.1 200")
            self.answers += found
            if self._kind == "pipeline" and found:
                self._again(fd, found)

    def _again(self, fd: int, count: int) -> None:
        try:
            self._members[fd].send(self._first[: len(self._first) // _PIPELINE * count])
        except OSError:
            self._gone(fd)

    def _gone(self, fd: int) -> None:
        self.ended += 1
        member = self._members.pop(fd)
        if self._kind != "readers":
            self._poll.unregister(member)
        member.close()


def start(address: tuple[str, int], target: str, kind: str, count: int) -> subprocess.Popen[str]:
    """A crowd that gathers; close its standard input to end it."""
    command = [sys.executable, "-m", "benchmarks.crowd", address[0], str(address[1]), target, kind, str(count)]
    return subprocess.Popen(command, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def heard(crowd: subprocess.Popen[str]) -> dict[str, Any]:
    """Its next line."""
    assert crowd.stdout is not None
    found: dict[str, Any] = json.loads(crowd.stdout.readline())
    return found


def descriptors(wanted: int) -> int:
    """As many as this process may have, at most those and some more; to be asked before a crowd is sized."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted + 64 if hard == resource.RLIM_INFINITY else min(hard, wanted + 64)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return most


def main(host: str, port: str, target: str, kind: str, count: str) -> None:
    """Gather, and behave until the input ends."""
    crowd = Crowd((host, int(port)), target, kind, min(int(count), descriptors(int(count)) - 64))
    crowd.gather()
    print(json.dumps(crowd.state()), flush=True)
    crowd.behave()
    print(json.dumps(crowd.state()), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
