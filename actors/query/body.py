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
from actors.query.spool import Spool
from actors.query.stores import Lease

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
        spool_folder: where that file is; None for the system's folder for temporary files.
    """

    whole_bytes: int = 64 << 10
    slice_bytes: int = 256 << 10
    wait_seconds: float = 1.0
    spool_memory_bytes: int = 16 << 20
    spool_folder: str | None = None


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
        self._spool = Spool(limits.spool_memory_bytes, limits.spool_folder)
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
        spool, most = self._spool, self._limits.whole_bytes
        batch, size = self._first, self._size
        patience = trio.current_time() + self._limits.wait_seconds
        turn = time.perf_counter() + _TURN_SECONDS
        for number, (data, length) in enumerate(self._items):
            if data is not None:
                batch.append(data)
                size += length
            if size <= most and (number % _LOOK_ITEMS or time.perf_counter() < turn):
                continue
            if batch:
                spool.put(batch, size)
                batch, size = [], 0
            await spool.wait_taken(_AHEAD_BATCHES, patience)
            turn = time.perf_counter() + _TURN_SECONDS
        self._lease.close()
        self.copied = True
        if batch:
            spool.put(batch, size)
        spool.end()

    async def _render(self, send: Send) -> None:
        spool, feed, most = self._spool, self._renderer.feed, self._limits.slice_bytes
        out: list[bytes] = []
        size = 0
        while (batch := await spool.take()) is not None:
            for data in batch:
                size += feed(data, out)
                if size >= most:
                    await send(b"".join(out))
                    out.clear()
                    size = 0
        self._renderer.end(out)
        await send(b"".join(out))

    def close(self) -> None:
        """Release the snapshot and the spool."""
        self._lease.close()
        self._spool.close()
