"""
The ring around supervision: a control actor's lifeline, its keeper, and one supervisor per payload.

Beats and exits go into :mod:`protocols.supervision`, its effects are carried out: processes are started and signalled
through the guardian, configurations and stop orders go over the lifeline. A shell that starts adopts what an earlier
one left running: it reads the guardian's table, binds the same lifeline, and the payloads come back by themselves.

What this module does not do: decide when something is started, killed or given up (the table of supervision does), or
look at anything that payloads work on.
"""

from __future__ import annotations

import logging
import math
import random
import secrets
import signal
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import attrs
import trio
import zmq

from fustor.runtime.guard import guarded
from fustor.runtime.keeper import Entry, Exit, Keeper, KeeperGone
from fustor.runtime.mesh import MeshSocket, PeerGone
from fustor.runtime.payload import PayloadSpec
from fustor.runtime.sockets import open_socket
from protocols.codec import decode, encode
from protocols.errors import MachineError, ProtocolError, RequestError
from protocols.messages import Beat, Configure, Hello, PayloadStatus, Stop, Welcome
from protocols.supervision import (
    ALIVE,
    Beaten,
    Event,
    Exited,
    Found,
    Greeted,
    Kill,
    Policy,
    Restart,
    SendConfigure,
    SendStop,
    Spawn,
    Spawned,
    SpawnFailed,
    State,
    Supervisor,
    Tick,
    Unwant,
    WakeAt,
    Want,
)

LIFELINE = "ipc://lifeline"
#: A tick that comes later than this means that we were frozen, not the payloads.
FROZEN_SECONDS = 1.0
#: Beats of the keeper channel; the guardian replaces a control actor that is silent for 1.5 s.
KEEPER_BEAT_SECONDS = 0.5
#: How often the guardian's table is compared, in case the news of an exit was lost.
RECONCILE_SECONDS = 10.0
#: After a stop rank's own deadline: for the kill and the reaping.
REAP_SECONDS = 1.0


@attrs.define(eq=False)
class _Payload:
    """
    Attributes:
        supervisor: its life.
        spec: what is wanted; None for one that was found and is not wanted.
        peer: routing id of its connection; None before Hello.
        beat: the last one of the process that runs.
        wake_at: when its supervisor wants a tick.
    """

    supervisor: Supervisor
    spec: PayloadSpec | None
    peer: bytes | None = None
    beat: Beat | None = None
    wake_at: float | None = None


