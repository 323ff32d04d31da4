"""
Processes that an earlier guardian started: held by pidfds, awaited until they have joined.

What this module does not do: enter them in the table, or decide how long they are awaited.
"""

from __future__ import annotations

import os
import socket

from fustor.guardian import pidfd
from fustor.guardian.table import Exit


class _Survivor:
    __slots__ = ("born", "fd", "joined")

    def __init__(self, fd: int, born: int, joined: bool) -> None:
        self.fd = fd
        self.born = born
        self.joined = joined


class Survivors:
    """By pid. Their descriptors are owned."""

    def __init__(self) -> None:
        self._held: dict[int, _Survivor] = {}

    def __contains__(self, pid: int) -> bool:
        return pid in self._held

    def __len__(self) -> int:
        return len(self._held)

    def hold(self, pid: int, born: int) -> bool:
        """
        Take hold of a process, which is awaited from now on; False when it has ended.

        Raises:
            OSError: we have no descriptors left.
        """
        if pid not in self._held:
            fd = pidfd.hold(pid, born)
            if fd < 0:
                return False
            self._held[pid] = _Survivor(fd, born, joined=False)
        return True

    def fileno(self, pid: int) -> int:
        """The pidfd of one: readable once it has ended."""
        return self._held[pid].fd

    def pids(self) -> list[int]:
        """All of them."""
        return list(self._held)

    def awaited(self) -> list[int]:
        """Those that have not joined yet."""
        return [pid for pid, one in self._held.items() if not one.joined]

    def join(self, pid: int) -> None:
        """It has joined."""
        self._held[pid].joined = True

    def send(self, pid: int, number: int) -> bool:
        """Signal one; see :func:`fustor.guardian.pidfd.send`."""
        return pidfd.send(self._held[pid].fd, number)

    def listening_socket(self, pid: int, name: str) -> socket.socket | None:
        """See :func:`fustor.guardian.pidfd.listening_socket`."""
        return pidfd.listening_socket(self._held[pid].fd, pid, name)

    def release(self, pid: int) -> Exit:
        """It has ended: how. It is no longer held."""
        one = self._held.pop(pid)
        ended = pidfd.status(one.fd, pid, one.born)
        os.close(one.fd)
        return ended

    # -- through an execve ------------------------------------------------------------------------------------------

    def as_json(self) -> list[tuple[int, int, int]]:
        """Pid, pidfd and start of each, of which none is awaited any more. The descriptors have to be inherited."""
        return [(pid, one.fd, one.born) for pid, one in self._held.items()]

    def restore(self, data: list[tuple[int, int, int]]) -> None:
        """From :meth:`as_json`."""
        self._held = {pid: _Survivor(fd, born, joined=True) for pid, fd, born in data}
