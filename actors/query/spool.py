"""
What was read in one short transaction and waits for a reader who may be slow.

Up to a bound it is held in memory; beyond, in an unlinked temporary file. So a transaction lasts as long as the copy,
whatever the client does, and memory stays bounded. Not here: where batches come from, what they mean.
"""

from __future__ import annotations

import os
import struct
import tempfile
from collections import deque
from collections.abc import Sequence
from typing import IO, Any

import msgpack
import trio

_LENGTH = struct.Struct("<Q")


class Room:
    """
    Memory that all spools of a process share.

    Args:
        most: bytes.

    Attributes:
        used: of these.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.used = 0


class Spool:
    """
    A queue of batches, one writer, one reader, first in first out.

    Args:
        memory: bytes that may wait in memory; what is put above that goes to the file until the reader has caught up.
        room: what all spools may hold in memory together; likewise.
        folder: where the file is made; None for the system's place for temporary files.
    """

    def __init__(self, memory: int, folder: str | None = None, room: Room | None = None) -> None:
        self._memory = memory
        self._room = room or Room(memory)
        self._folder = folder
        self._held: deque[tuple[list[Any], int]] = deque()
        self._bytes = 0
        self._file: IO[bytes] | None = None
        self._read_at = self._write_at = 0
        self.spilled = 0  #: bytes ever written to the file
        self._ended = False
        self._news = trio.Event()
        self._taken = trio.Event()

    def put(self, batch: list[Any], size: int) -> None:
        """
        Add a batch of plain data (as msgpack knows it; lists come back as tuples from the file) of about ``size``
        bytes.

        Raises:
            OSError: the file could not be written; nothing may be put after that.
        """
        # Once in the file, the order forbids memory until the file has been read to its end.
        room = self._room
        fits = self._bytes + size <= self._memory and room.used + size <= room.most
        if self._read_at == self._write_at and fits:
            self._held.append((batch, size))
            self._bytes += size
            room.used += size
        else:
            self._spill(batch)
        self._news.set()

    def _spill(self, batch: list[Any]) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115 - closed by close()
        data = msgpack.packb(batch, use_bin_type=True)
        rest = memoryview(_LENGTH.pack(len(data)) + data)
        while rest:
            written = os.pwrite(self._file.fileno(), rest, self._write_at)
            self._write_at += written
            self.spilled += written
            rest = rest[written:]

    async def wait_taken(self, most: int, until: float) -> None:
        """Wait until no more than ``most`` batches wait in memory, or ``until`` (trio's clock). A checkpoint."""
        if len(self._held) > most and trio.current_time() < until:
            with trio.move_on_at(until):
                while len(self._held) > most:
                    self._taken = trio.Event()
                    await self._taken.wait()
        else:
            await trio.lowlevel.checkpoint()

    def end(self) -> None:
        """Nothing more will be put."""
        self._ended = True
        self._news.set()

    async def take(self) -> Sequence[Any] | None:
        """The next batch, waiting for it; None at the end."""
        while True:
            if self._held:
                batch, size = self._held.popleft()
                self._bytes -= size
                self._room.used -= size
                self._taken.set()
                return batch
            if self._read_at < self._write_at:
                return self._unspill()
            if self._ended:
                return None
            self._news = trio.Event()
            await self._news.wait()

    def _unspill(self) -> tuple[Any, ...]:
        assert self._file is not None
        fd = self._file.fileno()
        (length,) = _LENGTH.unpack(_exactly(fd, _LENGTH.size, self._read_at))
        data = _exactly(fd, length, self._read_at + _LENGTH.size)
        self._read_at += _LENGTH.size + length
        if self._read_at == self._write_at:
            self._file.truncate(0)
            self._read_at = self._write_at = 0
        return tuple(msgpack.unpackb(data, use_list=False, raw=False, max_bin_len=length, max_array_len=length))

    def close(self) -> None:
        """Forget everything. Harmless when done twice."""
        self._held.clear()
        self._room.used -= self._bytes
        self._bytes = 0
        if self._file is not None:
            self._file.close()
            self._file = None
            self._read_at = self._write_at = 0


def _exactly(fd: int, size: int, at: int) -> bytes:
    data = os.pread(fd, size, at)
    while len(data) < size:
        more = os.pread(fd, size - len(data), at + len(data))
        if not more:
            raise OSError(f"a spool file ends at {at + len(data)}, {size - len(data)} bytes early")
        data += more
    return data
