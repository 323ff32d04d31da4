"""
The oracle: what really is on the disk, by a walk of its own.

Bytes-exact lstat through directory descriptors, independent of any code under test.
"""

from __future__ import annotations

import os
import stat

import attrs


@attrs.frozen
class Entry:
    """One entry as lstat sees it. ``size`` is 0 for directories: file systems count them differently."""

    type: str
    size: int
    mtime_ns: int
    ino: int
    mode: int
    nlink: int
    target: bytes = b""


_TYPES = {
    stat.S_IFDIR: "directory",
    stat.S_IFREG: "file",
    stat.S_IFLNK: "symlink",
    stat.S_IFSOCK: "socket",
    stat.S_IFIFO: "fifo",
    stat.S_IFBLK: "block",
    stat.S_IFCHR: "char",
}


def entry_of(status: os.stat_result, target: bytes = b"") -> Entry:
    """An entry of a stat result."""
    kind = _TYPES[stat.S_IFMT(status.st_mode)]
    return Entry(
        kind,
        0 if kind == "directory" else status.st_size,
        status.st_mtime_ns,
        status.st_ino,
        status.st_mode,
        status.st_nlink,
        target,
    )


def walk(root: bytes) -> dict[bytes, Entry]:
    """Everything below ``root`` (and the root itself as ``b""``) by its path; other devices are not entered."""
    found: dict[bytes, Entry] = {}
    top = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    device = os.fstat(top).st_dev
    found[b""] = entry_of(os.fstat(top))
    stack = [(top, b"")]
    while stack:
        fd, path = stack.pop()
        try:
            for text in os.listdir(fd):
                name = os.fsencode(text)
                try:
                    status = os.stat(name, dir_fd=fd, follow_symlinks=False)
                except FileNotFoundError:
                    continue
                below = path + b"/" + name if path else name
                target = os.readlink(name, dir_fd=fd) if stat.S_ISLNK(status.st_mode) else b""
                found[below] = entry_of(status, target)
                if stat.S_ISDIR(status.st_mode) and status.st_dev == device:
                    try:
                        stack.append((os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd), below))
                    except PermissionError:
                        continue
        finally:
            os.close(fd)
    return found


@attrs.frozen
class Difference:
    """What a tree lacks, has too much, and has wrong, against the disk."""

    missing: frozenset[bytes]
    extra: frozenset[bytes]
    wrong: tuple[tuple[bytes, Entry, Entry], ...]

    def __bool__(self) -> bool:
        return bool(self.missing or self.extra or self.wrong)

    def __str__(self) -> str:
        lines = [f"missing {len(self.missing)} extra {len(self.extra)} wrong {len(self.wrong)}"]
        lines += [f"missing {path!r}" for path in sorted(self.missing)[:8]]
        lines += [f"extra {path!r}" for path in sorted(self.extra)[:8]]
        lines += [f"wrong {path!r}: disk {disk} tree {tree}" for path, disk, tree in self.wrong[:8]]
        return "\n".join(lines)


def compare(disk: dict[bytes, Entry], tree: dict[bytes, Entry]) -> Difference:
    """The difference of a tree from the disk."""
    return Difference(
        missing=frozenset(disk.keys() - tree.keys()),
        extra=frozenset(tree.keys() - disk.keys()),
        wrong=tuple(
            (path, disk[path], tree[path]) for path in sorted(disk.keys() & tree.keys()) if disk[path] != tree[path]
        ),
    )
