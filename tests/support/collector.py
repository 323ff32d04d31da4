"""A syncer and a view in one: takes a watcher's items into a model, and acknowledges them."""

from __future__ import annotations

import os
from pathlib import Path

import trio
import zmq

from fustor.runtime.mesh import MeshSocket
from fustor.runtime.sockets import open_socket
from protocols.codec import DATA_LIMITS, encode, unpack
from protocols.data import Applied, SyncerHello
from tests.support.actors import until
from tests.support.model import ModelView
from tests.support.oracle import Difference, compare, walk


class Collector:
    """
    The other end of source ``data``.

    Attributes:
        view: what was applied.
        taken: (epoch, number) of every item that came, applied or not.
    """

    def __init__(self, run: Path, *, store: str = "store") -> None:
        self.view = ModelView()
        self.store = store
        self.acknowledging = True
        self.taken: list[tuple[int, int]] = []
        self.incarnation = ""
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._uplink = MeshSocket(
            open_socket(self._context, zmq.PULL, connect=f"ipc://{run}/uplink.data", hwm=64, max_size=DATA_LIMITS.size)
        )
        self.back = MeshSocket(open_socket(self._context, zmq.PUSH, connect=f"ipc://{run}/found.data", hwm=64))

    async def hello(self, incarnation: str) -> None:
        """Begin anew, as a syncer that has just started."""
        self.incarnation = incarnation
        await self.back.send([encode(SyncerHello(incarnation=incarnation))])

    async def run(self) -> None:
        """Take items until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._acknowledge)
            while True:
                head, item, rows = await self._uplink.receive()
                epoch, number, incarnation = unpack(head)
                if incarnation != self.incarnation:
                    continue
                self.taken.append((epoch, number))
                if number == (self.view.applied + 1 if epoch == self.view.epoch else 1) and epoch >= self.view.epoch:
                    self.view.apply(item, rows)

    async def _acknowledge(self) -> None:
        """Several times a second, as a view does."""
        while True:
            if self.acknowledging and self.incarnation:
                applied = Applied(
                    incarnation=self.incarnation,
                    store=self.store,
                    epoch=self.view.epoch,
                    applied=self.view.applied,
                )
                with trio.move_on_after(0.5):
                    await self.back.send([encode(applied)])
            await trio.sleep(0.02)

    def difference(self, root: Path) -> Difference:
        """The view against the disk."""
        return compare(walk(os.fsencode(root)), self.view.entries())

    async def right(self, root: Path) -> None:
        """Until the view is as the disk."""
        try:
            await until(lambda: not self.difference(root))
        except trio.Cancelled:
            print(self.difference(root), self.view.watermark, self.view.epoch, self.view.applied)
            raise

    async def state(self, state: str) -> None:
        """Until the source is declared to be in ``state``."""
        await until(lambda: self.view.watermark is not None and self.view.watermark.state == state)

    async def claims(self, when: int) -> None:
        """Until everything before ``when`` is claimed to be contained."""
        await until(lambda: self.view.watermark is not None and self.view.watermark.as_of_ns > when)

    def close(self) -> None:
        """Give the sockets back."""
        self._uplink.close()
        self.back.close()
        self._context.term()
