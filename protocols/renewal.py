"""
How the shells come to the program that is desired of them: the control actor first, then the guardian.

Each part is begun by its guardian, on trial, and left by it when it is bad (``fustor/guardian/programs.py``). Here it
is decided what is to be done next about a wish, and whether what runs is proved:

- A control actor is proved when it has been in touch with the other side, with nothing in it failing, for a while. One
  that can't get in touch is never proved, and is left: it may be the reason. It is tried again, for the other side may
  have been away.
- A guardian is proved when it has answered for a while.
- What is installed needs no proof.

What this module does not do: ask, write, or read a clock. ``now`` is in seconds of a monotonic clock.
"""

from __future__ import annotations

import enum
import math

import attrs

#: How often a program that could not be proved in time is tried for one wish.
MOST_TRIES = 3


@attrs.frozen
class Part:
    """
    The program of the control actor, or of the guardian, as the guardian knows it; programs are digests of bundles,
    empty for what is installed.

    Attributes:
        program: that is to run.
        runs: that runs.
        trial: it is not proved yet.
        deaths: of it since it was proved last.
        left: the one that was left last.
        left_tag: of the wish for it.
        why: it was left.
        unproved: for nothing but that it was not proved in time.
        tries: how often it was begun for that wish.
    """

    program: str = ""
    runs: str = ""
    trial: bool = False
    deaths: int = 0
    left: str = ""
    left_tag: str = ""
    why: str = ""
    unproved: bool = False
    tries: int = 0


class Move(enum.Enum):
    """What is to be done about a wish."""

    NOTHING = "nothing"  # both parts run it, proved
    WAIT = "wait"
    CONTROL = "control"  # begin the control actor's
    GUARDIAN = "guardian"  # begin the guardian's
    REFUSE = "refuse"


def move(wanted: str, tag: str, control: Part, guardian: Part) -> tuple[Move, str]:
    """
    What is to be done next so that both parts run ``wanted``.

    Args:
        wanted: digest of a bundle; empty: what is installed.
        tag: names the wish; another wish for the same program is tried anew.

    Returns:
        The move; with REFUSE why, else empty.
    """
    for part, name, begin in ((control, "control actor", Move.CONTROL), (guardian, "guardian", Move.GUARDIAN)):
        if part.trial:
            return Move.WAIT, ""  # also one of another wish: it comes to its end first
        if part.program == wanted == part.runs:
            continue
        failed = part.left == wanted and part.left_tag == tag and wanted
        if failed and not (part.unproved and part.tries < MOST_TRIES):
            return Move.REFUSE, f"the {name} of it was left: {part.why}"
        return begin, ""
    return Move.NOTHING, ""


class Proof:
    """
    Whether something has held for long enough.

    Args:
        seconds: how long.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since = math.inf
        self._faults = 0

    def holds(self, good: bool, faults: int, now: float) -> bool:
        """
        Look once more.

        Args:
            good: it is as it should be at this moment.
            faults: how many there were so far; one more begins it anew.

        Returns:
            It was good all the time, for long enough.
        """
        if not good or faults != self._faults:
            self._since, self._faults = math.inf, faults
        if good:
            self._since = min(self._since, now)
        return good and now - self._since >= self._seconds
