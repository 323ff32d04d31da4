"""
Writers: processes of their own that change a directory as fast as the disk takes it, or at a rate, keeping a ledger.

As a program: ``writers.py files FOLDER COUNT``, ``writers.py chains FOLDER COUNT`` or ``writers.py ledger FOLDER
SECONDS RATE``. The ledger goes to stdout, one JSON array a line: what was done to which name, and when. SIGTERM ends a
ledger early.

What this module does not do: wait for anything to be indexed.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs

#: Files per folder of the ``files`` writer.
FOLDER = 1000
#: Files of the ledger whose sizes only grow.
GROWING = 50


@attrs.frozen
class Change:
    """
    One line of a ledger.

    Attributes:
        kind: ``grow``, ``create`` or ``unlink``.
        name: in the ledger's folder.
        size: of the file afterwards.
        before, after: just before and just after the system call, in ns since 1970.
    """

    kind: str
    name: str
    size: int
    before: int
    after: int


def start(kind: str, folder: Path, *arguments: float, stdout: int | None = None) -> subprocess.Popen[str]:
    """A writer, started; to be waited for by :func:`finish`."""
    command = [sys.executable, __file__, kind, str(folder), *map(str, arguments)]
    return subprocess.Popen(command, stdout=stdout, text=True)


def finish(*writers: subprocess.Popen[str]) -> None:
    """Wait until they have done everything; a test that ends before takes them with it."""
    try:
        for writer in writers:
            assert writer.wait() == 0, (writer.args, writer.returncode)
    finally:
        for writer in writers:
            writer.kill()


class Ledger:
    """A ``ledger`` writer on ``folder``, running."""

    def __init__(self, folder: Path, seconds: float, rate: float) -> None:
        self._writer = start("ledger", folder, seconds, rate, stdout=subprocess.PIPE)

    def stop(self) -> None:
        """Let it end now."""
        self._writer.send_signal(signal.SIGTERM)

    def changes(self) -> list[Change]:
        """Wait until it is done; everything that it did, in order."""
        text, _ = self._writer.communicate()
        finish(self._writer)
        return [Change(*json.loads(line)) for line in text.splitlines()]


class Truth:
    """
    What a ledger's folder held, moment by moment, for answers in the order of what they claim.

    Args:
        changes: the whole ledger, in order.
    """

    def __init__(self, changes: Sequence[Change]) -> None:
        self._changes = changes
        self._at = 0
        self._wanted: dict[str, int] = {}

    def lies(self, as_of: float, received: float, sizes: Mapping[str, int]) -> list[str]:
        """
        What an answer claims to contain and does not.

        Args:
            as_of: what the answer claims, in seconds since 1970: as a float, exact to a microsecond. Not before that of
                the answer before.
            received: when it had come.
            sizes: name → size of the files in it.
        """
        claimed, late = int(as_of * 1e9) - 1000, int(received * 1e9)
        changes, wanted = self._changes, self._wanted
        while self._at < len(changes) and changes[self._at].after <= claimed:
            change = changes[self._at]
            if change.kind == "unlink":
                wanted.pop(change.name, None)
            else:
                wanted[change.name] = change.size
            self._at += 1
        maybe: set[str] = set()
        gone: set[str] = set()
        for number in range(self._at, len(changes)):
            change = changes[number]
            if change.before > late:
                break
            maybe.add(change.name)
            if change.kind == "unlink":
                gone.add(change.name)
        found = [
            f"{name}: {sizes.get(name)}, not {size}"
            for name, size in wanted.items()
            if sizes.get(name, -1) < size and name not in gone
        ]
        return found + [f"{name}: is there" for name in sizes.keys() - wanted.keys() - maybe]


def lies(changes: Sequence[Change], as_of: float, received: float, sizes: Mapping[str, int]) -> list[str]:
    """What one answer claims to contain and does not, see :meth:`Truth.lies`."""
    return Truth(changes).lies(as_of, received, sizes)


def _files(folder: str, count: int) -> None:
    for number in range(count):
        inside = f"{folder}/{number // FOLDER}"
        if number % FOLDER == 0:
            os.makedirs(inside, exist_ok=True)
        os.close(os.open(f"{inside}/{number}", os.O_CREAT | os.O_WRONLY, 0o644))


def _chains(folder: str, count: int) -> None:
    for number in range(count):
        os.makedirs(f"{folder}/{number}/a/b/c")
        os.close(os.open(f"{folder}/{number}/a/b/c/f", os.O_CREAT | os.O_WRONLY, 0o644))


def _ledger(folder: str, seconds: float, rate: float) -> None:
    os.chdir(folder)
    lines: list[str] = []
    living: list[str] = []

    def do(kind: str, name: str, size: int) -> None:
        before = time.time_ns()
        if kind == "create":
            os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
        elif kind == "grow":
            os.truncate(name, size)
        else:
            os.unlink(name)
        lines.append(json.dumps([kind, name, size, before, time.time_ns()]))

    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: ended.append(number))
    for number in range(GROWING):
        do("create", f"g{number}", 0)
    began = time.monotonic()
    for number in itertools.count(1):
        ahead = began + number / rate - time.monotonic()
        if ahead > 0:
            time.sleep(ahead)
        if ended or time.monotonic() - began > seconds:
            break
        if number % 5 == 0:
            do("create", f"n{number}", 0)
            living.append(f"n{number}")
        elif number % 5 == 1 and len(living) > GROWING:
            do("unlink", living.pop(0), 0)
        else:
            do("grow", f"g{number % GROWING}", number)
    print("\n".join(lines))


def _main(kind: str, folder: str, *numbers: str) -> None:
    if kind == "files":
        _files(folder, int(numbers[0]))
    elif kind == "chains":
        _chains(folder, int(numbers[0]))
    else:
        _ledger(folder, float(numbers[0]), float(numbers[1]))


if __name__ == "__main__":
    _main(*sys.argv[1:])
