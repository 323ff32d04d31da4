"""
Keeping one template: when to start the next, whether to wait for the first.

What this module does not do: start, signal or reap its process; the loop does.
"""

from __future__ import annotations

import socket

from fustor.guardian.process import Fork, Program
from fustor.guardian.table import Slot
from fustor.guardian.template import Template

#: Seconds that the first control actor waits for the first template: two imports at a time take longer than one.
FIRST_SECONDS = 5.0
#: Seconds until another one is started, doubled each time that one does not get ready, up to the second.
RETRY_SECONDS, RETRY_SECONDS_MAX = 1.0, 300.0


class Tending:
    """
    Args:
        wanted: there shall be one.
        awaited: nothing runs yet, so what is to be started may wait for the first one.
        now: seconds of the monotonic clock, as everywhere here.

    Attributes:
        slot: of its process, from its start to its exit; None while none runs.
        template: what can be asked to fork; None while nothing can.
    """

    def __init__(self, wanted: bool, awaited: bool, now: float) -> None:
        self.slot: Slot | None = None
        self.template: Template | None = None
        self._wanted = wanted
        self._retry = RETRY_SECONDS
        self._due = now
        self._awaited_until = now + FIRST_SECONDS if wanted and awaited else now

    def due(self, now: float) -> bool:
        """One is to be started."""
        return self._wanted and self.slot is None and now >= self._due

    def awaited(self, now: float) -> bool:
        """What is to be started should wait for it."""
        return now < self._awaited_until

    def wake_at(self, now: float) -> float | None:
        """When one of the two changes without anybody's doing."""
        times = []
        if self._wanted and self.slot is None:
            times.append(self._due)
        if self.awaited(now):
            times.append(self._awaited_until)
        return min(times, default=None)

    def started(self, slot: Slot, sock: socket.socket) -> None:
        """Its process has been made."""
        self.slot = slot
        self.template = Template(sock)

    def heard(self, now: float) -> bool:
        """It has said something; False when it is of no more use."""
        useful = self.template is not None and self.template.hear()
        if useful and self.template is not None and self.template.modules:
            self._retry = RETRY_SECONDS
        self._awaited_until = now
        return useful

    def fork(self, program: Program) -> Fork | None:
        """How ``program`` is forked; None when it can't be."""
        template = self.template
        return template.fork if template is not None and template.module(program) else None

    def dropped(self, now: float) -> None:
        """It is of no more use, though it may still run."""
        if self.template is not None:
            self.template.close()
            self.template = None
        self._awaited_until = now

    def exited(self, now: float) -> float:
        """It has ended; seconds until the next one is started."""
        self.dropped(now)
        self.slot = None
        wait = self._retry
        self._due = now + wait
        self._retry = min(2 * wait, RETRY_SECONDS_MAX)
        return wait

    def end(self) -> None:
        """There shall be none any more."""
        self._wanted = False
