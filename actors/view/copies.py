"""
When the synced copy of a store is made: the task, and what it says.

Only when the tree has changed, every ``copy_seconds``, never for more than a tenth of the time, never without room for
it and some more, and never so that the store grows much while it is pinned. A copy tells how much of the store is free:
when that is a lot, the view is asked to put the compact copy in its place.

What this module does not do: the copy itself (:mod:`fustor.treestore.copying`), or its use.
"""

from __future__ import annotations

import shutil
import time

import trio

from actors.view.config import ViewLimits
from fustor.runtime.actor import Host
from fustor.treestore.copying import CancelledError, Copying, Made, generation_of
from fustor.treestore.errors import StoreFullError
from fustor.treestore.place import Place
from fustor.treestore.writer import Writer
from protocols.errors import MachineError

#: Until the first copy after a start, at most: a view that does not live long has one too.
FIRST_SECONDS = 15.0
#: A copy that took so long is followed by so many times that of rest.
_REST = 9


class Copier:
    """
    Args:
        place: where.
        limits: of the view.
        host: gauges ``copy_bytes``, ``copy_ms``, ``copied_at`` (seconds since 1970); fact ``copy``: why there is no
            newer one; counters ``copies``, ``copies_failed``.

    Attributes:
        compact: so much of the store is free that it should be replaced.
    """

    def __init__(self, place: Place, limits: ViewLimits, host: Host) -> None:
        self._place = place
        self._limits = limits
        self._host = host
        self._copying: Copying | None = None
        self._from = 0
        self.compact = trio.Event()
        for name in ("copies", "copies_failed"):
            host.counters.setdefault(name, 0)

    async def run(self, writer: Writer) -> None:
        """Make copies of the store of ``writer`` until cancelled; it is not used when this returns."""
        limits = self._limits
        if not limits.copy_seconds:
            return
        self._host.facts.pop("copy", "")
        copied = await trio.to_thread.run_sync(self._generation)
        pause = min(limits.copy_seconds, FIRST_SECONDS)
        while True:
            await trio.sleep(pause)
            pause = limits.copy_seconds
            generation = _generation(writer)
            if generation == copied:
                continue
            since = trio.current_time()
            try:
                made = await self.make(writer)
            except MachineError as error:
                self._failed(error)
            else:
                copied = generation
                free = writer.used_bytes() - made.bytes
                if free >= limits.compact_bytes and free > limits.compact_share * writer.used_bytes():
                    self.compact.set()
            pause = max(pause, _REST * (trio.current_time() - since))

    async def make(self, writer: Writer) -> Made:
        """
        Make a copy now.

        Raises:
            CancelledError, StoreFullError, StoreUnusableError, MachineError: see
                :meth:`fustor.treestore.copying.Copying.run`; StoreFullError when there is not enough room to begin.
        """
        used = self._from = writer.used_bytes()
        await trio.to_thread.run_sync(self._check_room, used)
        copying = self._copying = Copying(writer.environment, _generation(writer), self._place.copy)
        try:
            # The disk may be slow to take it; the store is left at once.
            made = await trio.to_thread.run_sync(copying.run, abandon_on_cancel=True)
        finally:
            self._copying = None
            copying.cancel("the view needs the store for itself")
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(copying.released.wait)
        host = self._host
        host.counters["copies"] += 1
        host.gauges.update(copy_bytes=made.bytes, copy_ms=round(made.seconds * 1e3), copied_at=round(time.time()))
        if host.facts.pop("copy", ""):
            host.log.info("the store is copied again")
        return made

    def grown(self, writer: Writer) -> None:
        """To be told of each commit: a copy that costs too much is given up."""
        if self._copying is not None and writer.used_bytes() - self._from > self._limits.copy_growth_bytes:
            self._copying.cancel(f"the store grew by more than {self._limits.copy_growth_bytes} bytes meanwhile")

    def full(self) -> None:
        """To be told when a commit found no room: what a copy pins may be what is missing."""
        if self._copying is not None:
            self._copying.cancel("the store needs the room")

    def _generation(self) -> int:
        try:
            return generation_of(self._place.copy)
        except MachineError:
            return 0

    def _check_room(self, used: int) -> None:
        needed = used + self._limits.copy_reserve_bytes
        try:
            free = shutil.disk_usage(self._place.folder).free
        except OSError as error:
            raise MachineError(f"{self._place.folder}: {error.strerror}") from None
        if free < needed:
            raise StoreFullError(f"no copy of the store is made: {free} bytes are free, {needed} are needed")

    def _failed(self, error: MachineError) -> None:
        host = self._host
        host.counters["copies_failed"] += 1
        if host.facts.get("copy") != str(error):
            level = host.log.info if isinstance(error, CancelledError) else host.log.error
            level("the store could not be copied", extra={"error": str(error)})
        host.facts["copy"] = str(error)
        host.nudge()


def _generation(writer: Writer) -> int:
    with writer.reader().snapshot() as snapshot:
        return snapshot.generation()
