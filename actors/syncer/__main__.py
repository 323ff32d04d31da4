"""Start a syncer: ``python -P -m actors.syncer``, by a guardian."""

from __future__ import annotations

import math
import secrets
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

import attrs
import trio
import zmq

from fustor.runtime.actor import Host, run_actor
from fustor.runtime.config import between, structure
from fustor.runtime.handling import note_of
from fustor.runtime.keys import load_secret
from fustor.runtime.mesh import MeshSocket
from fustor.runtime.sockets import ClientCurve, open_socket
from protocols.codec import DATA_LIMITS, decode, encode, pack, unpack
from protocols.data import Ack, Applied, Batch, Item, SyncerHello
from protocols.errors import ConfigError, DecodeError, ProtocolError
from protocols.sequencing import SendWindow

#: Acknowledgements are repeated several times a second: after so long without one the view is not there.
_SILENCE_SECONDS = 1.5
#: The bytes of so many batches are sent item by item after a start.
_CAREFUL_BATCHES = 4


@attrs.frozen
class SyncerLimits:
    """
    Bounds of a syncer.

    Attributes:
        window_bytes: items that may wait for acknowledgement; above it nothing more is taken from the watcher.
        batch_bytes: size of one message to the view.
        stall_seconds: acknowledgements without progress for so long: everything unacknowledged is sent again.
    """

    window_bytes: int = attrs.field(default=32 << 20, validator=between(1, 1 << 40))
    batch_bytes: int = attrs.field(default=256 << 10, validator=between(1, 32 << 20))
    stall_seconds: float = attrs.field(default=1.0, validator=between(0.01, 3600))


@attrs.frozen
class SyncerConfig:
    """
    Whose items go where: see docs/architecture.md.

    ``quarantined`` are items that must not be sent, as ``epoch number``, and ``again`` those that were left out and are
    wanted now (see :mod:`protocols.quarantine`).
    """

    agent: str
    source: str
    data: str
    acks: str
    server_key: str
    key_file: str
    limits: SyncerLimits = attrs.Factory(SyncerLimits)
    quarantined: tuple[str, ...] = ()
    again: tuple[str, ...] = ()

    def __attrs_post_init__(self) -> None:
        for name in ("quarantined", "again"):
            for index, item in enumerate(getattr(self, name)):
                numbers = item.split(" ")
                if len(numbers) != 2 or not all(number.isascii() and number.isdigit() for number in numbers):
                    raise ConfigError(f"{name}[{index}]", item[:80], "'epoch number' is accepted")

    def left_out(self, epoch: int) -> frozenset[int]:
        """Numbers of the items of ``epoch`` that must not be sent."""
        items = [item.split(" ") for item in self.quarantined]
        return frozenset([int(number) for of, number in items if int(of) == epoch])

    @property
    def wanted_again(self) -> frozenset[int]:
        """Epochs of which something was left out that is wanted now."""
        return frozenset([int(item.split(" ")[0]) for item in self.again])


