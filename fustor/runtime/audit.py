"""
The audit log of one side: who ordered what, when, and what became of it.

A file of JSON lines, appended and never changed, chained (see :mod:`fustor.runtime.chain`). Every line is on the disk
before :meth:`Audit.append` returns. Files are bounded: a full one becomes ``.1``, and so on; the chain goes on across
them.

A line that was cut by a crash is removed when the log is opened, and said. What this module does not do: hide
anything from whoever owns the file, or decide what is written.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import trio

from fustor.runtime.chain import GENESIS, LINE_BYTES, AuditLimits, files_of, hash_of
from protocols.errors import MachineError

#: What is read of a file's end when a log is opened, bytes.
RECENT_BYTES = 1 << 20


class Audit:
    """
    Args:
        path: of the current file.
        limits: of its size.
        recent: entries kept in memory for whoever asks.

    Attributes:
        torn: bytes of a cut line that were removed when it was opened.
        failures: entries that could not be written.

    A log that can't be opened does no harm to whoever has it: every entry tries again.
    """

    def __init__(self, path: str, limits: AuditLimits | None = None, *, recent: int = 1000) -> None:
        self.path = path
        self.torn = 0
        self.failures = 0
        self._turn = trio.Lock()
        self._limits = limits or AuditLimits()
        self.recent: deque[dict[str, Any]] = deque(maxlen=recent)
        self._number, self._last = 0, GENESIS
        self._fd = -1
        with contextlib.suppress(OSError):
            self._begin()

    def append(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """
        Add an entry, durably; blocks for the disk. One caller at a time.

        Args:
            fields: plain data; ``n``, ``at``, ``prev`` and ``hash`` are added.

        Returns:
            The entry.

        Raises:
            MachineError: it could not be written. It counts as not written, and the next one takes its number.
        """
        if self._fd < 0:
            try:
                self._begin()
            except OSError as error:
                self.failures += 1
                raise MachineError(f"{self.path} can't be opened: {error.strerror}") from error
        stamp = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        entry: dict[str, Any] = {"n": self._number + 1, "at": stamp, **fields, "prev": self._last}
        entry["hash"] = hash_of(entry)
        line = json.dumps(entry, separators=(",", ":")).encode() + b"\n"
        if len(line) > LINE_BYTES:
            raise ValueError(f"an entry of {len(line)} bytes, at most {LINE_BYTES} are accepted")
        try:
            before = os.fstat(self._fd).st_size
            if before + len(line) > self._limits.file_bytes and before:
                self._rotate()
                before = 0
            self._write(line, before)
        except OSError as error:
            self.failures += 1
            raise MachineError(f"{self.path} can't be written: {error.strerror}") from error
        self._number, self._last = entry["n"], entry["hash"]
        self.recent.append(entry)
        return entry

    async def note(self, fields: Mapping[str, Any], log: logging.Logger) -> None:
        """
        As :meth:`append`, without holding up the loop, in turn with other callers.

        A log that can't be written does not stop orders, for they may be what mends the disk: it is counted and said.
        """
        async with self._turn:
            try:
                await trio.to_thread.run_sync(self.append, fields)
            except MachineError as error:
                log.error("the audit log can't be written", extra={"error": str(error)})

    def after(self, number: int, most: int = 200) -> list[dict[str, Any]]:
        """Recent entries with a higher number, oldest first."""
        return [entry for entry in self.recent if entry["n"] > number][:most]

    def close(self) -> None:
        """Close the file. Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _begin(self) -> None:
        os.makedirs(os.path.dirname(self.path) or ".", mode=0o700, exist_ok=True)
        self._fd = self._open()
        try:
            self._mend()
            self._remember()
        except OSError:
            self.close()
            raise

    def _open(self) -> int:
        return os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def _write(self, line: bytes, before: int) -> None:
        try:
            if os.write(self._fd, line) != len(line):
                raise OSError(28, "no space left on device")
            os.fsync(self._fd)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, before)
            raise

    def _rotate(self) -> None:
        for number in range(self._limits.files - 1, 0, -1):
            older = self.path if number == 1 else f"{self.path}.{number - 1}"
            with contextlib.suppress(FileNotFoundError):
                os.rename(older, f"{self.path}.{number}")
        if self._limits.files == 1:
            os.unlink(self.path)
        self.close()
        self._fd = self._open()
        folder = os.open(os.path.dirname(self.path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _remember(self) -> None:
        """The last entries, without reading more than the end of two files."""
        self.recent.clear()
        for file in files_of(self.path)[-2:]:
            with open(file, "rb") as lines:
                size = lines.seek(0, os.SEEK_END)
                lines.seek(max(0, size - RECENT_BYTES))
                for line in lines.read(RECENT_BYTES).splitlines()[size > RECENT_BYTES :]:
                    with contextlib.suppress(ValueError, KeyError, TypeError):
                        entry = json.loads(line)
                        self._number, self._last = int(entry["n"]), str(entry["hash"])
                        self.recent.append(entry)

    def _mend(self) -> None:
        """A crash in the middle of a write leaves a line without an end: it was never acted on."""
        size = os.fstat(self._fd).st_size
        tail = os.pread(self._fd, LINE_BYTES, max(0, size - LINE_BYTES))
        self.torn = len(tail) - (tail.rfind(b"\n") + 1)
        if self.torn:
            os.ftruncate(self._fd, size - self.torn)
