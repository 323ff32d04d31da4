"""
guardian.sock in the run folder: where processes whose guardian was killed come to its successor, and where payloads
leave descriptors.

SOCK_SEQPACKET, one connection per process, one JSON object each way. The process says
``{"join": name, "pid", "born", "token", "fds": [names]}`` and sends its listening sockets along (SCM_RIGHTS); the
kernel proves who it is (SO_PEERCRED). The answer is ``{"welcome": pid of the guardian}`` or ``{"refused": why}``. The
connection of a control actor is its keeper channel from then on; others are closed. A payload that ends says ``{"keep":
its name, "pid", "token", "fds": [names]}`` with any descriptors, for the next one of its name (``kept``), and is
answered in the same way.

What this module does not do: decide who is welcome.
"""

from __future__ import annotations

import array
import contextlib
import errno
import json
import os
import socket
import stat
import struct

from fustor.guardian import requests
from fustor.guardian.channel import MAX_PACKET
from fustor.guardian.errors import RefusedError

NAME = "guardian.sock"
#: Descriptors in one message: SCM_MAX_FD of the kernel.
_MOST_FDS = 253


class Visitor:
    """
    A connection.

    Args:
        sock: connected; owned.

    Attributes:
        pid: of the process at the other end, as the kernel says.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        sock.setblocking(False)
        self.pid, self._uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._socket.fileno()

    def receive(self) -> tuple[requests.Join | requests.Keep, dict[str, int]]:
        """
        What it says, and the descriptors that it brings, by name; of who joins they are sockets.

        Raises:
            RefusedError: it is not who it says, or that is not understood.
            OSError: it is gone, or we have no descriptors left for what it brings.
        """
        size = socket.CMSG_SPACE(_MOST_FDS * 4)
        packet, ancillary, flags, _ = self._socket.recvmsg(MAX_PACKET, size, socket.MSG_CMSG_CLOEXEC)
        brought = _descriptors(ancillary)
        try:
            if not packet:
                raise ConnectionResetError
            if flags & socket.MSG_CTRUNC:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            fields = requests.parse(packet)
            said = requests.Keep(fields) if "keep" in fields else requests.Join(fields)
            if said.pid != self.pid or self._uid not in (0, os.geteuid()):
                raise RefusedError("pid", said.pid, f"{self.pid}, the pid of the process itself, is accepted")
            if not len(set(said.fds)) == len(said.fds) == len(brought):
                raise RefusedError("fds", said.fds, f"as many names as descriptors ({len(brought)}) are accepted")
            for fd in brought if isinstance(said, requests.Join) else ():
                if not stat.S_ISSOCK(os.fstat(fd).st_mode):
                    raise RefusedError("fds", said.fds, "sockets are accepted")
        except (RefusedError, OSError):
            for fd in brought:
                os.close(fd)
            raise
        return said, dict(zip(said.fds, brought, strict=True))

    def welcome(self) -> None:
        """It belongs to us now."""
        self._say({"welcome": os.getpid()})

    def refuse(self, why: str) -> None:
        """It does not; it will exit."""
        self._say({"refused": why})

    def detach(self) -> socket.socket:
        """Its socket, for a channel."""
        return self._socket

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def _say(self, message: dict[str, object]) -> None:
        # It is gone, or does not read (its queue is empty, so a single packet always fits): its pidfd tells.
        with contextlib.suppress(OSError):
            self._socket.send(json.dumps(message).encode())


class Gate:
    """
    The listening end; replaces what an earlier guardian left under the name.

    Args:
        fd: of one that listens already; -1: a new one.

    Raises:
        OSError: it can't be made.
    """

    def __init__(self, fd: int = -1) -> None:
        if fd >= 0:
            self._socket = socket.socket(fileno=fd)
            return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(NAME)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        try:
            self._socket.bind(NAME)
            self._socket.listen(1024)
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """Readable when somebody has come."""
        return self._socket.fileno()

    def close(self) -> None:
        """Nobody can come any more."""
        self._socket.close()

    def accept(self) -> Visitor | None:
        """The next one who has come."""
        try:
            return Visitor(self._socket.accept()[0])
        except (BlockingIOError, ConnectionError):
            return None


def _descriptors(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    """The descriptors in what recvmsg(2) returned beside the data."""
    fds = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return fds.tolist()
