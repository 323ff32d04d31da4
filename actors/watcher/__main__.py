"""
Start a watcher: ``python -P -m actors.watcher``, by a guardian.

The ring of sockets around :class:`~actors.watcher.core.WatcherCore`: inotify, the connections of the scanners, PUSH
to each of them, PULL from all, PUSH to the syncer.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn

import attrs
import trio
import zmq
from inotify_simple import INotify

from actors.watcher import checkpoint
from actors.watcher.core import Rest, WatcherCore
from actors.watcher.inotify import MASK
from actors.watcher.limits import WatcherLimits
from actors.watcher.looks import LookState
from fustor.runtime.actor import Host, run_actor
from fustor.runtime.config import structure
from fustor.runtime.deny import DataDeny
from fustor.runtime.leaving import KEPT, leave, left
from fustor.runtime.mesh import MeshSocket
from fustor.runtime.pace import next_multiple
from fustor.runtime.sockets import open_socket
from fustor.runtime.source import SourceConfig
from protocols.codec import DATA_LIMITS, decode, encode, pack, unpack
from protocols.data import Applied, Found, Stuck, SyncerHello, Unstuck
from protocols.errors import DecodeError, MachineError, ProtocolError
from protocols.looks import DONE, REFUSED, WHOLE, Findings, Look, Looked
from protocols.parsing import Parsed, ParserHello, ParserWork, cache_name

#: Bytes of one read of inotify: several thousand records.
_READ = 1 << 18
#: Seconds that a scanner may take to say who it is, and to be there for its work.
GREETING_SECONDS = 5.0


@attrs.frozen
class WatcherConfig:
    """
    What a watcher is told: its source, a folder for its state, its limits; a digest of what decides which entries are
    the source's, which its scanners must have too; and what the host denies, which they leave out: when that changes
    everything has to be looked at again. ``parsers`` are the names of those that the source has.
    """

    source: SourceConfig
    state: str
    deny: DataDeny = attrs.Factory(DataDeny)
    rules: str = ""
    limits: WatcherLimits = attrs.Factory(WatcherLimits)
    parsers: tuple[str, ...] = ()


#: What comes on the socket of scanners, syncer and parsers.
_MESSAGES = (Found, Stuck, Unstuck, Applied, SyncerHello, ParserHello, Parsed)
#: Directories of one work for a parser.
_PARSER_DIRECTORIES = 64


@attrs.define(eq=False)
class Parsing:
    """
    A parser, as it was heard of.

    Attributes:
        mesh: where it takes its work from.
        incarnation, rules: as it says.
        number: of the last work that it was given.
        busy: it has not said that it has done it.
    """

    mesh: MeshSocket
    incarnation: str = ""
    rules: str = ""
    number: int = 0
    busy: bool = False


@attrs.define
class Memory:
    """
    What a watcher remembers over its own death, in a small file.

    Attributes:
        epoch: the last data epoch that was begun.
        mount: the root was a mount point: when it is none later, it is not mounted, and not empty.
    """

    path: Path
    epoch: int = 0
    mount: bool = False

    @classmethod
    def load(cls, path: Path) -> Memory:
        """Read it; whatever can't be read counts as nothing remembered."""
        try:
            value = json.loads(path.read_bytes())
            return cls(path, int(value["epoch"]), bool(value["mount"]))
        except (OSError, ValueError, KeyError, TypeError, OverflowError):
            return cls(path)

    def save(self) -> None:
        """
        Write it, atomically and durably.

        Raises:
            OSError: the state folder can't be written.
        """
        new = self.path.with_suffix(".new")
        with new.open("w") as file:
            json.dump({"epoch": self.epoch, "mount": self.mount}, file)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.path)


def forget_parsers(state: str, parsers: Iterable[str]) -> None:
    """Remove what parsers have kept that the source does not have any more."""
    wanted = {cache_name(parser) for parser in parsers}
    for folder in Path(state).glob(cache_name("*")):
        if folder.name not in wanted:
            shutil.rmtree(folder, ignore_errors=True)


