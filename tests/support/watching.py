"""The watcher's end of a scanner's connections, one step at a time: gives its inotify and work, takes findings."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import zmq
from inotify_simple import INotify

from actors.watcher.inotify import MASK, Event, parse
from fustor.runtime.sockets import open_socket
from protocols.codec import DATA_LIMITS, decode, encode, pack, unpack
from protocols.data import Found, Row, Stuck, Task, Unstuck, Work

PATIENCE_MS = 15_000

Rows = tuple[tuple[Row, ...], ...]


class WatchingSide:
    """For one source ``data`` with one scanner, in ``run_dir``."""

    def __init__(self, run_dir: Path, *, epoch: int = 1) -> None:
        self.epoch = epoch
        self.channel_path = str(run_dir / "inotify.data")
        self._run_dir = run_dir
        self.found_endpoint = f"ipc://{run_dir}/found.data"
        self.inotify = INotify(nonblocking=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(self.channel_path)
        self._listener.listen(4)
        self._listener.settimeout(PATIENCE_MS / 1000)
        self._context = zmq.Context()
        self._work: zmq.Socket[bytes] | None = None
        self._serial = 0
        self._found = open_socket(self._context, zmq.PULL, bind=self.found_endpoint, max_size=DATA_LIMITS.size)
        self._found.rcvtimeo = PATIENCE_MS
        self._numbers = 0
        self._connection: socket.socket | None = None

    def accept(self) -> dict[str, Any]:
        """Let a scanner in, in the place of the one before; what it said of itself."""
        self.hang_up()
        connection, _ = self._listener.accept()
        connection.settimeout(PATIENCE_MS / 1000)
        hello: dict[str, Any] = unpack(connection.recv(4096))
        self._serial += 1
        endpoint = f"ipc://{self._run_dir}/work.data.0.{self._serial}"
        self._work = open_socket(self._context, zmq.PUSH, bind=endpoint, hwm=16)
        self._work.sndtimeo = PATIENCE_MS
        greeting = {"epoch": self.epoch, "mask": MASK, "work": endpoint}
        socket.send_fds(connection, [pack(greeting)], [self.inotify.fileno()])
        self._connection = connection
        return hello

    def hang_up(self) -> None:
        """End the scanner's connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._work is not None:
            self._work.close(0)
            self._work = None

    def scanner_is_gone(self) -> bool:
        """Wait for the scanner's end of file."""
        assert self._connection is not None
        return self._connection.recv(1) == b""

    def give(self, *tasks: Task) -> int:
        """Hand out work; its number."""
        self._numbers += 1
        self.give_raw(encode(Work(epoch=self.epoch, number=self._numbers, tasks=tasks)))
        return self._numbers

    def give_raw(self, frame: bytes) -> None:
        """Hand out something else."""
        assert self._work is not None
        self._work.send(frame)

    def take(self) -> tuple[Found | Stuck | Unstuck, Rows]:
        """The next message and its rows."""
        frames = self._found.recv_multipart()
        message: Any = decode(frames[0], Found, Stuck, Unstuck, limits=DATA_LIMITS)
        return message, unpack(frames[1], DATA_LIMITS) if len(frames) > 1 else ()

    def events(self) -> list[Event]:
        """What inotify tells now."""
        try:
            return list(parse(os.read(self.inotify.fileno(), 1 << 16)))
        except BlockingIOError:
            return []

    def close(self) -> None:
        """Give everything back."""
        self.hang_up()
        self._listener.close()
        self.inotify.close()
        self._found.close(0)
        self._context.term()
