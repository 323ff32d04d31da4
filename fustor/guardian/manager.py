"""
The service manager that started us, spoken to as sd_notify(3), sd_watchdog_enabled(3) and sd_listen_fds(3) say.

``NOTIFY_SOCKET``: it is told that we are ready, and that we stop. ``WATCHDOG_USEC``: it is told, twice as often as it
asks for, that the loop turns; it ends a guardian that does not say so, and the next one takes over. ``LISTEN_FDS``:
sockets that listen already, and outlive everything here.

What is in the environment is for this process alone: :data:`VARIABLES` are kept from children.

What this module does not do: rely on it. Whatever can't be said is not said.
"""

from __future__ import annotations

import contextlib
import math
import os
import socket
from collections.abc import MutableMapping

#: Of the environment, nobody else's business.
VARIABLES = (b"NOTIFY_SOCKET", b"WATCHDOG_USEC", b"WATCHDOG_PID", b"LISTEN_FDS", b"LISTEN_PID", b"LISTEN_FDNAMES")
#: Seconds until what could not be said, and must be, is said again.
AGAIN_SECONDS = 0.1
#: First descriptor that is handed to us (SD_LISTEN_FDS_START), and how many are believed.
_FIRST, _MOST = 3, 1024


class Manager:
    """
    Args:
        environment: of this process.
    """

    def __init__(self, environment: MutableMapping[bytes, bytes]) -> None:
        address = environment.get(b"NOTIFY_SOCKET", b"")
        # "@" stands for the zero byte of an abstract address.
        self._address = b"\0" + address[1:] if address[:1] == b"@" else address
        self._period = _number(environment.get(b"WATCHDOG_USEC", b"")) / 2e6 if address else 0
        self._due = -math.inf if self._period else math.inf
        self._is_ready = False
        self._now = self._again = math.inf

    def ready(self) -> None:
        """
        Everything that must be there before others may count on us is there. To be called in each turn: it is said
        until it has been sent, for a manager that never hears it ends us.
        """
        if not self._is_ready:
            self._is_ready = self._say(b"READY=1\nSTATUS=keeps its processes")
            self._again = math.inf if self._is_ready else self._now + AGAIN_SECONDS

    def stopping(self) -> None:
        """We have begun to stop."""
        self._say(b"STOPPING=1\nSTATUS=stops its processes")

    def turn(self, now: float) -> None:
        """The loop has turned."""
        self._now = now
        if now >= self._due:
            self._due = now + self._period
            self._say(b"WATCHDOG=1")

    def wake_at(self) -> float | None:
        """When :meth:`turn` wants to be called (monotonic clock); None: never."""
        at = min(self._due, self._again)
        return at if at < math.inf else None

    def _say(self, message: bytes) -> bool:
        """False when it could not be sent: the manager may be restarting, or have no room."""
        if not self._address:
            return True
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.sendto(message, self._address)
            return True
        return False


def take_listening(environment: MutableMapping[bytes, bytes], pid: int) -> list[socket.socket]:
    """
    The sockets that were handed to the process ``pid``, this one; from now on they are in ``environment`` no more.

    What is no socket is left alone, and so is whether a socket blocks, which is the same for all who have it.
    """
    meant, count = _number(environment.get(b"LISTEN_PID", b"")), _number(environment.get(b"LISTEN_FDS", b""))
    for name in (b"LISTEN_PID", b"LISTEN_FDS", b"LISTEN_FDNAMES"):
        environment.pop(name, None)
    if meant != pid:
        return []
    found = []
    for fd in range(_FIRST, _FIRST + min(count, _MOST)):
        try:
            sock = socket.socket(fileno=fd)
        except OSError:
            continue
        os.set_inheritable(fd, False)
        found.append(sock)
    return found


def _number(text: bytes) -> int:
    """A number as a service manager writes it; 0 for anything else."""
    return int(text) if text.isdigit() and len(text) < 20 else 0
