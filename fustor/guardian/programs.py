"""
Which program the control actor and the guardian run: what is installed, or one that was sent from afar.

Another one is on trial until the control actor says that it is proved. A program that dies, hangs or is not proved in
time is left for the one before, and remembered with the reason; so is a proved one that dies again and again without
being proved anew, for what is installed. What is installed is trusted: nobody could do anything about it from afar.

``shell.json`` in the state folder holds this through reboots, ``{"control": {…}, "guardian": {…}}``. Only the guardian
writes it, and never waits for a disk: the control actor syncs it. One that can't be read, or that a power cut has cut
off, says that what is installed runs.

What this module does not do: start or kill anything, or look into a program.
"""

from __future__ import annotations

import json
import os

#: What it is about.
CONTROL, GUARDIAN = "control", "guardian"
PARTS = (CONTROL, GUARDIAN)
#: Lives on trial, and of a proved program without being proved anew, after which it is left.
MOST_ON_TRIAL, MOST_PROVED = 2, 5
#: Bytes of the file.
_LARGEST = 1 << 20
_TEXTS = ("program", "before", "tag", "left", "left_tag", "why")
_COUNTS = ("deaths", "tries")
_FLAGS = ("trial", "unproved")


class Part:
    """
    The program of the control actor, or of the guardian. All folders are absolute paths; empty: what is installed.

    Attributes:
        program: folder of what runs.
        before: folder of what ran before, while ``program`` is on trial.
        trial: ``program`` is on trial.
        tag: what the asker calls this wish: a later wish for the same program is another one.
        deaths: of ``program`` (of a guardian: starts) since it was proved last.
        tries: how often ``program`` was begun for ``tag``.
        left: folder of the program that was left last; empty: none was.
        left_tag: of that wish.
        why: it was left.
        unproved: it was left for nothing but that it was not proved in time.
    """

    __slots__ = (*_TEXTS, *_COUNTS, *_FLAGS)

    def __init__(self) -> None:
        self.program = self.before = self.tag = self.left = self.left_tag = self.why = ""
        self.deaths = self.tries = 0
        self.trial = self.unproved = False

    def begin(self, program: str, tag: str) -> None:
        """Run ``program`` from now on; on trial, unless it is what is installed."""
        again = program == self.left and tag == self.left_tag
        self.before = "" if not program else self.before if self.trial else self.program
        self.program, self.tag, self.trial = program, tag, bool(program)
        self.deaths, self.tries = 0, self.tries + 1 if again else 1

    def died(self, why: str, *, hung: bool = False, killed: bool = False) -> bool:
        """
        It has ended.

        Args:
            why: in words.
            hung: it did nothing any more.
            killed: by somebody else, so that it may not be to blame.

        Returns:
            It is left.
        """
        if not self.program or (killed and not self.trial):
            return False
        self.deaths += 1
        if self.deaths >= self._most or (hung and self.trial):
            self.leave(why)
            return True
        return False

    def starts(self) -> bool:
        """It is to be started once more, and nobody knows how it ended; whether it is left instead."""
        self.deaths += 1
        if self.deaths > self._most:
            self.leave("it was started again and again, and never proved")
            return True
        return False

    @property
    def _most(self) -> int:
        return MOST_ON_TRIAL if self.trial else MOST_PROVED

    def prove(self) -> bool:
        """It works; whether that says anything new."""
        new = self.trial or self.deaths > 0
        self.trial, self.before, self.deaths = False, "", 0
        return new

    def leave(self, why: str, *, unproved: bool = False) -> None:
        """Run the one before, or what is installed."""
        self.left, self.left_tag, self.why, self.unproved = self.program, self.tag, why, unproved
        self.program, self.before, self.trial, self.deaths = self.before, "", False, 0

    def as_json(self) -> dict[str, object]:
        """Plain data."""
        return {name: getattr(self, name) for name in self.__slots__}


class Programs:
    """
    Attributes:
        control, guardian: the two parts.
        runs: folder of the program that the guardian runs right now; empty: what is installed.
    """

    def __init__(self) -> None:
        self.control = Part()
        self.guardian = Part()
        self.runs = ""

    def part(self, name: str) -> Part:
        """By one of :data:`PARTS`."""
        return self.control if name == CONTROL else self.guardian

    def as_json(self) -> dict[str, object]:
        """Plain data, for :func:`understood`."""
        return {**{name: self.part(name).as_json() for name in PARTS}, "runs": self.runs}


def understood(content: bytes) -> Programs:
    """
    What a file says; empty: nothing was ever sent. What a later version has written more is passed over.

    Raises:
        ValueError: it is no such file.
    """
    found = Programs()
    if not content:
        return found
    try:
        data = json.loads(content)
        for name in PARTS:
            part = found.part(name)
            for kind, fields in ((str, _TEXTS), (int, _COUNTS), (bool, _FLAGS)):
                for field in fields:
                    value = data[name].get(field, getattr(part, field))
                    if type(value) is not kind:
                        raise ValueError(f"{name}.{field} = {value!r}")
                    setattr(part, field, value)
        found.runs = str(data.get("runs", ""))
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"not written by a guardian: {error!r}") from None
    return found


def read(path: str) -> Programs:
    """
    What the file at ``path`` says; without a path or file, that nothing was ever sent.

    Raises:
        ValueError: it is no such file.
        OSError: it can't be read.
    """
    if not path:
        return Programs()
    try:
        with open(path, "rb") as file:
            return understood(file.read(_LARGEST))
    except FileNotFoundError:
        return Programs()


def write(path: str, programs: Programs) -> None:
    """
    Replace the file.

    Raises:
        OSError: it can't be written; the old one is still there.
    """
    temporary = path + ".tmp"
    with open(temporary, "wb", opener=_private) as file:
        file.write(json.dumps(programs.as_json(), indent=1).encode() + b"\n")
    os.rename(temporary, path)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def main_of(program: str) -> str:
    """Path of the guardian's program in the folder ``program``."""
    return os.path.join(program, "fustor", "guardian", "main.py")
