"""
What is left out of a source because this host says so (``[deny]``), by directory, owner and size.

A directory is left out by its path, symbolic links in it resolved, and by its identity (device and inode) as it was
when the actor began: so it is left out too where it is mounted a second time, or was renamed.

What this module does not do: know patterns, which the source's own configuration has.
"""

from __future__ import annotations

import os
import stat

import attrs

from fustor.runtime.deny import DataDeny
from protocols.errors import ConfigError


@attrs.frozen
class Denied:
    """
    Attributes:
        paths: directories below the root.
        identities: (device, inode) of directories.
        uids: owners.
        file_bytes: larger files; 0 for none.
    """

    paths: frozenset[bytes]
    identities: frozenset[tuple[int, int]]
    uids: frozenset[int]
    file_bytes: int

    def hides(self, path: bytes, status: os.stat_result) -> bool:
        """Whether an entry (path below the root, its lstat) is left out; its parent is not."""
        if status.st_uid in self.uids:
            return True
        if stat.S_ISDIR(status.st_mode):
            return path in self.paths or (status.st_dev, status.st_ino) in self.identities
        return 0 < self.file_bytes < status.st_size and stat.S_ISREG(status.st_mode)

    def hides_directory(self, path: bytes, status: os.stat_result) -> bool:
        """Whether a directory is left out, by itself or by what is above it."""
        if self.hides(path, status):
            return True
        return any(path[: len(one) + 1] == one + b"/" for one in self.paths)


def denied(deny: DataDeny, root: bytes) -> Denied | None:
    """
    What is left out of the source at ``root``; None for nothing.

    Raises:
        ConfigError: all of it.
    """
    if not (deny.directories or deny.uids or deny.file_bytes):
        return None
    top = os.path.realpath(root).rstrip(b"/") + b"/"
    paths, identities = set(), set()
    for directory in deny.directories:
        real = os.path.realpath(os.fsencode(directory)).rstrip(b"/") + b"/"
        if top.startswith(real):
            accepted = f"a directory that this host does not deny is accepted (deny.directories: {directory})"
            raise ConfigError("source.root", os.fsdecode(root), accepted)
        if real.startswith(top):
            paths.add(real[len(top) : -1])
        try:
            status = os.stat(real)
        except OSError:
            continue  # it is not there, or can't be reached: its path is all there is
        identities.add((status.st_dev, status.st_ino))
    return Denied(frozenset(paths), frozenset(identities), frozenset(deny.uids), deny.file_bytes)
