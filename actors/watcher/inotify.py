"""
The kernel's inotify records: which are asked for, and how they are taken apart. See inotify(7).

Not asked for: OPEN, ACCESS, CLOSE_NOWRITE (our own reading must make no events) and CLOSE_WRITE (it tells nothing that
MODIFY has not told, and doubles the events of a burst of small files).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from inotify_simple import flags

#: What a scanner asks for when it adds a watch.
MASK = int(
    flags.CREATE
    | flags.DELETE
    | flags.MODIFY
    | flags.ATTRIB
    | flags.MOVED_FROM
    | flags.MOVED_TO
    | flags.DELETE_SELF
    | flags.MOVE_SELF
    | flags.ONLYDIR
    | flags.EXCL_UNLINK
)

ATTRIB = int(flags.ATTRIB)
MOVED_FROM = int(flags.MOVED_FROM)
MOVED_TO = int(flags.MOVED_TO)
DELETE_SELF = int(flags.DELETE_SELF)
MOVE_SELF = int(flags.MOVE_SELF)
UNMOUNT = int(flags.UNMOUNT)
OVERFLOW = int(flags.Q_OVERFLOW)
IGNORED = int(flags.IGNORED)
ISDIR = int(flags.ISDIR)

_HEAD = struct.Struct("iIII")

Event = tuple[int, int, int, bytes]


def parse(data: bytes) -> Iterator[Event]:
    """(wd, mask, cookie, name) of each record in what one read returned; the name is empty for the directory itself."""
    at, end, size, unpack = 0, len(data), _HEAD.size, _HEAD.unpack_from
    while at < end:
        wd, mask, cookie, length = unpack(data, at)
        at += size
        yield wd, mask, cookie, data[at : at + length].rstrip(b"\0")
        at += length
