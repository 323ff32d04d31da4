"""
A guardian that is there and does nothing (stopped by a signal, or caught in itself) is killed by its control actor:
what follows is that of any killed guardian, a successor.

What this module does not do: find the successor (see ``rejoin``), or judge a guardian that has never answered.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio

from fustor.runtime.keeper import Keeper
from fustor.runtime.pace import next_multiple

#: Share of ``silent_seconds`` that the answer may be late beyond them; later we were held up ourselves.
_LATE = 0.5


class Overseer:
    """
    Asks the guardian of this moment again and again.

    Args:
        keeper: of the control actor.
        silent_seconds: an answer may take so long.
        tell: called with the pid of a guardian that was killed, or could not be, and what happened.
    """

    def __init__(self, keeper: Keeper, silent_seconds: float, tell: Callable[[int, str], None]) -> None:
        self._keeper = keeper
        self._silent_seconds = silent_seconds
        self._tell = tell

    async def run(self) -> None:
        """
        Work until cancelled.

        Raises:
            KeeperGone: the guardian went while it was asked, and has no successor.
        """
        while True:
            with _pidfd(self._keeper.guardian()) as descriptor:
                await self._oversee(descriptor)
            await next_multiple(self._silent_seconds / 2)

    async def _oversee(self, descriptor: int) -> None:
        """One guardian, until it has another one's place or is killed."""
        guardian = self._keeper.guardian()
        # An answer after the pidfd was opened proves that it is of the one who answers.
        answered = False
        while guardian and self._keeper.guardian() == guardian:
            asked = trio.current_time()
            with trio.move_on_after(self._silent_seconds) as patience:
                await self._keeper.status()
            if not patience.cancelled_caught:
                answered = True
                await next_multiple(self._silent_seconds / 2)
                continue
            late = trio.current_time() - asked - self._silent_seconds
            if answered and late < self._silent_seconds * _LATE and self._keeper.guardian() == guardian:
                self._kill(descriptor, guardian)
                return

    def _kill(self, descriptor: int, guardian: int) -> None:
        try:
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        except OSError as error:
            self._tell(
                guardian, f"did not answer for {self._silent_seconds:g} s, and can't be killed: {error.strerror}"
            )
        else:
            self._tell(guardian, f"did not answer for {self._silent_seconds:g} s; killed")


@contextmanager
def _pidfd(pid: int) -> Iterator[int]:
    """A pidfd of ``pid`` (pidfd_open(2)); -1: there is none."""
    try:
        descriptor = os.pidfd_open(pid) if pid else -1
    except OSError:
        descriptor = -1
    try:
        yield descriptor
    finally:
        if descriptor >= 0:
            os.close(descriptor)
