"""Random changes of a directory tree: everything a file system lets one do, with names that are hard to bear."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket

_NAMES = [
    b"a",
    b"b",
    b"c",
    b"d",
    b"e",
    b"with space",
    b"new\nline",
    b'quo"te',
    b"\xff\xfe",
    b"\x01",
    b"\\",
    "ünï".encode(),
    b"x" * 255,
]


class Mischief:
    """
    Works below ``root``; ``outside`` is a folder beside it, for what moves out and in again.

    Without ``links`` no file gets a second name: the first one's number of links is not followed by events
    (docs/adr/0008-what-a-watermark-claims.md).
    """

    def __init__(self, root: bytes, outside: bytes, rng: random.Random, *, links: bool = True) -> None:
        self.root = root
        self.outside = outside
        self.rng = rng
        self._links = links
        self._parked = 0
        #: Inodes that have had more than one name at some moment.
        self.linked: set[int] = set()

    def _dirs(self) -> list[bytes]:
        found = [self.root]
        for at in found:
            if at.count(b"/") - self.root.count(b"/") > 12:
                continue
            found.extend(e.path for e in os.scandir(at) if e.is_dir(follow_symlinks=False))
        return found

    def _some_dir(self) -> bytes:
        return self.rng.choice(self._dirs())

    def _free(self) -> bytes:
        return self._some_dir() + b"/" + self.rng.choice(_NAMES)

    def _some(self) -> bytes | None:
        entries = [e.path for e in os.scandir(self._some_dir())]
        return self.rng.choice(entries) if entries else None

    def do(self) -> None:
        """One change. Those that the file system refuses (a name taken, a loop) are no change."""
        kinds = [self.write] * 3 + [self.mkdir] * 2 + [self.rename] * 3
        kinds += [self.append, self.truncate, self.chmod, self.touch, self.makedirs, self.delete, self.remove_tree]
        kinds += [self.link, self.symlink, self.special, self.move_out, self.move_in, self.replace]
        if not self._links:
            kinds.remove(self.link)
        with contextlib.suppress(OSError):
            self.rng.choice(kinds)()

    def write(self) -> None:
        # Not blocking: the name may be a fifo.
        fd = os.open(self._free(), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK)
        try:
            os.write(fd, b"x" * self.rng.randrange(100))
        finally:
            os.close(fd)

    def append(self) -> None:
        at = self._some()
        if at and os.path.isfile(at) and not os.path.islink(at):
            with open(at, "ab") as file:
                file.write(b"more")

    def truncate(self) -> None:
        at = self._some()
        if at and os.path.isfile(at) and not os.path.islink(at):
            os.truncate(at, self.rng.randrange(5))

    def chmod(self) -> None:
        at = self._some()
        if at and not os.path.islink(at):
            os.chmod(at, self.rng.choice([0o600, 0o755, 0o700]))

    def touch(self) -> None:
        at = self._some()
        if at:
            when = self.rng.choice([0, 10**18, 2_600_000_000 * 10**9, self.rng.randrange(10**18)])
            os.utime(at, ns=(when, when), follow_symlinks=False)

    def mkdir(self) -> None:
        os.mkdir(self._free())

    def makedirs(self) -> None:
        deep = self._some_dir()
        for _ in range(self.rng.randrange(1, 5)):
            deep += b"/" + self.rng.choice(_NAMES[:6])
        os.makedirs(deep, exist_ok=True)
        with open(deep + b"/f", "wb"):
            pass

    def rename(self) -> None:
        at = self._some()
        if at:
            os.rename(at, self._free())

    def replace(self) -> None:
        """A file where a directory was, or the other way round."""
        at = self._some()
        if at:
            if os.path.isdir(at) and not os.path.islink(at):
                shutil.rmtree(at)
                with open(at, "wb"):
                    pass
            else:
                os.unlink(at)
                os.mkdir(at)

    def delete(self) -> None:
        at = self._some()
        if at:
            os.rmdir(at) if os.path.isdir(at) and not os.path.islink(at) else os.unlink(at)

    def remove_tree(self) -> None:
        at = self._some_dir()
        if at != self.root:
            shutil.rmtree(at)

    def link(self) -> None:
        at = self._some()
        if at and not os.path.isdir(at):
            os.link(at, self._free(), follow_symlinks=False)
            self.linked.add(os.lstat(at).st_ino)

    def symlink(self) -> None:
        os.symlink(self.rng.choice([b".", b"..", b"nowhere", b"/"]), self._free())

    def special(self) -> None:
        at = self._free()
        if self.rng.random() < 0.5:
            os.mkfifo(at)
        elif len(at) < 100:
            with socket.socket(socket.AF_UNIX) as made:
                made.bind(at)

    def move_out(self) -> None:
        at = self._some()
        if at:
            self._parked += 1
            os.rename(at, self.outside + b"/parked%d" % self._parked)

    def move_in(self) -> None:
        parked = [e.path for e in os.scandir(self.outside) if e.name.startswith(b"parked")]
        if parked:
            os.rename(self.rng.choice(parked), self._free())
