"""
The synced copy of a store: one file that is whole or not there, and that proves it.

LMDB writes a compact copy, as of one commit, into a socket pair, in a thread of its own and without the interpreter's
lock; the other end hashes and writes. After it comes a trailer: magic, generation, length, and BLAKE2b of all that.
It is synced every few megabytes, so that the end is no flood, and takes the name of the copy before only when it is on
the disk.

The copy is a read transaction: what is freed meanwhile can't be used again. Whoever minds cancels it; LMDB then leaves
the store at once, whatever the disk does.

What this module does not do: it decides neither when a copy is made nor when one is used.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import socket
import struct
import threading
import time
from typing import BinaryIO

import attrs
import lmdb

from fustor.runtime.durable import move
from fustor.treestore.environment import Environment, data_file, translate
from fustor.treestore.errors import StoreFullError, StoreMissingError, StoreUnusableError
from protocols.errors import MachineError

_MAGIC = b"fustor copy 1\n\0\0"
_TRAILER = struct.Struct(">16sQQ")
_DIGEST = 32
TRAILER_BYTES = _TRAILER.size + _DIGEST
#: Bytes that are moved at once, and that are written between two syncs.
_PIECE, _SYNC = 1 << 20, 16 << 20


class CancelledError(MachineError):
    """The copy was given up; the one before is still there."""


@attrs.frozen
class Made:
    """Attributes: bytes of the store in the copy; seconds that it took."""

    bytes: int
    seconds: float


class Copying:
    """
    One copy.

    Args:
        environment: of the store, which stays open until ``released``.
        generation: of its last commit: the copy is not older.
        path: of the copy.

    Attributes:
        released: the store is not used, and will not be.
    """

    def __init__(self, environment: Environment, generation: int, path: str) -> None:
        self._environment = environment
        self._generation = generation
        self._path = path
        self._temporary = f"{path}.{os.getpid()}-{id(self):x}.tmp"
        self._ours, self._theirs = socket.socketpair()
        self._lock = threading.Lock()
        self._why = ""
        self._error: lmdb.Error | None = None
        self.released = threading.Event()
        self._thread = threading.Thread(target=self._read, name="copy", daemon=True)

    def cancel(self, why: str) -> None:
        """Give it up, begun or not; from any thread."""
        with self._lock:
            self._why = self._why or why
            if self._thread.ident is None:
                self.released.set()
            with contextlib.suppress(OSError):
                self._ours.shutdown(socket.SHUT_RDWR)

    def run(self) -> Made:
        """
        Make it, once; blocks, for a thread.

        Raises:
            CancelledError: somebody gave it up.
            StoreFullError: no room for it.
            StoreUnusableError: the store is damaged.
            MachineError: it can't be made.
        """
        since = time.monotonic()
        try:
            with self._lock:
                if self._why:
                    self._theirs.close()
                    raise CancelledError(self._why)
                self._thread.start()
            with open(self._temporary, "xb", buffering=0, opener=_private) as file:
                length, digest = self._write(file)
                self._finish(file, length, digest)
            move(self._temporary, self._path)
        except OSError as error:
            kind = StoreFullError if error.errno in (errno.ENOSPC, errno.EDQUOT) else MachineError
            raise kind(f"{self._temporary}: {error.strerror}") from None
        finally:
            self._ours.close()  # LMDB has nobody to write to any more
            with contextlib.suppress(OSError):
                os.unlink(self._temporary)
        return Made(length, time.monotonic() - since)

    def _read(self) -> None:
        """LMDB's end."""
        try:
            self._environment.env.copyfd(self._theirs.fileno(), compact=True)
        except lmdb.Error as error:
            self._error = error
        finally:
            self._theirs.close()
            self.released.set()

    def _write(self, file: BinaryIO) -> tuple[int, hashlib.blake2b]:
        digest = hashlib.blake2b(digest_size=_DIGEST)
        buffer = memoryview(bytearray(_PIECE))
        length = unsynced = 0
        while count := self._ours.recv_into(buffer):
            piece = buffer[:count]
            digest.update(piece)
            _write_all(file, piece)
            length += count
            unsynced += count
            if unsynced >= _SYNC:
                _sync(file)
                unsynced = 0
        self._thread.join()
        if self._why:
            raise CancelledError(self._why)
        if self._error is not None:
            raise translate(self._environment, self._error)
        return length, digest

    def _finish(self, file: BinaryIO, length: int, digest: hashlib.blake2b) -> None:
        trailer = _TRAILER.pack(_MAGIC, self._generation, length)
        digest.update(trailer)
        _write_all(file, memoryview(trailer + digest.digest()))
        _sync(file)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _write_all(file: BinaryIO, piece: memoryview) -> None:
    while piece:
        piece = piece[file.write(piece) :]


def _sync(file: BinaryIO) -> None:
    os.fdatasync(file.fileno())
    # It will not be read: leave the memory to the store.
    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _open(path: str) -> BinaryIO:
    try:
        return open(path, "rb", buffering=0)
    except FileNotFoundError:
        raise StoreMissingError(f"{path}: there is no copy") from None
    except OSError as error:
        raise MachineError(f"{path}: {error.strerror}") from None


def generation_of(path: str) -> int:
    """
    The generation of the copy at ``path``, from its trailer alone; 0 when there is none, or it is cut off.

    Raises:
        MachineError: it can't be read.
    """
    try:
        with _open(path) as file:
            size = os.fstat(file.fileno()).st_size
            trailer = os.pread(file.fileno(), _TRAILER.size, max(0, size - TRAILER_BYTES))
    except StoreMissingError:
        return 0
    except OSError as error:
        raise MachineError(f"{path}: {error.strerror}") from None
    if len(trailer) < _TRAILER.size:
        return 0
    magic, generation, length = _TRAILER.unpack(trailer)
    return int(generation) if (magic, length + TRAILER_BYTES) == (_MAGIC, size) else 0


def unpack_copy(path: str, folder: str) -> None:
    """
    Make the data file of a store, in ``folder``, of the copy at ``path``, which stays; blocks.

    Raises:
        StoreMissingError: there is no copy.
        StoreUnusableError: it is none of ours, cut off, or changed. What is in ``folder`` is of no use.
        StoreFullError, MachineError: the file can't be written.
    """
    with _open(path) as source:
        try:
            length = os.fstat(source.fileno()).st_size - TRAILER_BYTES
            with open(data_file(folder), "xb", buffering=0, opener=_private) as target:
                digest = hashlib.blake2b(digest_size=_DIGEST)
                while (left := length - source.tell()) > 0:
                    piece = source.read(min(_PIECE, left))
                    if not piece:
                        break
                    digest.update(piece)
                    _write_all(target, memoryview(piece))
            trailer = source.read(TRAILER_BYTES + 1)
        except OSError as error:
            kind = StoreFullError if error.errno in (errno.ENOSPC, errno.EDQUOT) else MachineError
            raise kind(f"{path}: can't be made a store in {folder}: {error.strerror}") from None
    if len(trailer) != TRAILER_BYTES or not trailer.startswith(_MAGIC):
        raise StoreUnusableError(f"{path}: no copy of a tree store, or cut off")
    digest.update(trailer[: _TRAILER.size])
    if digest.digest() != trailer[_TRAILER.size :]:
        raise StoreUnusableError(f"{path}: the copy is not what was written: its digest is another one")
