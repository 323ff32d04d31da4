"""
The regular files of one directory, and one of them opened: relative to the root, never through a symbolic link.

What this module does not do: decide which files are parsed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence

import attrs

from fustor.selection.denied import Denied
from fustor.selection.patterns import Takes

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
#: Size, mtime_ns, ctime_ns, ino: what a file is as long as nobody changes it.
Identity = tuple[int, int, int, int]


def identity_of(status: os.stat_result) -> Identity:
    """Of a file, from its lstat."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


@attrs.frozen
class Place:
    """
    The files of one source.

    Attributes:
        root: absolute path.
        takes: which paths belong to it, None for all.
        denied: what this host leaves out, None for nothing.
    """

    root: bytes
    takes: Takes | None
    denied: Denied | None

    def open(self, path: bytes) -> int:
        """
        A directory below the root.

        Raises:
            OSError: it is not there, or is left out.
        """
        fd = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        for name in path.split(b"/") if path else ():
            try:
                inner = os.open(name, _DIRECTORY, dir_fd=fd)
            finally:
                os.close(fd)
            fd = inner
        if self.denied is not None and self.denied.hides_directory(path, os.fstat(fd)):
            os.close(fd)
            raise PermissionError(1, "this host leaves it out")
        return fd

    def files(self, fd: int, path: bytes, names: Sequence[bytes] | None) -> Iterator[tuple[bytes, os.stat_result]]:
        """
        The regular files of the directory ``fd``, which is ``path``, in order of their names; those of ``names`` only,
        unless that is None.
        """
        prefix = path + b"/" if path else b""
        # Listed by a descriptor, names are text; they become bytes again as they were.
        listed = sorted(map(os.fsencode, os.listdir(fd))) if names is None else sorted(names)
        for name in listed:
            try:
                status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            except OSError:
                continue  # it went meanwhile, or the scanners say why it can't be had
            if not stat.S_ISREG(status.st_mode):
                continue
            if self.takes is not None and not self.takes(prefix + name, False):
                continue
            if self.denied is not None and self.denied.hides(prefix + name, status):
                continue
            yield name, status


def open_file(fd: int, name: bytes) -> int:
    """
    A file of the directory ``fd``, for reading.

    Raises:
        OSError: it can't be.
    """
    return os.open(name, _FILE, dir_fd=fd)