class Shell:
    """
    Supervises payloads until cancelled.

    Args:
        context: for the lifeline's socket.
        keeper: our end of the keeper channel.
        log: transitions of payloads go there.
        policy: of every supervisor.
        endpoint: of the lifeline, relative to the working directory.
        beat_ms: interval that payloads are asked for.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        keeper: Keeper,
        *,
        log: logging.Logger,
        policy: Policy,
        endpoint: str = LIFELINE,
        beat_ms: int = 1000,
        rng: random.Random | None = None,
    ) -> None:
        self.incarnation = secrets.token_hex(8)
        #: Counts: ``strangers`` (messages of processes unknown here), ``bad_messages``, ``unsent``, ``adopted``.
        self.counters = dict.fromkeys(("strangers", "bad_messages", "unsent", "adopted", "lost_exits"), 0)
        #: Failures of our own tasks, by name.
        self.failures: dict[str, int] = {}
        self._keeper = keeper
        self._log = log
        self._policy = policy
        self._rng = rng or random.Random()
        self._beat_ms = beat_ms
        self._payloads: dict[str, _Payload] = {}
        self._desired: dict[str, PayloadSpec] = {}
        self._adopted = False
        self._orders: deque[tuple[_Payload, Spawn | Kill | None]] = deque()
        self._ordered = trio.Event()
        self._poke = trio.Event()
        self._changed = trio.Event()
        self._socket = MeshSocket(open_socket(context, zmq.ROUTER, bind=endpoint, hwm=1024))

    # -- what control actors call -----------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """
        Adopt, then supervise, until cancelled. Started once it has adopted.

        Raises:
            KeeperGone: the guardian is gone, and so must we.
        """
        try:
            self._adopt(await self._keeper.table())
            task_status.started()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._guard, "lifeline", self._listen)
                nursery.start_soon(self._guard, "timer", self._tick)
                nursery.start_soon(self._guard, "exits", self._hear_exits)
                nursery.start_soon(self._guard, "orders", self._perform)
                nursery.start_soon(self._guard, "reconcile", self._reconcile)
                nursery.start_soon(self._guard, "beat", self._beat)
        finally:
            self.close()

    def close(self) -> None:
        """Close the lifeline; what runs goes on. Idempotent, and done by :meth:`run` at its end."""
        self._socket.close()

    def set_desired(self, specs: Iterable[PayloadSpec]) -> None:
        """Make ``specs`` the payloads that shall run; whatever differs is started, configured or stopped."""
        self._desired = {spec.name: spec for spec in specs}
        if self._adopted:
            self._apply()

    def restart(self, name: str, reason: str) -> None:
        """
        Stop a payload, and start it again at once.

        Raises:
            RequestError: there is none of this name.
        """
        self._feed(self._named(name), Restart(reason))

    def dump_stacks(self, name: str) -> None:
        """
        Make a payload write the stacks of its threads to its log.

        Raises:
            RequestError: there is none of this name, or it does not run.
        """
        payload = self._named(name)
        if payload.supervisor.pid == 0:
            raise RequestError("payload", name, f"it does not run ({payload.supervisor.state.value})")
        self._order(payload, Kill(signal.SIGUSR1))

    async def stop(self) -> None:
        """Stop all payloads, rank by rank; returns when they are gone, or a deadline after they were killed."""
        self._desired = {}
        ranks = {payload.spec.stop_rank if payload.spec else 0 for payload in self._payloads.values()}
        for rank in sorted(ranks):
            group = [p for p in self._payloads.values() if (p.spec.stop_rank if p.spec else 0) == rank]
            for payload in group:
                self._feed(payload, Unwant())
            with trio.move_on_after(self._policy.stop_seconds + self._policy.evidence_seconds + REAP_SECONDS):
                while any(payload.supervisor.state in ALIVE for payload in group):
                    await self._changed.wait()

    def statuses(self) -> tuple[PayloadStatus, ...]:
        """Every payload as it is now, by name."""
        return tuple([self._status(payload) for _, payload in sorted(self._payloads.items())])

    async def wait_changed(self) -> None:
        """Wait for the next transition of any payload."""
        await self._changed.wait()

    # -- state ------------------------------------------------------------------------------------------------------

    def _named(self, name: str) -> _Payload:
        payload = self._payloads.get(name)
        if payload is None:
            raise RequestError("payload", name, f"one of {', '.join(sorted(self._payloads)) or 'none'} is accepted")
        return payload

    def _status(self, payload: _Payload) -> PayloadStatus:
        supervisor, beat = payload.supervisor, payload.beat
        return PayloadStatus(
            supervisor.name,
            supervisor.state.value,
            supervisor.pid,
            supervisor.restarted,
            supervisor.last_exit,
            dict(beat.counters) if beat else {},
            dict(beat.gauges) if beat else {},
            dict(beat.facts) if beat else {},
            supervisor.complaint,
        )

    def _add(self, name: str, spec: PayloadSpec | None) -> _Payload:
        supervisor = Supervisor(name, self._policy, self._rng, lambda: secrets.token_hex(16))
        payload = self._payloads[name] = _Payload(supervisor, spec)
        return payload

    def _adopt(self, table: Iterable[Entry]) -> None:
        for entry in table:
            spec = self._desired.get(entry.name)
            payload = self._add(entry.name, spec)
            if entry.exit is None:
                self.counters["adopted"] += 1
                self._log.info("found", extra={"payload": entry.name, "pid": entry.pid, "wanted": spec is not None})
                self._feed(payload, Found(entry.token, entry.pid, spec.revision if spec else 0))
            else:
                payload.supervisor.last_exit = _cause(entry.exit)
                if spec is None:
                    self._retire(payload)
        self._adopted = True
        self._apply()

    def _apply(self) -> None:
        for name, payload in list(self._payloads.items()):
            if name not in self._desired:
                self._feed(payload, Unwant())
        for name, spec in self._desired.items():
            payload = self._payloads.get(name) or self._add(name, spec)
            before, payload.spec = payload.spec, spec
            self._feed(payload, Want(spec.revision))
            if before is not None and (before.argv, before.fds) != (spec.argv, spec.fds):
                self._feed(payload, Restart("another command"))

    def _feed(self, payload: _Payload, event: Event) -> None:
        """One event into a supervisor, its effects out."""
        supervisor = payload.supervisor
        before, now = supervisor.state, trio.current_time()
        token = supervisor.token
        for effect in supervisor.handle(event, now):
            match effect:
                case Spawn() | Kill():
                    self._order(payload, effect)
                case SendConfigure(revision):
                    assert payload.spec is not None  # a wanted payload has one
                    self._send(payload, Configure(revision=revision, config=payload.spec.config))
                case SendStop(seconds):
                    if not self._send(payload, Stop(deadline_ms=round(seconds * 1000))):
                        self._order(payload, Kill(signal.SIGTERM))
                case WakeAt(time):
                    payload.wake_at = time
                    self._poke.set()
        if supervisor.token != token:
            payload.peer = payload.beat = None
        if supervisor.state is not before:
            self._tell(payload, event, before)
            self._changed.set()
            self._changed = trio.Event()
            if supervisor.state is State.STOPPED and supervisor.name not in self._desired:
                self._retire(payload)

    def _tell(self, payload: _Payload, event: Event, before: State) -> None:
        supervisor = payload.supervisor
        extra = {"payload": supervisor.name, "was": before.value, "is": supervisor.state.value}
        if supervisor.pid:
            extra["pid"] = str(supervisor.pid)
        if isinstance(event, Exited | SpawnFailed):
            extra["exit"] = supervisor.last_exit
        if supervisor.complaint:
            extra["complaint"] = supervisor.complaint
        bad = supervisor.state in (State.BACKING_OFF, State.KILLING, State.REFUSED)
        self._log.log(logging.WARNING if bad else logging.INFO, "payload", extra=extra)

    def _retire(self, payload: _Payload) -> None:
        """It is gone and not wanted: drop it here and in the guardian's table."""
        del self._payloads[payload.supervisor.name]
        self._orders.append((payload, None))
        self._ordered.set()

    # -- lifeline ---------------------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        while True:
            await self._socket.wait_readable()
            self._drain()
            await trio.lowlevel.checkpoint()

    def _drain(self) -> None:
        """Everything that has come."""
        while True:
            try:
                frames = self._socket.receive_nowait()
            except trio.WouldBlock:
                return
            self._hear(frames)

    def _hear(self, frames: list[bytes]) -> None:
        try:
            message: Any = decode(frames[-1], Hello, Beat)
        except ProtocolError as error:
            self.counters["bad_messages"] += 1
            self._log.debug("bad message on the lifeline", extra={"error": str(error)})
            return
        payload = self._payloads.get(message.name)
        if payload is None or payload.supervisor.token != message.token:
            # Last words of a process that is gone for us.
            self.counters["strangers"] += 1
            return
        payload.peer = frames[0]
        self._send(payload, Welcome(incarnation=self.incarnation, beat_ms=self._beat_ms))
        if isinstance(message, Hello):
            self._feed(payload, Greeted(message.token, message.revision))
            return
        payload.beat = message
        beaten = Beaten(
            message.token,
            message.revision,
            message.state,
            message.refused,
            message.error,
            message.outstanding,
            message.counters,
        )
        self._feed(payload, beaten)

    def _send(self, payload: _Payload, message: Welcome | Configure | Stop) -> bool:
        if payload.peer is None:
            return False
        try:
            self._socket.send_nowait([payload.peer, encode(message)])
        except (PeerGone, trio.WouldBlock):
            # It comes back with a Hello, or is silent: both are events of their own.
            self.counters["unsent"] += 1
            return False
        return True

    # -- time -------------------------------------------------------------------------------------------------------

    async def _tick(self) -> None:
        while True:
            self._poke = trio.Event()
            due = min((p.wake_at for p in self._payloads.values() if p.wake_at is not None), default=math.inf)
            with trio.move_on_at(due):
                await self._poke.wait()
                continue
            if trio.current_time() - due > FROZEN_SECONDS:
                self._log.warning("woken late", extra={"seconds": f"{trio.current_time() - due:.2f}"})
                await trio.sleep(FROZEN_SECONDS)
            # What was said in the meantime counts first.
            self._drain()
            now = trio.current_time()
            for payload in list(self._payloads.values()):
                if payload.wake_at is not None and payload.wake_at <= now:
                    self._feed(payload, Tick())

    # -- keeper -----------------------------------------------------------------------------------------------------

    def _order(self, payload: _Payload, order: Spawn | Kill) -> None:
        self._orders.append((payload, order))
        self._ordered.set()

    async def _perform(self) -> None:
        while True:
            while self._orders:
                payload, order = self._orders.popleft()
                if isinstance(order, Spawn):
                    await self._spawn(payload, order.token)
                elif isinstance(order, Kill):
                    await self._kill(payload, order.signal)
                else:
                    await self._forget(payload)
            self._ordered = trio.Event()
            await self._ordered.wait()

    async def _spawn(self, payload: _Payload, token: str) -> None:
        spec = payload.spec
        assert spec is not None  # only wanted payloads are spawned
        try:
            pid = await self._keeper.spawn(spec.name, list(spec.argv), {}, list(spec.fds), token=token)
        except (MachineError, RequestError) as error:
            self._feed(payload, SpawnFailed(token, str(error)))
            for entry in await self._keeper.table():
                if entry.name == spec.name and entry.exit is None:
                    self._feed(payload, Found(entry.token, entry.pid, spec.revision))
        else:
            self._feed(payload, Spawned(token, pid))

    async def _kill(self, payload: _Payload, number: signal.Signals) -> None:
        name = payload.supervisor.name
        try:
            await self._keeper.kill(name, number)
        except (MachineError, RequestError) as error:
            # Gone already: its exit is on the way.
            self._log.debug("not signalled", extra={"payload": name, "signal": number.name, "error": str(error)})

    async def _forget(self, payload: _Payload) -> None:
        name = payload.supervisor.name
        if name in self._payloads:
            return  # wanted again meanwhile: the slot is in use
        try:
            await self._keeper.forget(name)
        except (MachineError, RequestError) as error:
            self._log.debug("not forgotten", extra={"payload": name, "error": str(error)})

    async def _hear_exits(self) -> None:
        async for gone in self._keeper.exits:
            payload = self._payloads.get(gone.name)
            if payload is not None:
                self._feed(payload, Exited(gone.token, _cause(gone)))
        raise KeeperGone("the guardian is gone")

    async def _reconcile(self) -> None:
        """The guardian's table is the truth; news of exits can be lost."""
        while True:
            await trio.sleep(RECONCILE_SECONDS)
            self._keeper.overflowed = False
            entries = {entry.name: entry for entry in await self._keeper.table()}
            for name, payload in list(self._payloads.items()):
                # Without a pid its spawn may still be under way.
                if payload.supervisor.pid == 0:
                    continue
                entry = entries.get(name)
                token = payload.supervisor.token
                if entry is None or entry.token != token:
                    self.counters["lost_exits"] += 1
                    self._feed(payload, Exited(token, "unknown"))
                elif entry.exit is not None:
                    self.counters["lost_exits"] += 1
                    self._feed(payload, Exited(token, _cause(entry.exit)))

    async def _beat(self) -> None:
        while True:
            await self._keeper.beat()
            await trio.sleep(KEEPER_BEAT_SECONDS)

    async def _guard(self, name: str, task: Callable[[], Awaitable[None]]) -> None:
        await guarded(task, name=f"shell.{name}", log=self._log, failures=self.failures, fatal=(KeeperGone,))


def _cause(gone: Exit) -> str:
    """How a process ended, in words."""
    if gone.signal:
        try:
            return f"signal {gone.signal} ({signal.Signals(gone.signal).name})"
        except ValueError:
            return f"signal {gone.signal}"
    return f"exit {gone.code}"
