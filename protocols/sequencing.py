"""
Delivery of items in order, exactly once applied: the two ends of the data pipe as state machines.

The transport may lose, repeat and delay batches, and each end may die. Items carry (epoch, number); the receiver
applies number + 1 and nothing else, and says cumulatively how far it is; the sender keeps what is not applied and goes
back when the receiver says so.

What this module does not do: no I/O, no clock (``now`` in seconds of any monotonic clock is passed in), no encoding. It
does not remember what was applied over a restart: the tree store does, in the same transaction as the items.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import attrs

from protocols.errors import ProtocolError

#: Bytes of items that may wait for acknowledgement.
WINDOW_BYTES = 32 << 20
#: How long acknowledgements may come without progress before everything unacknowledged is sent again.
STALL_SECONDS = 1.0


# -- receiver -------------------------------------------------------------------------------------------------------


@attrs.frozen
class Verdict:
    """
    What to do with a batch: skip the first ``skip`` items, apply the rest, or nothing at all.

    Attributes:
        outcome: ``apply``, ``duplicate`` (all applied before), ``gap`` (something before it is missing) or ``stale``
            (of an epoch that has ended).
        skip: items at the front that were applied before; meaningful with ``apply``.
    """

    outcome: str
    skip: int = 0


@attrs.define
class Receiver:
    """
    Position of one source at the view.

    Attributes:
        epoch: the epoch applied last; 0 for none.
        applied: the highest number applied in it.
    """

    epoch: int = 0
    applied: int = 0

    def judge(self, epoch: int, first: int, count: int) -> Verdict:
        """
        What to do with a batch of ``count`` items from ``first`` on. Changes nothing: call :meth:`advance` when done.

        Raises:
            ProtocolError: no batch can have these numbers.
        """
        if epoch < 1 or first < 1 or count < 1:
            raise ProtocolError(f"batch: epoch {epoch}, first {first}, count {count}: all are at least 1")
        if epoch < self.epoch:
            return Verdict("stale")
        applied = self.applied if epoch == self.epoch else 0
        if first > applied + 1:
            return Verdict("gap")
        skip = applied + 1 - first
        if skip >= count:
            return Verdict("duplicate")
        return Verdict("apply", skip)

    def advance(self, epoch: int, number: int) -> None:
        """
        Item ``number`` of ``epoch`` is applied.

        Raises:
            ProtocolError: it is not the one that comes next.
        """
        expected = self.applied + 1 if epoch == self.epoch else 1
        if epoch < self.epoch or number != expected:
            raise ProtocolError(f"item ({epoch}, {number}) where ({self.epoch}, {self.applied}) is applied")
        self.epoch, self.applied = epoch, number


# -- sender ---------------------------------------------------------------------------------------------------------


@attrs.frozen
class Sendable:
    """An item in the window: its number, and the frames that carry it."""

    number: int
    frames: tuple[bytes, ...]
    size: int


class SendWindow:
    """
    Items of one epoch on their way to the view. A new epoch takes a new window.

    Whoever fills it looks at ``full`` first; items come without holes, beginning anywhere.

    Args:
        epoch: data epoch of all items.
        max_bytes: when this many bytes wait, the window is ``full``; at least one item always fits.
        stall_seconds: see ``STALL_SECONDS``.

    Attributes:
        epoch: as given.
        applied: the highest number that the view says it has applied in this epoch; 0 for none.
        store: uuid of the view's tree store; empty until it is heard of.
        bytes: what waits for acknowledgement.
        resent: how often it went back.
    """

    def __init__(self, epoch: int, *, max_bytes: int = WINDOW_BYTES, stall_seconds: float = STALL_SECONDS) -> None:
        self.epoch = epoch
        self.max_bytes = max_bytes
        self.stall_seconds = stall_seconds
        self.applied = 0
        self.store = ""
        self.bytes = 0
        self.resent = 0
        self._items: deque[Sendable] = deque()
        self._sent = 0  # of _items, how many were handed out
        self._last = 0  # the highest number ever added
        self._since: float | None = None  # since when something sent waits without progress

    @property
    def full(self) -> bool:
        """No more should be added for now."""
        return self.bytes >= self.max_bytes

    @property
    def waiting(self) -> int:
        """Items that are not applied, sent or not."""
        return len(self._items)

    @property
    def behind(self) -> bool:
        """
        The view wants an item that is no longer here (its store is another one, or of before): only the one who numbers
        the items can help, with a new epoch. Meanwhile nothing is sent.
        """
        first = self._items[0].number if self._items else self._last + 1
        return bool(self.store) and first > self.applied + 1

    def add(self, number: int, frames: Sequence[bytes]) -> bool:
        """
        Take an item; False when it is here already or applied.

        Raises:
            ProtocolError: it is not the one after the last.
        """
        if number <= max(self._last, self.applied):
            return False
        if self._last and number != self._last + 1:
            raise ProtocolError(f"item {number} after {self._last}")
        size = sum(map(len, frames))
        self._items.append(Sendable(number, tuple(frames), size))
        self.bytes += size
        self._last = number
        return True

    def next_batch(self, now: float, max_bytes: int) -> list[Sendable] | None:
        """Consecutive items to be sent now, of at most ``max_bytes`` together (one at least); None for nothing."""
        if self._sent == len(self._items) or self.behind:
            return None
        batch: list[Sendable] = []
        size = 0
        for at in range(self._sent, len(self._items)):
            item = self._items[at]
            if batch and size + item.size > max_bytes:
                break
            batch.append(item)
            size += item.size
        self._sent += len(batch)
        if self._since is None:
            self._since = now
        return batch

    def on_ack(self, store: str, epoch: int, applied: int, now: float) -> None:
        """
        An acknowledgement. The sender goes back to the first item that is not applied when the store is another one,
        when the view fell back, and when acknowledgements come but nothing that was sent gets applied for
        ``stall_seconds``. One of a later epoch says nothing to us; one of an earlier epoch says that nothing of ours is
        applied.
        """
        if epoch > self.epoch:
            return
        reached = applied if epoch == self.epoch else 0
        changed = bool(self.store) and store != self.store
        self.store = store
        fell_back = reached < self.applied
        if reached > self.applied:
            self._since = None
        self.applied = reached
        while self._items and self._items[0].number <= reached:
            self.bytes -= self._items.popleft().size
            self._sent = max(self._sent - 1, 0)
        if not self._sent:
            self._since = None
        elif changed or fell_back or (self._since is not None and now - self._since >= self.stall_seconds):
            self._sent = 0
            self._since = None
            self.resent += 1
        elif self._since is None:
            self._since = now
