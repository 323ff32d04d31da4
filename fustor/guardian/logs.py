"""
Log files: one per child, opened here and written by the child itself, and the guardian's own.

A log folder that is missing, full or read-only stops nobody: output goes to /dev/null instead, and the loss is
counted. A log that outgrows its limit while its child lives is copied to ``.1`` and emptied; what the child writes
between the two is lost.
"""

from __future__ import annotations

import os
import time

#: How often the sizes of open logs are looked at, seconds.
BOUND_SECONDS = 1.0


class Logs:
    """
    Args:
        folder: where; made if missing.
        limit: bytes above which a log is renamed to ``.1`` (one generation is kept) before it is opened.
    """

    def __init__(self, folder: str, limit: int) -> None:
        self._folder = folder
        self._limit = limit
        #: How often something could not be logged.
        self.failures = 0
        self._opened: set[str] = set()
        self._bound_due = 0.0
        try:
            os.makedirs(folder, mode=0o700, exist_ok=True)
        except OSError:
            self.failures += 1
        self._own = self.open("guardian")
        self._written = 0

    def open(self, name: str) -> int:
        """A descriptor for appending to the log of ``name``, or to /dev/null."""
        path = os.path.join(self._folder, name + ".log")
        self._opened.add(path)
        try:
            self._rotate(path)
            return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY, 0o600)
        except OSError:
            self.failures += 1
            return os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)

    def follow(self, name: str) -> None:
        """Bound also the log of a process that another guardian has started."""
        self._opened.add(os.path.join(self._folder, name + ".log"))

    def write(self, level: str, message: str, **extras: object) -> None:
        """One line to guardian.log: ISO time UTC, level, name, message, key=value."""
        now = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
        more = "".join(f" {key}={value}" for key, value in extras.items())
        line = f"{stamp}.{int(now % 1 * 1000):03d}Z {level} guardian {message}{more}".replace("\n", "\\n")
        if self._written > self._limit:
            os.close(self._own)
            self._own = self.open("guardian")
            self._written = 0
        try:
            self._written += os.write(self._own, line.encode("utf-8", "backslashreplace") + b"\n")
        except OSError:
            self.failures += 1

    def bound(self, now: float) -> None:
        """Empty the logs that have outgrown the limit, at most every ``BOUND_SECONDS`` of the monotonic clock
        ``now``."""
        if now < self._bound_due:
            return
        self._bound_due = now + BOUND_SECONDS
        for path in self._opened:
            try:
                if os.stat(path).st_size > self._limit:
                    self._copy_and_empty(path)
            except FileNotFoundError:
                continue
            except OSError:
                self.failures += 1

    def _copy_and_empty(self, path: str) -> None:
        """The child goes on writing to the same file: it appends, so its next line is at the new end."""
        log = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            left = self._limit  # a child that floods it may write faster than this copies
            start = max(0, os.fstat(log).st_size - left)
            old = os.open(path + ".1", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                while left and (sent := os.sendfile(old, log, start, min(left, 1 << 20))):
                    start += sent
                    left -= sent
            finally:
                os.close(old)
                os.ftruncate(log, 0)
        finally:
            os.close(log)

    def _rotate(self, path: str) -> None:
        try:
            if os.stat(path).st_size > self._limit:
                os.rename(path, path + ".1")
        except FileNotFoundError:
            pass