class Watcher:
    """One source, from epoch to epoch."""

    def __init__(self, config: WatcherConfig, host: Host) -> None:
        self._config = config
        self._host = host
        source = config.source
        self._memory = Memory.load(Path(config.state) / "watcher.json")
        context = zmq.Context()
        self._context = context
        #: Slot → where the scanner that is there takes its work from; one for each connection, so that nothing is left
        #: in the way to one that was there before it.
        self._works: dict[int, MeshSocket] = {}
        self._serial = 0
        self._found = MeshSocket(
            open_socket(context, zmq.PULL, bind=f"ipc://found.{source.name}", hwm=64, max_size=DATA_LIMITS.size)
        )
        self._uplink = MeshSocket(open_socket(context, zmq.PUSH, bind=f"ipc://uplink.{source.name}", hwm=64))
        self._path = f"inotify.{source.name}"
        #: Parser → number of the last work that it was given by the watcher before us.
        self._parser_works: dict[str, int] = {}
        self._parsers: dict[str, Parsing] = {}
        self._inotify = INotify(nonblocking=True)
        self._core = self._begin()
        #: The next one goes on from what we have written down: nothing is done any more.
        self._left = False
        self._connections: dict[int, socket.socket] = {}
        self._syncer = ""
        self._sent = 0  # number of the last item handed to the syncer
        self._more = trio.Event()
        self._totals = dict(host.counters)  # of epochs and configurations that have ended

    def _open_work(self, slot: int) -> tuple[MeshSocket, str]:
        """The socket for the work of one connection, and its endpoint."""
        self._serial += 1
        endpoint = f"ipc://work.{self._config.source.name}.{slot}.{self._serial}"
        return MeshSocket(open_socket(self._context, zmq.PUSH, bind=endpoint, hwm=16)), endpoint

    def adjust(self, config: dict[str, Any]) -> bool:
        """
        Bounds, audit periods, parsers and the number of scanners change while it works; for the rest it begins anew.
        """
        new, told = structure(WatcherConfig, config), self._config
        source = attrs.evolve(
            new.source,
            scanners=told.source.scanners,
            fast_audit_seconds=told.source.fast_audit_seconds,
            full_audit_seconds=told.source.full_audit_seconds,
        )
        if attrs.evolve(new, source=source, limits=told.limits, parsers=told.parsers) != told:
            return False
        self._config = new
        self._core.have_parsers(new.parsers)
        forget_parsers(new.state, new.parsers)
        for name in self._parsers.keys() - set(new.parsers):
            self._parsers.pop(name).mesh.close()
        self._core.adjust(
            new.limits, fast_audit=new.source.fast_audit_seconds, full_audit=new.source.full_audit_seconds
        )
        self._host.log.info("adjusted")
        return True

    # -- the watcher before us, and the next one ----------------------------------------------------------------------

    @property
    def _checkpoint(self) -> Path:
        return Path(self._config.state) / "checkpoint"

    def _watched(self) -> str:
        """What is watched, and by which rules: a checkpoint of anything else is of no use."""
        source = self._config.source
        return json.dumps([source.name, source.root, self._config.rules, source.one_filesystem])

    def _begin(self) -> WatcherCore:
        """Go on where the one before us has stopped, if it has left everything for that; else a new epoch."""
        kept = left(self._host.fds)
        rest = None
        for name, fd in kept.items():
            rest = rest or self._take(name.partition(".")[2], fd)
            os.close(fd)
            del self._host.fds[KEPT + name]
        for path in (self._checkpoint, checkpoint.unfinished(self._checkpoint)):
            with contextlib.suppress(OSError):
                path.unlink()
        if rest is None:
            return self._new_core()
        self._host.log.info("the epoch goes on", extra={"epoch": rest.epoch, "directories": rest.table.live})
        return self._make_core(rest)

    def _take(self, nonce: str, fd: int) -> Rest | None:
        try:
            rest, works = checkpoint.take(self._checkpoint, nonce, self._watched())
        except (OSError, ValueError) as error:
            self._host.log.warning("the last watcher is of no use", extra={"error": str(error)})
            return None
        if rest.epoch != self._memory.epoch:
            return None  # the view knows of a later one
        os.dup2(fd, self._inotify.fileno(), inheritable=False)
        self._parser_works = works
        return rest

    async def leave(self) -> None:
        """We are being ended, perhaps for another program: let the next one go on where we are, if it can."""
        nonce = secrets.token_hex(8)
        token, name = os.environ.get("FUSTOR_TOKEN", ""), self._host.name
        fds = {f"inotify.{nonce}": self._inotify.fileno()}
        if not await trio.to_thread.run_sync(leave, name, token, fds):
            return
        self._drain()
        self._remove_watches()
        self._left = True
        rest, works = self._core.leave(), {name: parsing.number for name, parsing in self._parsers.items()}
        # Whatever still comes is for nobody: it must not change what is being written, nor number anything.
        self._core = WatcherCore(0)
        if rest is None:
            return
        try:
            await trio.to_thread.run_sync(
                checkpoint.write, self._checkpoint, rest, nonce, self._watched(), self._parser_works | works
            )
        except OSError as error:
            self._host.log.warning("nothing can be left", extra={"error": str(error)})

    def _new_core(self) -> WatcherCore:
        self._memory.epoch += 1
        try:
            self._memory.save()
        except OSError as error:
            # The epoch then comes from the view: whoever has a later one than ours makes us take a later one still.
            self._host.log.warning(
                "state can't be written", extra={"file": str(self._memory.path), "error": str(error)}
            )
        return self._make_core(None)

    def _make_core(self, rest: Rest | None) -> WatcherCore:
        source = self._config.source
        patterns = source.include or source.exclude or source.include_regex or source.exclude_regex
        return WatcherCore(
            self._memory.epoch,
            was_mount=self._memory.mount,
            # Patterns speak of paths: what lies below a renamed directory may belong or not belong anew.
            relink=not patterns,
            fast_audit=source.fast_audit_seconds,
            full_audit=source.full_audit_seconds,
            limits=self._config.limits,
            parsers=self._config.parsers,
            rest=rest,
        )

    async def run(self) -> None:
        """Work until cancelled."""
        forget_parsers(self._config.state, self._config.parsers)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)
        listener.bind(self._path)
        listener.listen(16)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._accept, listener, nursery)
                nursery.start_soon(self._receive)
                nursery.start_soon(self._send_items)
                nursery.start_soon(self._tick)
                nursery.start_soon(self._read)
                self._host.adjust = self.adjust
                self._host.on_look = self._look
                self._host.ready(epoch=str(self._core.epoch))
        finally:
            listener.close()
            self._inotify.close()
            for mesh in (self._found, self._uplink, *(parsing.mesh for parsing in self._parsers.values())):
                mesh.close()
            self._context.term()

    def _begin_epoch(self) -> None:
        """Forget everything but the memory: all watches fall with the old descriptor, scanners connect anew."""
        self._host.log.warning("new epoch", extra={"reason": self._core.over})
        for name, count in self._core.counters.items():
            self._totals[name] = self._totals.get(name, 0) + count
        self._core = self._new_core()
        fresh = INotify(nonblocking=True)
        # Whoever waits for the old instance waits anew: epoll knows what was behind the number, not the number.
        trio.lowlevel.notify_closing(self._inotify)
        os.dup2(fresh.fileno(), self._inotify.fileno(), inheritable=False)
        fresh.close()
        for connection in self._connections.values():
            connection.shutdown(socket.SHUT_RDWR)
        self._connections.clear()
        self._sent = 0
        for name, parsing in self._parsers.items():
            parsing.busy = False
            if name in self._core.news:
                self._core.news[name].begin(parsing.rules)

    # -- scanners -----------------------------------------------------------------------------------------------------

    async def _accept(self, listener: socket.socket, nursery: trio.Nursery) -> None:
        while True:
            await trio.lowlevel.wait_readable(listener)
            try:
                connection, _ = listener.accept()
            except OSError:
                continue
            connection.setblocking(False)
            nursery.start_soon(self._scanner, connection)

    async def _scanner(self, connection: socket.socket) -> None:
        """One scanner's connection, until it ends."""
        slot = -1
        work: MeshSocket | None = None
        try:
            with trio.move_on_after(GREETING_SECONDS):
                await trio.lowlevel.wait_readable(connection)
                hello = unpack(connection.recv(4096))
                slot, rules = hello["slot"], hello.get("rules", "")
            scanners = self._config.source.scanners
            if type(slot) is not int or not 0 <= slot < scanners:
                self._host.log.warning("no scanner of ours", extra={"slot": slot, "accepted": scanners})
                return
            if rules != self._config.rules:
                # It, or this watcher, has still to be configured; what it finds now would be wrong by then.
                self._host.log.info("a scanner of other rules", extra={"slot": slot})
                return
            core = self._core
            work, endpoint = self._open_work(slot)
            greeting = {"epoch": core.epoch, "mask": MASK, "work": endpoint}
            socket.send_fds(connection, [pack(greeting)], [self._inotify.fileno()])
            with trio.move_on_after(GREETING_SECONDS) as waited:
                await work.wait_writable()
            if waited.cancelled_caught or core is not self._core:
                return  # it comes again
            if slot in self._connections:
                # A successor is here before we saw its predecessor end.
                self._connections.pop(slot).shutdown(socket.SHUT_RDWR)
                core.scanner_down(slot)
            self._connections[slot], self._works[slot] = connection, work
            core.scanner_up(slot)
            self._pump()
            while True:
                await trio.lowlevel.wait_readable(connection)
                if not connection.recv(4096):
                    break
        except (OSError, zmq.ZMQError, MachineError, DecodeError, KeyError, TypeError) as error:
            # Also when there is no descriptor left for its work: it comes again.
            self._host.log.warning("scanner's connection failed", extra={"slot": slot, "error": str(error)})
        finally:
            if self._connections.get(slot) is connection:
                del self._connections[slot], self._works[slot]
                self._core.scanner_down(slot)
                self._pump()
            if work is not None:
                work.close()
            trio.lowlevel.notify_closing(connection)
            connection.close()

    # -- messages -----------------------------------------------------------------------------------------------------

    async def _receive(self) -> None:
        while True:
            frames = await self._found.receive()
            self._core.now = time.monotonic()
            while True:
                try:
                    self._message(frames)
                except ProtocolError as error:
                    self._count("refused")
                    self._host.log.warning("message refused", extra={"error": str(error)})
                try:
                    frames = self._found.receive_nowait()
                except trio.WouldBlock:
                    break
                self._drain()
            self._pump()

    def _message(self, frames: list[bytes]) -> None:
        message: object = decode(frames[0], *_MESSAGES, limits=DATA_LIMITS)
        core = self._core
        if isinstance(message, Found):
            if len(frames) != 2:
                raise DecodeError("found: two frames are accepted")
            core.found(message, frames[1])
            if core.mount and not self._memory.mount:
                self._memory.mount = True
                self._save()
        elif isinstance(message, Stuck):
            self._host.log.warning(
                "storage does not answer", extra={"dir": message.dir, "entry": message.name.decode("utf-8", "replace")}
            )
            core.stuck(message)
        elif isinstance(message, Unstuck):
            core.unstuck(message)
        elif isinstance(message, SyncerHello):
            self._syncer = message.incarnation
            self._sent = 0
        elif isinstance(message, Applied) and message.incarnation == (self._syncer or message.incarnation):
            # Its hello was to our predecessor.
            self._syncer = message.incarnation
            core.acknowledged(message.epoch, message.applied)
            if message.epoch > self._memory.epoch:
                self._memory.epoch = message.epoch
        elif isinstance(message, ParserHello):
            self._greet(message)
        elif isinstance(message, Parsed):
            core.parsed(message)
            parsing = self._parsers.get(message.parser)
            if parsing is not None and message.last and message.number == parsing.number:
                parsing.busy = parsing.busy and parsing.incarnation != message.incarnation

    def _greet(self, hello: ParserHello) -> None:
        """A parser is there, or still there."""
        news = self._core.news.get(hello.parser)
        if news is None:
            return  # one of the two has still to be configured
        parsing = self._parsers.get(hello.parser)
        if parsing is None:
            endpoint = f"ipc://parse.{self._config.source.name}.{hello.parser}"
            socket = open_socket(self._context, zmq.PUSH, bind=endpoint, hwm=16)
            parsing = self._parsers[hello.parser] = Parsing(
                MeshSocket(socket), number=self._parser_works.pop(hello.parser, 0)
            )
        if (hello.incarnation, hello.rules) != (parsing.incarnation, parsing.rules):
            parsing.incarnation, parsing.rules, parsing.busy = hello.incarnation, hello.rules, False
            news.begin(hello.rules)
        elif parsing.busy and (hello.epoch, hello.taken) < (self._core.epoch, parsing.number):
            # What was sent to it is lost, or on its way; to have it twice does no harm.
            parsing.busy = False
            news.returned()

    def _save(self) -> None:
        try:
            self._memory.save()
        except OSError as error:
            self._host.log.warning(
                "state can't be written", extra={"file": str(self._memory.path), "error": str(error)}
            )

    async def _send_items(self) -> None:
        while True:
            await self._more.wait()
            self._more = trio.Event()
            while True:
                item = self._next_item()
                if item is None:
                    break
                syncer, core = self._syncer, self._core
                await self._uplink.send([pack((core.epoch, item[0], syncer)), item[1], item[2]])
                if self._syncer == syncer and self._core is core and self._sent < item[0]:
                    self._sent = item[0]

    def _next_item(self) -> tuple[int, bytes, bytes] | None:
        """The first item that this syncer has not got; nothing while there is none."""
        items = self._core.items
        if self._left or not self._syncer or not items or items[-1][0] <= self._sent:
            return None
        first = items[0][0]
        return items[max(0, self._sent + 1 - first)]

    def _look(self, message: Look | Looked | Findings) -> None:
        """Somebody wants a path looked at now, or to know how far that is."""
        if not isinstance(message, Look) or self._left:
            return
        depth = None if message.depth == WHOLE else max(0, message.depth)
        look = self._core.look(message.id, message.path, depth, time.time_ns())
        self._tell(look)
        self._pump()

    def _tell(self, look: LookState) -> None:
        if look.state == REFUSED:
            self._count("looks_refused")
        elif look.state == DONE:
            self._count("looks")
        told = Looked(
            id=look.id,
            agent="",
            source=self._config.source.name,
            state=look.state,
            text=look.text,
            directories=look.directories,
            skipped=look.skipped,
            as_of_ns=look.as_of_ns,
        )
        self._host.say(told)  # whoever wants to know asks again

    # -- events and time ----------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        while True:
            with contextlib.suppress(trio.ClosedResourceError):
                await trio.lowlevel.wait_readable(self._inotify)
            self._drain()
            self._pump()
            await trio.lowlevel.checkpoint()

    def _drain(self) -> None:
        """Read inotify until it is empty (or for a bounded while, under a flood)."""
        if self._left:
            return
        fd = self._inotify.fileno()
        for _ in range(16):
            wall = time.time_ns()
            try:
                records = os.read(fd, _READ)
            except BlockingIOError:
                self._core.events(b"", wall, drained=True)
                return
            self._core.events(records, wall, drained=len(records) < _READ // 2)

    async def _tick(self) -> None:
        while True:
            await next_multiple(min(1.0, self._core.watermark_period))
            self._drain()
            self._pump()

    def _pump(self) -> None:
        """After anything happened: remove watches, hand out work, note the time, wake the sender."""
        if self._left:
            return
        core = self._core
        if core.over:
            self._begin_epoch()
            core = self._core
        self._remove_watches()
        core.now = time.monotonic()
        for slot, work in core.take_work():
            try:
                self._works[slot].send_nowait([encode(work)])
            except trio.WouldBlock:
                # Its socket is full or just gone: end the connection, everything it had is handed out again.
                self._connections[slot].shutdown(socket.SHUT_RDWR)
        for name, parsing in self._parsers.items():
            if not parsing.busy and name in core.news and (dirs := core.parser_work(name, _PARSER_DIRECTORIES)):
                parsing.number += 1
                parsing.busy = True
                directories = ParserWork(
                    incarnation=parsing.incarnation, epoch=core.epoch, number=parsing.number, dirs=dirs
                )
                with contextlib.suppress(trio.WouldBlock):  # its next hello says that it has not got it
                    parsing.mesh.send_nowait([encode(directories)])
        core.tick(time.monotonic(), time.time_ns())
        while core.looks.ended:
            self._tell(core.looks.ended.pop())
        if core.items and core.items[-1][0] > self._sent:
            self._more.set()
        host = self._host
        # What scanners owe is theirs to progress with, however slow their storage is.
        host.outstanding = core.outstanding and not core.handed
        host.gauges.update(core.gauges())
        host.counters.update({name: count + self._totals.get(name, 0) for name, count in core.counters.items()})

    def _remove_watches(self) -> None:
        for wd in self._core.unwatch:
            try:
                self._inotify.rm_watch(wd)
            except OSError:
                continue  # it went with its directory
        self._core.unwatch.clear()

    def _count(self, name: str) -> None:
        self._totals[name] = self._totals.get(name, 0) + 1
        self._host.counters[name] = self._totals[name]


def build(config: dict[str, Any]) -> Callable[[Host], Awaitable[None]]:
    """
    The watcher for one configuration.

    Raises:
        ConfigFaults: it can't be accepted.
    """
    told = structure(WatcherConfig, config)

    async def run(host: Host) -> None:
        watcher = Watcher(told, host)
        async with trio.open_nursery() as nursery:

            async def until_stopped() -> None:
                await host.stop_requested.wait()
                if host.state == "draining":  # else another configuration is to follow in this process
                    await watcher.leave()
                nursery.cancel_scope.cancel()

            nursery.start_soon(until_stopped)
            await watcher.run()

    return run


def start() -> NoReturn:
    """Be a watcher; ends the process."""
    run_actor("watcher", build)


if __name__ == "__main__":
    start()
