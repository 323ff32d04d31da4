"""
Log files: one per child, opened here and written by the child itself, and the guardian's own.

A log folder that is missing, full or read-only stops nobody: output goes to /dev/null instead, and the loss is counted.
"""

from __future__ import annotations

import os
import time


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
        try:
            os.makedirs(folder, mode=0o700, exist_ok=True)
        except OSError:
            self.failures += 1
        self._own = self.open("guardian")
        self._written = 0

    def open(self, name: str) -> int:
        """A descriptor for appending to the log of ``name``, or to /dev/null."""
        path = os.path.join(self._folder, name + ".log")
        try:
            self._rotate(path)
            return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY, 0o600)
        except OSError:
            self.failures += 1
            return os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)

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

    def _rotate(self, path: str) -> None:
        try:
            if os.stat(path).st_size > self._limit:
                os.rename(path, path + ".1")
        except FileNotFoundError:
            pass
