"""
Where other file systems begin: the mount table of this process, read again when the kernel says that it changed.

Needed because a bind mount has the device number of its origin, so that comparing devices does not see it. See proc(5),
mountinfo.
"""

from __future__ import annotations

import os
import re
import select

_TABLE = "/proc/self/mountinfo"
_ESCAPE = re.compile(rb"\\([0-7]{3})")


def _plain(field: bytes) -> bytes:
    return _ESCAPE.sub(lambda match: bytes([int(match[1], 8)]), field)


class Mounts:
    """
    The mount points below (and at) one directory; nothing is known before the first :meth:`refresh`.

    Args:
        root: absolute path; symbolic links in it are resolved at each reading.
    """

    def __init__(self, root: bytes) -> None:
        self._root = root
        self._fd = os.open(_TABLE, os.O_RDONLY | os.O_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLPRI)
        self._below: frozenset[bytes] = frozenset()
        self._root_is_mount = False
        self._fstype = ""
        self._known = False

    def _read(self) -> None:
        root = os.path.realpath(self._root)
        prefix = root.rstrip(b"/") + b"/"
        below: set[bytes] = set()
        best = b""
        root_is_mount, fstype = False, ""
        # Not through the descriptor that is polled: its position would be shared by all threads.
        with open(_TABLE, "rb") as table:
            lines = table.read().splitlines()
        for line in lines:
            before, _, after = line.partition(b" - ")
            point = _plain(before.split()[4])
            if point.startswith(prefix) and point != root:
                below.add(point[len(prefix) :])
            if point == root:
                root_is_mount = True
            if (prefix.startswith(point.rstrip(b"/") + b"/") or point == root) and len(point) >= len(best):
                best = point
                fstype = after.split()[0].decode("ascii", "replace")
        self._below, self._root_is_mount, self._fstype = frozenset(below), root_is_mount, fstype
        self._known = True

    def refresh(self) -> None:
        """Read the table if it never was, or has changed since. Blocks for as long as the path of the root does."""
        if self._poll.poll(0) or not self._known:
            self._read()

    @property
    def below(self) -> frozenset[bytes]:
        """Mount points below the root, relative to it."""
        return self._below

    @property
    def root_is_mount(self) -> bool:
        """Whether the root itself is a mount point."""
        return self._root_is_mount

    @property
    def fstype(self) -> str:
        """Type of the root's file system, as the kernel names it."""
        return self._fstype

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._fd)
