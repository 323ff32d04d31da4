"""
Bodies that may be long: read in one short transaction, rendered and sent at the reader's pace.

The first slice is read at once. If that is all, the answer is short, and whole. If not, a task copies the rest of the
records into a spool, while another renders and sends what is there. The copying waits for the reader where it is ahead
of it, but not for long: then it goes on as fast as it can and whatever the client does, and the snapshot ends.

What this module does not do: it knows nothing of trees or searches, only of items and their size.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Protocol

import attrs
import trio

from actors.query.answer import Send
from actors.query.spool import Room, Spool
from actors.query.stores import Lease
from actors.query.turns import Turns

#: Seconds of work between two checkpoints.
_TURN_SECONDS = 0.001
#: Batches that are ahead of the reader while the copying waits for it.
_AHEAD_BATCHES = 4
#: Items between two looks at the clock, so that a small answer is whole however busy the host is.
_LOOK_ITEMS = 8

#: Plain data and its size in bytes; data None: nothing yet, but time passes.
Item = tuple[Any, int]


class Renderer(Protocol):
    """Turns items into the text of a body."""

    def feed(self, item: Any, out: list[bytes]) -> int:
        """Append the text of ``item`` to ``out``; its size."""

    def end(self, out: list[bytes]) -> None:
        """Append the end of the text."""


@attrs.frozen
class BodyLimits:
    """
    Attributes:
        whole_bytes: an answer whose records are no larger is sent whole.
        slice_bytes: of text, sent at once.
        wait_seconds: how long copying may wait for a reader that is slower.
        spool_memory_bytes: what may wait in memory for a slow reader; more goes to an unlinked file.
        room: what may wait so for all of them together.
        turns: in which all of them work.
        spool_folder: where that file is; None for the system's folder for temporary files.
    """

    whole_bytes: int = 64 << 10
    slice_bytes: int = 256 << 10
    wait_seconds: float = 1.0
    spool_memory_bytes: int = 16 << 20
    spool_folder: str | None = None
    room: Room = attrs.field(factory=lambda: Room(64 << 20), eq=False)
    turns: Turns = attrs.field(factory=Turns, eq=False)


def make_body(lease: Lease, items: Iterator[Item], renderer: Renderer, limits: BodyLimits) -> list[bytes] | LongBody:
    """
    The body of ``items``, in parts, where it is short; else how to get it. Takes ``lease`` over in either case, and
    when it raises.

    Args:
        lease: what ``items`` read from.
        items: read in this call as far as ``whole_bytes`` or one turn of work goes.
    """
    try:
        first: list[Any] = []
        size = 0
        most, turn = limits.whole_bytes, 0.0
        for number, (data, length) in enumerate(items, 1):
            if data is not None:
                first.append(data)
                size += length
            if size > most:
                return LongBody(lease, items, first, size, renderer, limits)
            if not number % _LOOK_ITEMS:
                now = time.perf_counter()
                turn = turn or now + _TURN_SECONDS
                if now > turn:
                    return LongBody(lease, items, first, size, renderer, limits)
        out: list[bytes] = []
        for data in first:
            renderer.feed(data, out)
        renderer.end(out)
    except BaseException:
        lease.close()
        raise
    lease.close()
    return out


class LongBody:
    """A :class:`~actors.query.answer.Stream`; see :func:`make_body`."""

    def __init__(
        self, lease: Lease, items: Iterator[Item], first: list[Any], size: int, renderer: Renderer, limits: BodyLimits
    ) -> None:
        self._lease = lease
        self._items = items
        self._renderer = renderer
        self._limits = limits
        self._first, self._size = first, size
        self._spool = Spool(limits.spool_memory_bytes, limits.spool_folder, limits.room)
        self.copied = False  #: everything is read, the snapshot has ended

    @property
    def spilled(self) -> int:
        """Bytes that went through the file."""
        return self._spool.spilled

    async def write(self, send: Send) -> None:
        """
        Send the body.

        Raises:
            MachineError: a record is damaged.
            OSError: the spool file can't be written.
        """
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._copy)
                await self._render(send)
        except BaseExceptionGroup as group:
            # One cause in all but the rarest cases; the sender tells a peer that is gone by its type.
            raise group.exceptions[0] from None

    async def _copy(self) -> None:
        spool = self._spool
        patience = trio.current_time() + self._limits.wait_seconds
        more = True
        while more:
            async with self._limits.turns:
                more = self._copy_some()
            await spool.wait_taken(_AHEAD_BATCHES, patience)
        spool.end()

    def _copy_some(self) -> bool:
        """One turn; whether there is more."""
        batch, size, most = self._first, self._size, self._limits.whole_bytes
        self._first, self._size = [], 0
        until = time.perf_counter() + _TURN_SECONDS
        for number, (data, length) in enumerate(self._items):
            if data is not None:
                batch.append(data)
                size += length
            if size > most or (not number % _LOOK_ITEMS and time.perf_counter() >= until):
                self._put(batch, size)
                return True
        # The snapshot ends with the last record, whatever becomes of this batch.
        self._lease.close()
        self.copied = True
        self._put(batch, size)
        return False

    def _put(self, batch: list[Any], size: int) -> None:
        if batch:
            self._spool.put(batch, size)

    async def _render(self, send: Send) -> None:
        spool, feed, most, turns = self._spool, self._renderer.feed, self._limits.slice_bytes, self._limits.turns
        out: list[bytes] = []
        size = 0
        while (batch := await spool.take()) is not None:
            rest = iter(batch)
            fed = True
            while fed:
                async with turns:
                    fed = False
                    for data in rest:
                        fed = True
                        size += feed(data, out)
                        if size >= most:
                            break
                if size >= most:
                    text = b"".join(out)
                    out.clear()  # not after it was sent: a slow reader would cost twice as much memory
                    size = 0
                    await send(text)
        self._renderer.end(out)
        await send(b"".join(out))

    def close(self) -> None:
        """Release the snapshot and the spool."""
        self._lease.close()
        self._spool.close()
