"""
The sockets of a view and the loop that applies what comes.

One task receives and applies; another acknowledges what is committed. What is queued goes into one transaction, for as
long as the limits say; when nothing is queued it is committed at once.

A full disk ends the transaction, not the actor: the acknowledged position stays, the syncers repeat, and we try again.
Beside it copies of the store are made. A damaged store is replaced by the last of them, one that is mostly empty by one
of this moment. Where a new store was asked for, it is filled behind the one that is answered from.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import trio
import zmq

from actors.view.applier import Applier
from actors.view.config import ViewConfig
from actors.view.copies import Copier
from actors.view.forbidden import Forbidden
from actors.view.store import Opened, compact, end_reset, open_reset, open_store, retire
from fustor.runtime.actor import Host
from fustor.runtime.audience import Audience
from fustor.runtime.config import structure
from fustor.runtime.handling import note_of
from fustor.runtime.keys import AuthorizedKeys, load_secret
from fustor.runtime.mesh import MeshSocket
from fustor.runtime.sockets import ServerCurve, open_socket
from fustor.runtime.zap import Fence, serve_zap
from fustor.treestore.errors import StoreFullError, StoreUnusableError
from fustor.treestore.generations import Generations
from fustor.treestore.place import Place
from fustor.treestore.writer import Writer
from protocols.errors import MachineError, ProtocolError

T = TypeVar("T")

#: Who may send us data.
ROLES = frozenset(("agent",))
#: States of sources that have told all they have.
_TOLD = frozenset(("live", "degraded"))
#: Seconds between looks for reader slots of processes that died.
RECLAIM_SECONDS = 5.0
#: Seconds between looks for listeners whose key was withdrawn.
KEYS_SECONDS = 0.5


def build(config: dict[str, Any]) -> Callable[[Host], Awaitable[None]]:
    """
    The view for one configuration.

    Raises:
        ConfigFaults, ConfigError: it can't be accepted.
    """
    told = structure(ViewConfig, config)
    load_secret(told.key_file)
    Forbidden.of(told.quarantined, told.again)

    async def run(host: Host) -> None:
        await View(told, host).run()

    return run


class View:
    """One view, from its sockets to its store."""

    def __init__(self, config: ViewConfig, host: Host) -> None:
        self._config = config
        self._host = host
        self._limits = config.limits
        self._forbidden = Forbidden.of(config.quarantined, config.again)
        self._note = note_of(host.name, host.log)
        self._specs = [source.spec() for source in config.sources]
        self._fence = Fence(AuthorizedKeys(config.authorized))
        self._audience = Audience(self._fence)
        self._place = Place(config.store)
        self._restored = ""
        #: A new store is filled in the back.
        self._resetting = False
        self._copier = Copier(self._place, config.limits, host)
        self._news = trio.Event()
        self._acks: list[list[bytes]] = []
        self._reclaim_at = self._look_at = -math.inf

    async def run(self) -> None:
        """Work until asked to stop."""
        config, limits = self._config, self._limits
        context = zmq.Context()
        sockets: list[MeshSocket] = []
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(serve_zap, context, self._fence.authorized, ROLES)
                curve = ServerCurve(load_secret(config.key_file).secret, ROLES)
                data = open_socket(
                    context,
                    zmq.PULL,
                    bind=config.data,
                    hwm=limits.queue,
                    max_size=limits.batch_bytes,
                    curve=curve,
                    held=self._host.inherited(config.data_listen),
                )
                self._data = MeshSocket(data)
                sockets.append(self._data)
                acks = open_socket(
                    context, zmq.XPUB, bind=config.acks, curve=curve, held=self._host.inherited(config.acks_listen)
                )
                self._pub = MeshSocket(acks)
                sockets.append(self._pub)
                nursery.start_soon(self._greet)
                nursery.start_soon(self._acknowledge)
                nursery.start_soon(self._serve)
                await self._host.stop_requested.wait()
                nursery.cancel_scope.cancel()
        finally:
            for socket in sockets:
                socket.close()
            context.term()

    # -- the store ----------------------------------------------------------------------------------------------------

    async def _serve(self) -> None:
        """Keep a store and apply to it; a damaged one is replaced."""
        writer = await self._open("")
        while True:
            damage = ""
            try:
                async with trio.open_nursery() as nursery:
                    if not self._resetting:
                        nursery.start_soon(self._copier.run, writer)
                    damage = await self._receive()
                    nursery.cancel_scope.cancel()
                if self._resetting and not damage:
                    await self._end_reset()
                elif not damage:
                    writer = await self._compact(writer)
            except BaseException:
                await self._close(writer, clean=True)
                raise
            if damage:
                await self._close(writer, clean=False)
                if self._resetting:
                    await self._patiently(self._place.note_reset, "")  # begin it again
                writer = await self._open("" if self._resetting else damage)

    def _make(self, path: str, generations: Generations) -> Writer:
        limits = self._limits
        return Writer(
            path,
            self._specs,
            map_size=limits.map_bytes,
            max_readers=limits.readers,
            counters=self._host.counters,
            generations=generations,
        )

    async def _patiently(self, do: Callable[..., T], *arguments: Any) -> T:
        """What may wait for the disk, which the loop may not, for as long as it takes: the disk may be full."""
        while True:
            try:
                return await trio.to_thread.run_sync(do, *arguments)
            except MachineError as error:
                await self._fail(error)

    async def _open(self, damage: str) -> Writer:
        opened: Opened = await self._patiently(
            open_store, self._place, self._make, self._limits.map_bytes, damage, not self._restored
        )
        if opened.reason:
            self._host.facts["replaced"] = opened.reason
        self._restored = opened.restored
        if opened.restored:
            self._host.facts["restored"] = opened.restored
        writer = opened.writer
        wanted = self._place.resetting()
        if wanted == writer.uuid:
            await self._patiently(self._place.end_reset)  # its process died between the last two steps
            wanted = None
        self._resetting = wanted is not None
        if self._resetting:
            # The front is left as it is until the back is complete.
            await self._close(writer, clean=True)
            writer = await self._patiently(open_reset, self._place, self._make)
        self._begin(writer)
        return writer

    async def _end_reset(self) -> None:
        await self._patiently(end_reset, self._place, self._writer.environment.path, self._make)
        self._resetting = False
        self._host.facts.pop("reset", "")
        self._host.log.info("the store that was built anew is the front")
        self._host.nudge()

    def _is_told(self) -> bool:
        """All sources have told the new store all they have; says of which that is not so."""
        waiting = [f"{one.agent}/{one.source} is {one.state}" for one in self._writer.sources if one.state not in _TOLD]
        if waiting:
            self._host.facts["reset"] = f"a new store is filled: {', '.join(waiting[:5])}"
        return not waiting

    def _begin(self, writer: Writer) -> None:
        self._writer = writer
        self._applier = Applier(writer, self._specs, self._host.counters, self._note, self._forbidden)
        self._committed(0.0)
        self._host.ready(data=self._config.data, acks=self._config.acks, store=writer.uuid)

    async def _compact(self, writer: Writer) -> Writer:
        """Put a compact copy of this moment in the place of the store; nothing is applied meanwhile."""
        log, used = self._host.log, writer.used_bytes()
        self._copier.compact = trio.Event()
        try:
            await self._copier.make(writer)
        except MachineError as error:
            log.warning("the store can't be made compact", extra={"error": str(error)})
            return writer
        made: Writer | None = None
        with trio.CancelScope(shield=True):
            retire(lambda: writer)
            self._acks = []
            try:
                made = await trio.to_thread.run_sync(compact, self._place, self._make)
            except MachineError as error:
                log.warning("the store can't be made compact", extra={"error": str(error)})
        if made is None:
            return await self._open("")
        log.info("the store is compact", extra={"bytes": made.used_bytes(), "before": used})
        self._host.counters["compactions"] = self._host.counters.get("compactions", 0) + 1
        self._begin(made)
        return made

    async def _close(self, writer: Writer, *, clean: bool) -> None:
        self._acks = []
        self._host.outstanding = False
        writer.abort()
        if not clean:
            retire(lambda: writer)
            return
        with trio.CancelScope(shield=True):
            try:
                await trio.to_thread.run_sync(writer.close)
            except MachineError as error:
                self._host.log.warning("the store was not closed cleanly", extra={"error": str(error)})

    async def _fail(self, error: MachineError) -> None:
        """Say what is wrong with this host, and wait before the next try."""
        host = self._host
        if host.facts.get("error") != str(error):
            host.log.error("the store can't be written", extra={"error": str(error)})
        host.facts["error"] = str(error)
        host.outstanding = False
        host.counters["failures"] = host.counters.get("failures", 0) + 1
        host.nudge()
        await trio.sleep(self._limits.retry_seconds)

    # -- data ---------------------------------------------------------------------------------------------------------

    async def _receive(self) -> str:
        """
        Apply what comes until the store is damaged: how; or, empty, until it should be made compact, or, where it is
        built anew, is complete.
        """
        while not (self._is_told() if self._resetting else self._copier.compact.is_set()):
            frames = await self._data.receive_frames()
            self._host.outstanding = True
            try:
                await self._transaction(frames)
            except StoreUnusableError as error:
                return str(error)
            except MachineError as error:
                if isinstance(error, StoreFullError):
                    self._copier.full()
                await self._fail(error)
        return ""

    async def _transaction(self, frames: Sequence[zmq.Frame]) -> None:
        """Apply ``frames`` and what is queued behind it, then commit."""
        limits = self._limits
        since, size = trio.current_time(), 0
        while True:
            try:
                user, parts = self._fence.user_of(frames[0]), [frame.bytes for frame in frames]
                for item in self._applier.apply(user, parts):
                    size += item
                    if trio.current_time() - since >= limits.commit_seconds or size >= limits.commit_bytes:
                        self._commit()
                        await trio.lowlevel.checkpoint()
                        since, size = trio.current_time(), 0
            except ProtocolError as error:
                self._host.log.warning("a batch was refused", extra={"error": str(error)})
            if trio.current_time() - since >= limits.commit_seconds:
                break
            try:
                frames = self._data.receive_frames_nowait()
            except trio.WouldBlock:
                break
        self._commit()
        await trio.lowlevel.checkpoint()

    def _commit(self) -> None:
        since = trio.current_time()
        self._writer.commit()
        self._copier.grown(self._writer)
        self._note.end()
        self._committed(trio.current_time() - since)

    def _committed(self, seconds: float) -> None:
        host = self._host
        host.outstanding = False
        acks = self._applier.acks()
        # What follows a lost batch is passed over: committing nothing proves nothing.
        if acks != self._acks and host.facts.pop("error", ""):
            host.log.info("the store can be written again")
            host.nudge()
        host.gauges["commit_us"] = int(seconds * 1e6)
        self._acks = acks
        self._news.set()

    # -- acknowledgements ---------------------------------------------------------------------------------------------

    async def _greet(self) -> None:
        """Who subscribes hears what is committed at once."""
        while True:
            frames = await self._pub.receive_frames()
            try:
                self._audience.joined(frames[0])
            except ProtocolError as error:
                self._host.log.warning("a subscription was refused", extra={"error": str(error)})
            else:
                self._news.set()

    async def _acknowledge(self) -> None:
        """Say what is committed: soon after each commit, and again and again."""
        limits = self._limits
        while True:
            with trio.move_on_after(limits.ack_seconds):
                await self._news.wait()
            self._news = trio.Event()
            for frames in self._acks:
                try:
                    self._pub.send_nowait(frames)
                except trio.WouldBlock:
                    break  # said again soon
            self._look_after()
            await trio.sleep(limits.ack_gap_seconds)

    def _look_after(self) -> None:
        now = trio.current_time()
        if now >= self._look_at:
            self._look_at = now + KEYS_SECONDS
            self._audience.look()
        if self._acks and now >= self._reclaim_at:
            self._reclaim_at = now + RECLAIM_SECONDS
            reader = self._writer.reader()
            self._host.gauges["readers_reclaimed"] = reader.reclaim()
            self._host.gauges["store_bytes"] = self._writer.used_bytes()
