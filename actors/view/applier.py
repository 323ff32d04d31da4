"""
Batches to the writer, positions to acknowledgements.

What this module does not do: no sockets, no waiting. It applies one item at a time, so that whoever calls it can commit
and see to other things between any two.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs

from actors.view.forbidden import Forbidden, item_of
from fustor.runtime.handling import Handling
from fustor.treestore.writer import SourceSpec, Writer
from protocols.codec import DATA_LIMITS, decode, encode
from protocols.data import Ack, Batch, Item, Watermark
from protocols.errors import ProtocolError
from protocols.sequencing import Receiver

#: Outcomes of batches that are dropped, and what counts them.
_DROPPED = {"duplicate": "duplicates", "gap": "gaps", "stale": "stale"}


class Applier:
    """
    Args:
        writer: of the store.
        sources: all sources of the view.
        counters: where to count: ``batches``, ``duplicates``, ``gaps`` and ``stale`` ones, ``refused`` (not to be
            read, or not whose they say), ``quarantined`` items; the writer counts items and rows.
        note: where the item in hand is written down.
        forbidden: items that must not be applied.
    """

    def __init__(
        self,
        writer: Writer,
        sources: Sequence[SourceSpec],
        counters: dict[str, int],
        note: Handling | None = None,
        forbidden: Forbidden | None = None,
    ) -> None:
        self._writer = writer
        self._note = note or Handling()
        self._forbidden = forbidden or Forbidden()
        self._sources = {(source.agent, source.source): source for source in sources}
        self._counters = counters
        for name in ("batches", "refused", "quarantined", *_DROPPED.values()):
            counters.setdefault(name, 0)

    def apply(self, user: tuple[str, str], frames: Sequence[bytes]) -> Iterator[int]:
        """
        Apply a batch, item by item; yields the bytes of each after it is applied. Nothing is committed.

        Args:
            user: (role, name) that the connection proved.
            frames: the message.

        Raises:
            ProtocolError: this is no batch, or not one for us from this user. What was wrong in an item is counted and
                passed over, for asking again would bring the same.
            StoreFullError, StoreUnusableError, MachineError: of the store; the transaction is aborted.
        """
        try:
            batch, source = self._batch(user, frames)
            position = Receiver(*self._writer.position(source.index))
            verdict = position.judge(batch.epoch, batch.first, batch.count)
        except ProtocolError:
            self._counters["refused"] += 1
            raise
        self._counters["batches"] += 1
        if verdict.outcome != "apply":
            self._counters[_DROPPED[verdict.outcome]] += 1
            return
        mine = (batch.agent, batch.source, batch.epoch)
        forbidden = self._forbidden.quarantined.get(mine, frozenset())
        missing = len(forbidden) + batch.missing + (mine in self._forbidden.again)
        for at in range(verdict.skip, batch.count):
            number, rows = batch.first + at, frames[2 + 2 * at]
            message = frames[1 + 2 * at]
            position.advance(batch.epoch, number)
            if number in forbidden:
                self._counters["quarantined"] += 1
                self._writer.skip(source.index, batch.epoch, number)
            else:
                self._note.begin(item_of(*mine, number))
                self._item(source.index, batch.epoch, number, message, rows, missing)
            yield len(message) + len(rows)

    def _batch(self, user: tuple[str, str], frames: Sequence[bytes]) -> tuple[Batch, SourceSpec]:
        batch = decode(frames[0], Batch)
        if user != ("agent", batch.agent):
            raise ProtocolError(f"a batch of agent {batch.agent!r} from {':'.join(user)}")
        source = self._sources.get((batch.agent, batch.source))
        if source is None:
            raise ProtocolError(f"a batch of {batch.agent}/{batch.source}, which is no source of this view")
        if len(frames) != 1 + 2 * batch.count:
            raise ProtocolError(f"a batch of {batch.count} items in {len(frames)} frames")
        return batch, source

    def _item(self, index: int, epoch: int, number: int, message: bytes, rows: bytes, missing: int) -> None:
        try:
            item = decode(message, Item, limits=DATA_LIMITS)
            if (item.epoch, item.number) != (epoch, number):
                raise ProtocolError(f"item ({item.epoch}, {item.number}) in the place of ({epoch}, {number})")
        except ProtocolError:
            self._writer.skip(index, epoch, number)
            return
        if missing and item.watermark:
            marks = tuple([(place, _incomplete(mark, missing)) for place, mark in item.watermark])
            item = attrs.evolve(item, watermark=marks)  # type: ignore[misc]
        try:
            self._writer.apply(index, item, rows)
        except ProtocolError:
            self._counters["refused"] += 1

    def acks(self) -> list[list[bytes]]:
        """Topic and acknowledgement of each source; only to be asked for when nothing is uncommitted."""
        found = []
        for (agent, name), source in self._sources.items():
            epoch, applied = self._writer.position(source.index)
            if (agent, name, epoch) in self._forbidden.again:
                applied = 0  # so the watcher begins a new epoch, in which nothing is missing
            ack = Ack(agent=agent, source=name, store=self._writer.uuid, epoch=epoch, applied=applied)
            found.append([f"{agent}/{name}".encode(), encode(ack)])
        return found


def _incomplete(mark: Watermark, missing: int) -> Watermark:
    """What a watermark may claim where items were passed over."""
    state = "degraded" if mark.state == "live" else mark.state
    reasons = (*mark.reasons[:15], f"{missing} quarantined items are missing (fustor quarantine list)")
    return Watermark(mark.as_of_ns, state, complete=False, reasons=reasons, counts=mark.counts)
