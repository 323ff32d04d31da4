"""
Who runs on both sides of one state folder, and who of them can do something.

What this module does not do: start anybody, or ask anybody.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections import Counter
from pathlib import Path

from benchmarks.chaos.schedule import GUARDIAN, Who
from fustor.admin.processes import Held, members
from fustor.admin.state import State

#: In the flags of a process that exits (proc_pid_stat(5), field 9; linux/sched.h, PF_EXITING).
_EXITING = 0x4


def ending(pid: int) -> bool:
    """It was killed, or exits, and may not be gone yet."""
    try:
        if int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[6]) & _EXITING:
            return True
        status = Path(f"/proc/{pid}/status").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return True
    pending = int(status[status.index("SigPnd:") + 1], 16) | int(status[status.index("ShdPnd:") + 1], 16)
    return bool(pending & 1 << signal.SIGKILL - 1)


def frozen(pid: int) -> bool:
    """It was stopped by a signal, or is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "TtZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def token(pid: int) -> bytes:
    """Of the life of a process; empty when it is gone."""
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return b""
    return next((one[13:] for one in variables if one.startswith(b"FUSTOR_TOKEN=")), b"")


class Lives:
    """
    The processes of a Fusion and an agent.

    Args:
        state: their folder.
    """

    def __init__(self, state: State) -> None:
        self.state = state

    def members(self) -> dict[int, Who]:
        """Pid → side and name of everybody who runs."""
        found = {}
        for side in self.state.sides:
            found.update({pid: (side.name, name) for pid, name in members(side).items() if name})
        return found

    def tokens(self) -> dict[bytes, Who]:
        """Token → side and name of those who neither exit nor change while they are looked at."""
        before = self.members()
        lives = {pid: token(pid) for pid in before if not ending(pid)}
        after = self.members()
        return {life: before[pid] for pid, life in lives.items() if after.get(pid) == before[pid]}

    def twice(self) -> list[Who]:
        """
        Who was started twice, and both run: two tokens. A child before its exec looks like its parent; one that was
        killed needs a moment to be gone; and a child of a template may take on its name between two looks.
        """
        counts = Counter(who for life, who in self.tokens().items() if life and who[1] != GUARDIAN)
        return [who for who, count in counts.items() if count > 1]

    def is_able(self, pid: int, side: str) -> bool:
        """It is not frozen, and its program runs: a child between fork and exec ends with its guardian."""
        try:
            guardian = int((self.state.folder / side / "run" / "guardian.pid").read_text())
        except (FileNotFoundError, ValueError):
            guardian = 0
        return not frozen(pid) and (pid == guardian or bool(token(pid)))

    def able(self) -> dict[Who, int]:
        """Side and name → pid of those."""
        return {who: pid for pid, who in self.members().items() if self.is_able(pid, who[0])}

    def kill_whole(self, side: str, patience: float) -> None:
        """Every process of a side at once; nobody sees another one die. Returns when they are gone."""
        with contextlib.ExitStack() as stack:
            held = []
            for pid, who in self.members().items():
                if who[0] == side:
                    with contextlib.suppress(ProcessLookupError):
                        held.append(stack.enter_context(Held(pid)))
            for number in (signal.SIGSTOP, signal.SIGKILL):
                for one in held:
                    one.signal(number)
            for one in held:
                one.wait(patience)


def send(pid: int, number: signal.Signals) -> bool:
    """A signal; False when there is nobody any more."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True