class Syncer:
    """The ring around a send window."""

    def __init__(self, config: SyncerConfig, host: Host) -> None:
        self._config = config
        self._host = host
        self._incarnation = ""
        self._hello_at = -math.inf
        self._window = self._new_window(0)
        self._room = trio.Event()
        self._more = trio.Event()
        self._last_ack: Ack | None = None
        self._note = note_of(host.name, host.log)
        self._left_out: frozenset[int] = frozenset()
        #: Bytes to be sent item by item, so that the note names the right one: what a predecessor has died of is not
        #: far behind the first item that is not applied, and nearer after each death.
        self._careful = _CAREFUL_BATCHES * config.limits.batch_bytes
        for name in ("items", "batches", "bytes", "resent", "refused"):
            host.counters.setdefault(name, 0)

    def _new_window(self, epoch: int) -> SendWindow:
        limits = self._config.limits
        return SendWindow(epoch, max_bytes=limits.window_bytes, stall_seconds=limits.stall_seconds)

    async def run(self) -> None:
        """Work until cancelled."""
        config = self._config
        pair = load_secret(config.key_file)
        curve = ClientCurve(server=config.server_key, public=pair.public, secret=pair.secret)
        context = zmq.Context()
        topic = f"{config.agent}/{config.source}".encode()
        uplink = MeshSocket(
            open_socket(context, zmq.PULL, connect=f"ipc://uplink.{config.source}", hwm=64, max_size=DATA_LIMITS.size)
        )
        back = MeshSocket(open_socket(context, zmq.PUSH, connect=f"ipc://found.{config.source}", hwm=64))
        push = MeshSocket(open_socket(context, zmq.PUSH, connect=config.data, hwm=16, curve=curve))
        acks = MeshSocket(open_socket(context, zmq.SUB, connect=config.acks, hwm=64, curve=curve, subscribe=(topic,)))
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._take, uplink, back)
                nursery.start_soon(self._push, push)
                nursery.start_soon(self._hear, acks, back)
                await self._hello(back)
                self._host.ready(source=config.source)
        finally:
            for mesh in (uplink, back, push, acks):
                mesh.close()
            context.term()

    async def _hello(self, back: MeshSocket) -> None:
        """
        Ask the watcher for everything that is not applied, and forget what we have. Items carry the name under which
        they were asked for, so nothing that was sent before is taken for an answer.
        """
        self._incarnation = secrets.token_hex(8)
        self._hello_at = trio.current_time()
        self._window = self._new_window(0)
        await back.send([encode(SyncerHello(incarnation=self._incarnation))])

    async def _take(self, uplink: MeshSocket, back: MeshSocket) -> None:
        """Items from the watcher into the window, as long as it has room."""
        while True:
            while self._window.full and not self._window.behind:
                self._room = trio.Event()
                await self._room.wait()
            frames = await uplink.receive()
            try:
                self._add(frames)
            except ProtocolError as error:
                self._host.counters["refused"] += 1
                self._host.log.warning("item refused", extra={"error": str(error)})
                lost = True
            else:
                # Should the watcher not have it either, it begins a new epoch when it hears how far the view is.
                lost = self._window.behind
            if lost and trio.current_time() >= self._hello_at + self._config.limits.stall_seconds:
                await self._hello(back)

    def _add(self, frames: list[bytes]) -> None:
        if len(frames) != 3:
            raise DecodeError("an item: three frames are accepted")
        head = unpack(frames[0])
        if type(head) is not tuple or [type(part) for part in head[:3]] != [int, int, str]:
            raise DecodeError("an item's head: [epoch, number, incarnation] is accepted")
        epoch, number, incarnation = head[:3]
        if incarnation != self._incarnation or epoch < self._window.epoch:
            return
        if epoch > self._window.epoch:
            self._window = self._new_window(epoch)
            self._left_out = self._config.left_out(epoch)
            if self._last_ack is not None:
                self._acknowledge(self._last_ack)
        if self._window.add(number, frames[1:]):
            self._host.counters["items"] += 1
            self._more.set()

    async def _push(self, push: MeshSocket) -> None:
        """Batches to the view."""
        config = self._config
        while True:
            self._gauge()
            most = 1 if self._careful > 0 else config.limits.batch_bytes
            batch = self._window.next_batch(trio.current_time(), most)
            if batch is None:
                self._more = trio.Event()
                await self._more.wait()
                continue
            head = Batch(
                agent=config.agent,
                source=config.source,
                epoch=self._window.epoch,
                first=batch[0].number,
                count=len(batch),
                missing=len(self._left_out) + (self._window.epoch in config.wanted_again),
            )
            self._note.begin(b"%d %d" % (head.epoch, head.first))
            frames = [encode(head)]
            for item in batch:
                frames += self._empty(item.number) if item.number in self._left_out else item.frames
            self._careful -= sum(item.size for item in batch)
            self._host.counters["batches"] += 1
            self._host.counters["bytes"] += sum(map(len, frames))
            await push.send(frames)
            self._note.end()

    def _empty(self, number: int) -> list[bytes]:
        """In the place of an item that must not be sent: nothing, and the next one has its number."""
        return [encode(Item.of(self._window.epoch, number, [])), pack([])]

    async def _hear(self, acks: MeshSocket, back: MeshSocket) -> None:
        """Acknowledgements into the window, and on to the watcher."""
        ours = (self._config.agent, self._config.source)
        while True:
            frames: list[bytes] = []
            with trio.move_on_after(_SILENCE_SECONDS):
                frames = await acks.receive()
            # Waiting for Fusion, for days if need be, is no hang.
            self._host.state = "running" if frames else "waiting"
            if not frames:
                continue
            try:
                ack = decode(frames[-1], Ack)
            except ProtocolError as error:
                self._host.counters["refused"] += 1
                self._host.log.warning("acknowledgement refused", extra={"error": str(error)})
                continue
            if (ack.agent, ack.source) != ours:
                continue  # a subscription is to everything that begins with the topic
            self._last_ack = ack
            self._acknowledge(ack)
            # Gone back: so the watcher begins a new epoch, in which nothing is left out.
            applied = 0 if ack.epoch in self._config.wanted_again else ack.applied
            relay = Applied(incarnation=self._incarnation, store=ack.store, epoch=ack.epoch, applied=applied)
            try:
                back.send_nowait([encode(relay)])
            except trio.WouldBlock:
                continue  # the next one says more

    def _acknowledge(self, ack: Ack) -> None:
        before = self._window.resent
        self._window.on_ack(ack.store, ack.epoch, ack.applied, trio.current_time())
        self._host.counters["resent"] += self._window.resent - before
        self._more.set()
        self._room.set()

    def _gauge(self) -> None:
        self._host.outstanding = self._window.waiting > 0
        self._host.gauges.update(waiting_items=self._window.waiting, waiting_bytes=self._window.bytes)


def build(config: dict[str, Any]) -> Callable[[Host], Awaitable[None]]:
    """
    The syncer for one configuration.

    Raises:
        ConfigFaults: it can't be accepted.
    """
    told = structure(SyncerConfig, config)

    async def run(host: Host) -> None:
        async with trio.open_nursery() as nursery:

            async def until_stopped() -> None:
                await host.stop_requested.wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(until_stopped)
            await Syncer(told, host).run()

    return run


def start() -> NoReturn:
    """Be a syncer; ends the process."""
    run_actor("syncer", build)


if __name__ == "__main__":
    start()
