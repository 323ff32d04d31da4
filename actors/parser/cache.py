"""
What was read from files, by inode, over the parser's own death: a file that nobody has changed is read once.

It can be lost at any time, at the price of reading files again: what can't be used, or is full, is begun anew.

What this module does not do: keep what paths say, which costs less to find out again.
"""

from __future__ import annotations

import logging
import os
import shutil
import struct

import lmdb
import msgpack

from actors.parser.listing import Identity

_RULES = b"rules"
_key = struct.Struct(">Q").pack


class Cache:
    """
    Args:
        folder: where it is kept, made when it is missing; nobody else may have it open.
        rules: a digest of all that decides what is read: what was read by others is forgotten.
        most_bytes: of the file; above it everything is forgotten.
        log: told when something is forgotten.
    """

    def __init__(self, folder: str, rules: str, most_bytes: int, log: logging.Logger) -> None:
        self._folder, self._rules, self._most, self._log = folder, rules.encode(), most_bytes, log
        self._env: lmdb.Environment | None = None
        self._written: dict[int, bytes] = {}
        self._open()

    def _open(self) -> None:
        try:
            self._begin()
            if self._stored(_RULES) != self._rules:
                self._anew()
        except (lmdb.Error, OSError) as error:
            self._forget(error)

    def _begin(self) -> None:
        os.makedirs(self._folder, mode=0o700, exist_ok=True)
        self._env = lmdb.open(self._folder, map_size=self._most, mode=0o600, readahead=False, meminit=False)

    def _anew(self) -> None:
        """Raises lmdb.Error."""
        self.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        self._begin()
        assert self._env is not None
        with self._env.begin(write=True) as txn:
            txn.put(_RULES, self._rules)

    def _forget(self, error: Exception) -> None:
        self._log.warning("what was read from files is forgotten", extra={"error": str(error)})
        try:
            self._anew()
        except (lmdb.Error, OSError) as again:
            self._log.warning("nothing is kept of what is read", extra={"error": str(again)})
            self.close()

    def _stored(self, key: bytes) -> bytes | None:
        assert self._env is not None
        with self._env.begin(buffers=False) as txn:
            value: bytes | None = txn.get(key)
        return value

    def get(self, identity: Identity) -> bytes | None:
        """What was read from a file, if it is still that one; None: nothing is known."""
        *times, ino = identity
        value = self._written.get(ino)
        if value is None and self._env is not None:
            try:
                value = self._stored(_key(ino))
            except lmdb.Error as error:
                self._forget(error)
        if value is None:
            return None
        try:
            *known, text = msgpack.unpackb(value)
        except ValueError:
            return None
        return text if known == times and type(text) is bytes else None

    def put(self, identity: Identity, text: bytes) -> None:
        """Note what was read from a file; kept by the next ``commit``."""
        *times, ino = identity
        self._written[ino] = msgpack.packb([*times, text])

    def commit(self) -> None:
        """Keep what was noted."""
        written, self._written = self._written, {}
        if self._env is None or not written:
            return
        try:
            with self._env.begin(write=True) as txn, txn.cursor() as cursor:
                cursor.putmulti([(_key(ino), written[ino]) for ino in sorted(written)])
        except lmdb.Error as error:
            self._forget(error)

    def close(self) -> None:
        """Let go of the file."""
        if self._env is not None:
            self._env.close()
            self._env = None
