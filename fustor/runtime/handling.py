"""
What an actor is handling right now, written down before it is handled: who survives the actor can read it.

A small mapped file: writing to it is writing to memory, which outlives the process (not the host, and needs not to). A
*thing* (a directory, a batch) is begun and ended; within it *parts* (names) follow each other. No lock: one thread
writes; another one takes over by :meth:`Handling.successor`.

What this module does not do: fsync, or decide anything (:mod:`protocols.quarantine`).
"""

from __future__ import annotations

import contextlib
import logging
import mmap
import os
import struct

#: Bytes of the file, where the thing begins, and where its part does.
SIZE, _THING, _PART = 16 << 10, 8, 12 << 10
#: Longest thing and part; a longer one is not written down.
THING_BYTES, PART_BYTES = _PART - _THING - 4, SIZE - _PART - 2
_LENGTH, _SHORT = struct.Struct("=I"), struct.Struct("=H")
_NOTHING = _LENGTH.pack(0)
_NO_PART = _SHORT.pack(0)
#: Lengths of names as they are written, made once.
_LENGTHS = tuple([_SHORT.pack(length) for length in range(256)])

#: A thing, and the part of it; empty for none.
Handled = tuple[bytes, bytes]


class Handling:
    """
    Args:
        page: where to write, :data:`SIZE` bytes; nowhere that lasts when not given.
    """

    __slots__ = ("_page",)

    def __init__(self, page: mmap.mmap | bytearray | None = None) -> None:
        self._page = bytearray(SIZE) if page is None else page

    @classmethod
    def at(cls, path: str) -> Handling:
        """
        In a new file ``path``; one that is there is replaced, and whoever still writes to it writes to nobody.

        Raises:
            OSError: it can't be.
        """
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, SIZE)  # a full disk is told here, not by SIGBUS
            return cls(mmap.mmap(fd, SIZE))
        finally:
            os.close(fd)

    def begin(self, thing: bytes) -> None:
        """``thing`` is handled from now on. An empty one is written down too: a source's root has an empty path."""
        page, length = self._page, len(thing)
        page[:4] = _NOTHING
        page[_PART : _PART + 2] = _NO_PART
        if length > THING_BYTES:
            return
        page[_THING : _THING + length] = thing
        # 0 means nothing, so a length is told plus one. Last: half a thing is none.
        page[:4] = _LENGTH.pack(length + 1)

    def part(self, name: bytes) -> None:
        """``name`` within the thing is handled from now on."""
        length = len(name)
        if length < 256:
            self._page[_PART : _PART + 2 + length] = _LENGTHS[length] + name
        elif length <= PART_BYTES:
            self._page[_PART : _PART + 2 + length] = _SHORT.pack(length) + name
        else:
            self._page[_PART : _PART + 2] = _NO_PART

    def end(self) -> None:
        """Nothing is handled any more."""
        self._page[:4] = _NOTHING

    def successor(self) -> Handling:
        """For the thread that takes over: what this one writes from now on counts for nothing."""
        page, self._page = self._page, bytearray(SIZE)
        page[:4] = _NOTHING
        return Handling(page)


def file_of(name: str) -> str:
    """Where the actor ``name`` writes, in its working directory."""
    return f"{name}.item"


def note_of(name: str, log: logging.Logger) -> Handling:
    """For the actor ``name``; where no file can be made it works all the same, and its deaths blame nothing."""
    try:
        return Handling.at(file_of(name))
    except OSError as error:
        log.warning("what is being handled can't be written down", extra={"error": str(error)})
        return Handling()


def take(path: str) -> Handled | None:
    """
    What the process that wrote ``path``, and is gone, was handling; None for nothing, or when it can't be read.

    The file is removed: whoever dies before it writes anything has not handled the same again.
    """
    try:
        with open(path, "rb") as file:
            page = file.read(SIZE)
    except OSError:
        return None
    with contextlib.suppress(OSError):
        os.unlink(path)
    if len(page) < SIZE:
        return None
    length, part = _LENGTH.unpack_from(page)[0] - 1, _SHORT.unpack_from(page, _PART)[0]
    if not 0 <= length <= THING_BYTES or part > PART_BYTES:
        return None
    return page[_THING : _THING + length], page[_PART + 2 : _PART + 2 + part]
