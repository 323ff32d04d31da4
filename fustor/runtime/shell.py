"""
The ring around supervision: a control actor's lifeline, its keeper, and one supervisor per payload.

Beats and exits go into :mod:`protocols.supervision`, its effects are carried out: processes are started and signalled
through the guardian, configurations and stop orders go over the lifeline. A shell that starts adopts what an earlier
one left running: it reads the guardian's table, binds the same lifeline, and the payloads come back by themselves.

Once a second it looks at what the kernel says of each payload. Before one is killed, what can be found out about it
becomes part of the story (:mod:`protocols.happenings`), which goes to Fusion. What people have paused or drained is
kept in a file, so that it outlives control actors.

What this module does not do: decide when something is started, killed or given up (the table of supervision does), or
look at anything that payloads work on.
"""

from __future__ import annotations

import logging
import math
import os
import random
import secrets
import signal
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import attrs
import trio
import zmq

from fustor.runtime.cgroups import OFF, GroupLimits, Groups
from fustor.runtime.cgroups import find as find_groups
from fustor.runtime.durable import read_json, write_json
from fustor.runtime.evidence import last_lines, proc_facts, size_of, stacks
from fustor.runtime.guard import guarded
from fustor.runtime.isolation import Isolation, readable, told
from fustor.runtime.keeper import Entry, Exit, Keeper, KeeperGone
from fustor.runtime.mesh import MeshSocket, PeerGone
from fustor.runtime.overseeing import Overseer
from fustor.runtime.pace import next_multiple
from fustor.runtime.payload import PayloadSpec
from fustor.runtime.rlimits import impose
from fustor.runtime.sockets import open_socket
from fustor.runtime.vitals import ProcessGone, Sample, Vitals, oom_kills
from protocols.codec import decode, encode
from protocols.errors import MachineError, ProtocolError, RequestError
from protocols.happenings import EventLimits, Story
from protocols.ladder import Rung
from protocols.limits import LIMITS, MEMORY, Exceeded, Meter, ProcessLimits, Reading, Told
from protocols.looks import Enquiry, Findings, Look, Looked
from protocols.messages import Beat, Configure, Hello, PayloadStatus, Stop, Welcome
from protocols.quarantine import Case, Quarantined, QuarantinePolicy, blames
from protocols.supervision import (
    ALIVE,
    Abandon,
    Beaten,
    Capture,
    Climbed,
    Drain,
    Event,
    Exited,
    Failed,
    Found,
    Greeted,
    Kill,
    Missed,
    Overuse,
    Pause,
    Policy,
    Restart,
    Resume,
    Seen,
    SendConfigure,
    SendStop,
    Spawn,
    Spawned,
    SpawnFailed,
    State,
    Strike,
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
#: How often the kernel is asked about the payloads.
VITALS_SECONDS = 1.0
#: Log lines that become part of the evidence.
EVIDENCE_LINES = 50
#: In the name of a process that was abandoned: what follows the name that it had.
ABANDONED = ".abandoned."
#: After a stop rank's own deadline: for the kill and the reaping.
REAP_SECONDS = 1.0


@attrs.define(eq=False)
class _Payload:
    """
    Attributes:
        supervisor: its life.
        spec: what is wanted; None for one that was found and is not wanted.
        peer: routing id of its connection; None before Hello. ``welcomed``: the one by which it was.
        beat: the last one of the process that runs, and ``heard``, when it came.
        wake_at: when its supervisor wants a tick.
        software: what it said that it is.
        vitals: of the process, once its pid is known.
        sample: the last one, and ``cpu_permille`` of one processor since the one before.
        sampled_at: when the last one was taken.
        meter: judges the samples by the limits; None for a process that is not wanted.
        imposed: the limits that the kernel was told; None for none yet.
        group_kills: how many the kernel had killed for want of memory in its control group when those were told.
    """

    supervisor: Supervisor
    spec: PayloadSpec | None
    peer: bytes | None = None
    welcomed: bytes | None = None
    beat: Beat | None = None
    heard: float = -math.inf
    wake_at: float | None = None
    software: str = ""
    vitals: Vitals | None = None
    sample: Sample | None = None
    sampled_at: float = 0.0
    cpu_permille: int = 0
    meter: Meter | None = None
    imposed: ProcessLimits | None = None
    group_kills: int = 0

    def look_away(self) -> None:
        """There is nothing more to be seen of its process."""
        if self.vitals is not None:
            self.vitals.close()
        self.vitals = None

    def let_go(self) -> None:
        """Its process is gone, or another one."""
        self.look_away()
        self.sample = self.meter = self.imposed = None
        self.cpu_permille = 0


@attrs.frozen
class Health:
    """
    Attributes:
        state: of its life.
        revision: of the configuration that it runs, as it was given; 0 for none.
        done: sum of its counters, which moves while it works.
        outstanding: it has work.
        complaint: why it is not well; empty when it is.
        heard: when its last beat came, on trio's clock.
    """

    state: State
    revision: int
    done: int
    outstanding: bool
    complaint: str
    heard: float


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
        log_folder: where the guardian keeps their logs.
        holds: file for what people have paused or drained; empty: it is not kept.
        rungs: what can be done on this side for a payload that fails again and again, beside starting it.
        quarantine: when work that kills is kept from the payloads.
        cases: file for that work; empty: it is not kept.
        groups: control groups for the processes; None: none.
        events: how much of what happened is kept.
        run: working directory of the payloads.
        guardian_seconds: without an answer after which the guardian is killed, so that it has a successor.

    Attributes:
        story: what happened.
        on_news: called whenever something was added to it.
        on_failed: told of each failure of a payload that nobody ordered.
        on_climbed: told of a payload that is on another rung of the ladder of repairs.
        on_look: told what a payload says of looks, with its name.
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
        log_folder: str = "../log",
        holds: str = "",
        rungs: frozenset[Rung] = frozenset(),
        quarantine: QuarantinePolicy | None = None,
        cases: str = "",
        groups: GroupLimits | None = None,
        events: EventLimits | None = None,
        run: str = ".",
        guardian_seconds: float = 5.0,
    ) -> None:
        self.story = Story(events or EventLimits())
        self.on_news: Callable[[], None] = lambda: None
        self.on_failed: Callable[[str, Failed], None] = lambda name, failed: None
        self.on_climbed: Callable[[str, Rung], None] = lambda name, rung: None
        self.on_look: Callable[[str, Look | Looked | Enquiry], None] = lambda name, message: None
        self._rungs = rungs
        self.incarnation = secrets.token_hex(8)
        #: Counts: ``strangers`` (messages of processes unknown here), ``bad_messages``, ``unsent``, ``adopted``.
        self.counters = dict.fromkeys(("strangers", "bad_messages", "unsent", "adopted", "lost_exits", "abandoned"), 0)
        #: Failures of our own tasks, by name.
        self.failures: dict[str, int] = {}
        self._keeper = keeper
        self._overseer = Overseer(keeper, guardian_seconds, self._guardian_hung)
        self._log = log
        self._policy = policy
        self._rng = rng or random.Random()
        self._beat_ms = beat_ms
        self._payloads: dict[str, _Payload] = {}
        self._isolation = Isolation(quarantine or QuarantinePolicy(), cases, log, run)
        #: As they were given, and as they shall run: with what must not be handled.
        self._specs: tuple[PayloadSpec, ...] = ()
        self._desired: dict[str, PayloadSpec] = {}
        self._adopted = False
        self._log_folder = log_folder
        self._holds_path = holds
        self._held: dict[str, Any] = {"drained": [], "paused": {}}
        self._holds_changed = trio.Event()
        #: Processes that can't be killed, by the names that they have now.
        self._abandoned: set[str] = set()
        self._oom_kills = oom_kills()
        self._group_limits = groups or GroupLimits(OFF)
        self._groups: Groups | None = None
        #: The guardian that is in the shell's group, and why none can be.
        self._grouped, self._groups_fault = -1, ""
        self._nursery: trio.Nursery | None = None
        self._orders: deque[tuple[_Payload, Spawn | Kill | Abandon | None]] = deque()
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
            self._read_holds()
            self._find_groups()
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                self._adopt(await self._keeper.table())
                task_status.started()
                nursery.start_soon(self._guard, "vitals", self._look)
                nursery.start_soon(self._guard, "holds", self._keep_holds)
                nursery.start_soon(self._guard, "quarantine", self._isolation.keep)
                nursery.start_soon(self._guard, "lifeline", self._listen)
                nursery.start_soon(self._guard, "timer", self._tick)
                nursery.start_soon(self._guard, "exits", self._hear_exits)
                nursery.start_soon(self._guard, "orders", self._perform)
                nursery.start_soon(self._guard, "reconcile", self._reconcile)
                nursery.start_soon(self._guard, "beat", self._beat)
                nursery.start_soon(self._guard, "overseer", self._overseer.run)
        finally:
            self.close()

    def _find_groups(self) -> None:
        """The shell goes into its control group, if there are any; also the next guardian, wherever it was started."""
        guardian = self._keeper.guardian()
        if guardian == self._grouped:
            return
        pids = [os.getpid(), *filter(None, [guardian])]
        try:
            if self._groups is None:
                self._groups = find_groups(self._group_limits.parent, pids)
            else:
                self._groups.keep(pids)
                for payload in self._payloads.values():
                    payload.imposed = None  # its group may have lost its bounds
            self._grouped, self._groups_fault = guardian, ""
        except (MachineError, OSError) as error:
            # It is tried again; a service manager may be about to start the next guardian in the same place.
            if str(error) != self._groups_fault:
                self._groups_fault = str(error)
                self._log.error("limits are held without control groups", extra={"error": str(error)})
                self.tell("", "side", f"limits are held without control groups: {error}")

    def close(self) -> None:
        """Close the lifeline; what runs goes on. Idempotent, and done by :meth:`run` at its end."""
        self._socket.close()
        for payload in self._payloads.values():
            payload.let_go()

    def set_desired(self, specs: Iterable[PayloadSpec], *, remedy: bool = False) -> None:
        """
        Make ``specs`` the payloads that shall run; whatever differs is started, configured or stopped.

        Args:
            remedy: nobody asked for it, it is a step of the ladder of repairs.
        """
        self._specs = tuple(specs)
        self._desired = {spec.name: self._isolation.effective(spec) for spec in self._specs}
        if self._adopted:
            self._apply(remedy=remedy)

    def cases(self) -> list[Case]:
        """Work that has killed whoever handled it: suspected, quarantined and released."""
        return list(self._isolation.quarantine.cases.values())

    def release(self, item: str) -> Case:
        """
        Let the quarantined item with this id be handled again.

        Raises:
            RequestError: there is none.
        """
        case = self._isolation.release(item)
        self.tell(case.payload, "quarantine", f"{readable(case.item)} is released")
        self.set_desired(self._specs)
        return case

    def order(self, name: str, event: Restart | Pause | Drain | Resume | Strike) -> None:
        """
        Let a person's order take effect on a payload; :meth:`view` shows what follows.

        Raises:
            RequestError: there is none of this name.
        """
        payload = self._named(name)
        self._feed(payload, event)
        self._note_holds(payload)

    def view(self, name: str) -> Supervisor:
        """
        The life of a payload; to be read only.

        Raises:
            RequestError: there is none of this name.
        """
        return self._named(name).supervisor

    def health(self, name: str) -> Health:
        """
        How a payload is doing.

        Raises:
            RequestError: there is none of this name.
        """
        payload = self._named(name)
        supervisor, beat = payload.supervisor, payload.beat
        return Health(
            supervisor.state,
            self._given(name, supervisor.running),
            sum(beat.counters.values()) if beat else 0,
            bool(beat and beat.outstanding),
            supervisor.complaint,
            payload.heard,
        )

    def _given(self, name: str, revision: int) -> int:
        """The revision of a payload as it was given, for one that it runs: that may know of the quarantine as well."""
        spec = self._desired.get(name)
        if spec is None or spec.revision != revision:
            return revision
        return next(given.revision for given in self._specs if given.name == name)

    def log_of(self, name: str) -> str:
        """The path of the log of a process of this side."""
        return os.path.join(self._log_folder, f"{name}.log")

    async def stacks_of(self, name: str, seconds: float = 2.0) -> str:
        """
        The stacks of a payload's threads, as it writes them to its log; empty when it does not within ``seconds``.

        Raises:
            RequestError: there is none of this name, or it does not run.
        """
        payload = self._named(name)
        if payload.supervisor.pid == 0:
            raise RequestError("payload", name, f"it does not run ({payload.supervisor.state.value})")
        log = self.log_of(name)
        since = size_of(log)
        self._order(payload, Kill(signal.SIGUSR1))
        return await stacks(log, since, seconds)

    def tell(self, payload: str, kind: str, text: str, evidence: str = "") -> None:
        """Add to the story; ``payload`` is empty for the side as a whole."""
        self.story.tell(time.time_ns(), payload, kind, text, evidence)
        self.on_news()

    def names(self) -> list[str]:
        """All payloads."""
        return sorted(self._payloads)

    async def stop(self) -> None:
        """Stop all payloads, rank by rank; returns when they are gone, or a deadline after they were killed."""
        self._specs, self._desired = (), {}
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
            supervisor.cause,
            payload.software,
            supervisor.running,
            self._vitals(payload),
        )

    @staticmethod
    def _vitals(payload: _Payload) -> dict[str, int]:
        sample = payload.sample
        if sample is None:
            return {}
        return {
            "rss_bytes": sample.rss_bytes,
            "memory_bytes": sample.own_bytes,
            "memory_limit": payload.imposed.memory_bytes if payload.imposed else 0,
            "cpu_ms": sample.cpu_ms,
            "cpu_permille": payload.cpu_permille,
            "fds": sample.fds,
            "fds_limit": payload.imposed.fds if payload.imposed else 0,
            "threads": sample.threads,
        }

    def _add(self, name: str, spec: PayloadSpec | None) -> _Payload:
        supervisor = Supervisor(
            name,
            self._policy,
            self._rng,
            lambda: secrets.token_hex(16),
            held=name in self._held["drained"],
            may_abandon=lambda: len(self._abandoned) < self._policy.abandoned_most,
            rungs=self._rungs,
        )
        payload = self._payloads[name] = _Payload(supervisor, spec)
        return payload

    def _adopt(self, table: Iterable[Entry]) -> None:
        for entry in table:
            if ABANDONED in entry.name:
                self._abandoned.add(entry.name)
                if not entry.running:
                    self._bury(entry.name)
                continue
            spec = self._desired.get(entry.name)
            payload = self._add(entry.name, spec)
            if entry.exit is None:
                self.counters["adopted"] += 1
                self._log.info("found", extra={"payload": entry.name, "pid": entry.pid, "wanted": spec is not None})
                paused = self._held["paused"].get(entry.name) == entry.token
                self._feed(payload, Found(entry.token, entry.pid, spec.revision if spec else 0, paused))
            else:
                self._feed(payload, Missed(_how(entry.exit), _kind(entry.exit)))
                self._blame(payload, entry.exit, waiting=False)
                if spec is None:
                    self._retire(payload)
        self._adopted = True
        self._apply()

    def _apply(self, *, remedy: bool = False) -> None:
        for name, payload in list(self._payloads.items()):
            if name not in self._desired:
                self._feed(payload, Unwant())
        for name, spec in self._desired.items():
            payload = self._payloads.get(name) or self._add(name, spec)
            before, payload.spec = payload.spec, spec
            self._feed(payload, Want(spec.revision, remedy))
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
                case Abandon(_, pid):
                    self.counters["abandoned"] += 1
                    self._abandoned.add(f"{supervisor.name}{ABANDONED}{pid}")
                    self._order(payload, effect)
                case Failed():
                    given = self._given(supervisor.name, effect.revision)
                    self.on_failed(supervisor.name, attrs.evolve(effect, revision=given))
                case Climbed(rung):
                    self._climb(supervisor.name, rung)
                case Capture(reason, limit):
                    self._capture(payload, reason, limit)
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
            payload.let_go()
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
        bad = supervisor.state in (State.BACKING_OFF, State.KILLING, State.REFUSED, State.PARKED)
        self._log.log(logging.WARNING if bad else logging.INFO, "payload", extra=extra)
        if isinstance(event, Exited | SpawnFailed):
            # What it wrote last says why, where nobody here meant it: a traceback, the stacks of a crash.
            meant = supervisor.cause == "operator" or before is State.DRAINING
            found = "" if meant else last_lines(self.log_of(supervisor.name), EVIDENCE_LINES, 16 << 10)
            self.tell(supervisor.name, "exit", f"{supervisor.last_exit}, cause {supervisor.cause}", found)
        elif supervisor.cause == "abandoned" and before is State.KILLING:
            self.tell(supervisor.name, "abandoned", supervisor.last_exit)
        if supervisor.state in _TOLD and (before in ALIVE or supervisor.state is not State.BACKING_OFF):
            text = f"{before.value} → {supervisor.state.value}"
            self.tell(supervisor.name, "state", f"{text}: {supervisor.complaint}" if supervisor.complaint else text)

    def _climb(self, name: str, rung: Rung) -> None:
        policy = self._policy.ladder
        if rung is Rung.PARKED:
            text = f"nothing helps: it is started once in {policy.probe_seconds:g} s from now on"
            self.tell(name, "alarm", text)
        elif rung is Rung.RESTART:
            self.tell(name, "alarm", "it is well again")
        else:
            self.tell(name, "repair", f"failed {policy.tries} times: another {rung.value} is tried, if one was good")
        self._log.warning("ladder", extra={"payload": name, "rung": rung.value})
        self.on_climbed(name, rung)

    def _capture(self, payload: _Payload, reason: str, limit: str) -> None:
        """It will be killed: what is known goes out now, its stacks as soon as they are written."""
        name, pid, log = payload.supervisor.name, payload.supervisor.pid, self.log_of(payload.supervisor.name)
        since = size_of(log)
        parts = [f"counters {dict(payload.beat.counters)}, gauges {dict(payload.beat.gauges)}"] if payload.beat else []
        if payload.sample is not None:
            parts.append(f"vitals {self._vitals(payload)}")
        if pid:
            parts.append(proc_facts(pid))
        parts.append(f"== last lines of {name}.log\n{last_lines(log, EVIDENCE_LINES, 16 << 10)}")
        kind = "hang" if reason[:6] in ("silent", "stalle") else "evidence"
        self.tell(name, limit or kind, reason, "\n".join(parts))
        if self._nursery is not None:
            self._nursery.start_soon(self._await_stacks, name, pid, log, since)

    async def _await_stacks(self, name: str, pid: int, log: str, since: int) -> None:
        text = await stacks(log, since, 2 * self._policy.evidence_seconds + REAP_SECONDS)
        if text:
            self.tell(name, "evidence", f"stacks of pid {pid}", text)

    def _retire(self, payload: _Payload) -> None:
        """It is gone and not wanted: drop it here and in the guardian's table."""
        payload.let_go()
        if self._groups is not None:
            self._groups.remove(payload.supervisor.name)
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
            message: Any = decode(frames[-1], Hello, Beat, Look, Looked, Enquiry)
        except ProtocolError as error:
            self.counters["bad_messages"] += 1
            self._log.debug("bad message on the lifeline", extra={"error": str(error)})
            return
        if isinstance(message, Look | Looked | Enquiry):
            sender = next((p for p in self._payloads.values() if p.peer == frames[0]), None)
            if sender is None:
                self.counters["strangers"] += 1  # it has not said who it is
            else:
                self.on_look(sender.supervisor.name, message)
            return
        payload = self._payloads.get(message.name)
        if payload is None or payload.supervisor.token != message.token:
            # Last words of a process that is gone for us.
            self.counters["strangers"] += 1
            return
        payload.peer = frames[0]
        welcome = Welcome(incarnation=self.incarnation, beat_ms=self._beat_ms)
        if payload.welcomed != payload.peer or isinstance(message, Hello):
            payload.welcomed = payload.peer if self._send(payload, welcome) else None
        if isinstance(message, Hello):
            payload.software = message.software[:64]
            self._feed(payload, Greeted(message.token, message.revision))
            return
        payload.beat, payload.heard = message, trio.current_time()
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

    def say(self, name: str, message: Look | Looked | Findings) -> bool:
        """Tell a payload something of looks, if it is there and takes it now."""
        payload = self._payloads.get(name)
        return payload is not None and self._send(payload, message)

    def _send(self, payload: _Payload, message: Welcome | Configure | Stop | Look | Looked | Findings) -> bool:
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

    async def _look(self) -> None:
        """What the kernel says of each payload, once a second."""
        while True:
            for payload in list(self._payloads.values()):
                if payload.supervisor.pid:
                    self._sample(payload)
            self._oom_kills = oom_kills()
            await next_multiple(VITALS_SECONDS)

    def _sample(self, payload: _Payload) -> None:
        supervisor, before = payload.supervisor, payload.sample
        try:
            if payload.vitals is None:
                payload.vitals = Vitals(supervisor.pid)
            self._impose(payload)
            sample = payload.vitals.sample()
        except ProcessGone:
            payload.look_away()  # its exit is on the way, and is judged by the last sample
            return
        now = trio.current_time()
        passed, payload.sample, payload.sampled_at = now - payload.sampled_at, sample, now
        if before is not None and passed > 0:
            payload.cpu_permille = max(0, round((sample.cpu_ms - before.cpu_ms) / passed))
        self._feed(payload, Seen(supervisor.token, sample.code, sample.cpu_ms))
        self._judge(payload, sample)

    def _impose(self, payload: _Payload) -> None:
        """Tell the kernel the limits of a process that is new here, or whose limits have changed."""
        if payload.spec is None or payload.imposed == payload.spec.limits:
            return
        payload.imposed = limits = payload.spec.limits
        if payload.meter is None:
            payload.meter = Meter(limits)
        payload.meter.limits = limits
        name, pid = payload.supervisor.name, payload.supervisor.pid
        fault = impose(pid, limits)
        if self._groups is not None:
            payload.group_kills = self._groups.kills(name)
            fault = ", ".join(filter(None, (fault, self._groups.impose(name, pid, limits))))
        if fault:
            self._log.warning("limits can't be set", extra={"payload": name, "error": fault})

    def _judge(self, payload: _Payload, sample: Sample) -> None:
        """What it uses, measured against its limits."""
        supervisor, meter = payload.supervisor, payload.meter
        if meter is None:
            return
        progress = payload.beat.counters if payload.beat else None
        log = size_of(self.log_of(supervisor.name))
        reading = Reading(sample.own_bytes, sample.cpu_ms, sample.fds, log, progress)
        for finding in meter.read(reading, trio.current_time()):
            match finding:
                case Told(what, text):
                    self._log.warning("limit", extra={"payload": supervisor.name, "what": what, "text": text})
                    self.tell(supervisor.name, what, text)
                case Exceeded(what, text):
                    self._feed(payload, Overuse(supervisor.token, what, text))

    # -- holds ------------------------------------------------------------------------------------------------------

    def _note_holds(self, payload: _Payload) -> None:
        supervisor = payload.supervisor
        drained = set(self._held["drained"]) - {supervisor.name} | ({supervisor.name} if supervisor.held else set())
        paused = {name: token for name, token in self._held["paused"].items() if name != supervisor.name}
        if supervisor.state is State.PAUSED:
            paused[supervisor.name] = supervisor.token
        held = {"drained": sorted(drained), "paused": paused}
        if held != self._held:
            self._held = held
            self._holds_changed.set()

    def _read_holds(self) -> None:
        if not self._holds_path:
            return
        try:
            kept = read_json(self._holds_path)
            if kept is None:
                return
            drained, paused = kept.get("drained", []), kept.get("paused", {})
            self._held = {"drained": list(map(str, drained)), "paused": {str(k): str(v) for k, v in paused.items()}}
        except (ValueError, TypeError, AttributeError, MachineError) as error:
            self._log.error("what was paused or drained is lost", extra={"error": str(error)})

    async def _keep_holds(self) -> None:
        while True:
            await self._holds_changed.wait()
            self._holds_changed = trio.Event()
            if self._holds_path:
                try:
                    await trio.to_thread.run_sync(write_json, self._holds_path, self._held)
                except MachineError as error:
                    self._log.error("what is paused or drained can't be kept", extra={"error": str(error)})

    # -- keeper -----------------------------------------------------------------------------------------------------

    def _order(self, payload: _Payload, order: Spawn | Kill | Abandon) -> None:
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
                elif isinstance(order, Abandon):
                    await self._abandon(payload, order)
                else:
                    await self._forget(payload)
            self._ordered = trio.Event()
            await self._ordered.wait()

    async def _spawn(self, payload: _Payload, token: str) -> None:
        spec = payload.spec
        assert spec is not None  # only wanted payloads are spawned
        try:
            argv, fds, most = list(spec.argv), list(spec.fds), spec.limits.data_bytes
            pid = await self._keeper.spawn(spec.name, argv, {}, fds, token=token, data_bytes=most)
        except (MachineError, RequestError) as error:
            self._feed(payload, SpawnFailed(token, str(error)))
            for entry in await self._keeper.table():
                if entry.name == spec.name and entry.exit is None:
                    self._feed(payload, Found(entry.token, entry.pid, spec.revision))
        else:
            self._feed(payload, Spawned(token, pid))
            if payload.supervisor.pid == pid:
                self._sample(payload)

    async def _kill(self, payload: _Payload, number: signal.Signals) -> None:
        name = payload.supervisor.name
        try:
            await self._keeper.kill(name, number)
        except (MachineError, RequestError) as error:
            # Gone already: its exit is on the way.
            self._log.debug("not signalled", extra={"payload": name, "signal": number.name, "error": str(error)})

    async def _abandon(self, payload: _Payload, order: Abandon) -> None:
        name = payload.supervisor.name
        try:
            await self._keeper.abandon(name)
        except (MachineError, RequestError) as error:
            # It has died after all: its exit was news of a stranger, and its slot is free.
            self._abandoned.discard(f"{name}{ABANDONED}{order.pid}")
            self._log.info("not abandoned", extra={"payload": name, "error": str(error)})

    def _bury(self, name: str) -> None:
        """A process that was abandoned is gone at last."""
        self._abandoned.discard(name)
        self.tell(name.partition(ABANDONED)[0], "abandoned", f"{name} has ended at last")
        if self._nursery is not None:
            self._nursery.start_soon(self._forget_abandoned, name)

    async def _forget_abandoned(self, name: str) -> None:
        try:
            await self._keeper.forget(name)
        except (MachineError, RequestError) as error:
            self._log.debug("not forgotten", extra={"payload": name, "error": str(error)})

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
                self._end(payload, gone, fresh=True)
            elif gone.name in self._abandoned:
                self._bury(gone.name)
        raise KeeperGone("the guardian is gone")

    async def _reconcile(self) -> None:
        """The guardian's table is the truth; news of exits can be lost, and are from one guardian to the next."""
        while True:
            with trio.move_on_after(RECONCILE_SECONDS):
                await self._keeper.wait_succession()
            self._keeper.overflowed = False
            entries = {entry.name: entry for entry in await self._keeper.table()}
            self._find_groups()
            for name in [name for name in self._abandoned if name in entries and not entries[name].running]:
                self._bury(name)
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
                    self._end(payload, entry.exit, fresh=False)

    def _end(self, payload: _Payload, gone: Exit, *, fresh: bool) -> None:
        """A process has ended."""
        ours = gone.token == payload.supervisor.token
        beat, sample = payload.beat, payload.sample
        waiting = (beat is not None and beat.state == "waiting") or (sample is not None and sample.code == "D")
        self._feed(payload, self._exited(payload, gone, fresh=fresh))
        if ours:
            self._blame(payload, gone, waiting=waiting)

    def _blame(self, payload: _Payload, gone: Exit, *, waiting: bool) -> None:
        """What the dead was handling may be what it died of. Before its successor is spawned, which begins anew."""
        spec, supervisor = payload.spec, payload.supervisor
        item = self._isolation.handled(supervisor.name) if spec is not None and spec.group else ""
        if spec is None or not item or not blames(supervisor.cause, gone.code, gone.signal, waiting=waiting):
            return
        effect = self._isolation.died(spec, item, supervisor.last_exit)
        text = told(effect, self._isolation.quarantine.policy.deaths)
        self._log.warning("quarantine", extra={"payload": spec.name, "text": text})
        self.tell(spec.name, "quarantine", text)
        if isinstance(effect, Quarantined):
            self.set_desired(self._specs, remedy=True)

    def _exited(self, payload: _Payload, gone: Exit, *, fresh: bool) -> Exited:
        """How a process has ended, with the limit that it ran into; ``fresh``: just now."""
        how, kind, meter = _how(gone), _kind(gone), payload.meter
        if fresh and gone.signal == signal.SIGKILL:
            # The kernel counts those that it kills for want of memory, and in which group it was wanting.
            if self._groups is not None and self._groups.kills(payload.supervisor.name) > payload.group_kills:
                kind = MEMORY
            elif oom_kills() > self._oom_kills:
                kind = "oom"
        if meter is not None and payload.sample is not None:
            mapped = payload.sample.rss_bytes - payload.sample.own_bytes
            kind = meter.exit_kind(kind, gone.code, max(0, gone.maxrss - mapped))
            if kind in LIMITS or kind == "oom":
                how = f"{how}: {kind}, at most {gone.maxrss >> 20} MiB resident; at the last look {meter.last}"
        return Exited(gone.token, how, kind)

    async def _beat(self) -> None:
        while True:
            await self._keeper.beat()
            await next_multiple(KEEPER_BEAT_SECONDS)

    def _guardian_hung(self, pid: int, what: str) -> None:
        self._log.error("guardian hangs", extra={"pid": pid, "what": what})
        self.tell("guardian", "hang", f"pid {pid} {what}")

    async def _guard(self, name: str, task: Callable[[], Awaitable[None]]) -> None:
        await guarded(task, name=f"shell.{name}", log=self._log, failures=self.failures, fatal=(KeeperGone,))


#: States whose beginning is part of the story.
_TOLD = frozenset(
    {
        State.RUNNING,
        State.REFUSED,
        State.PAUSED,
        State.DRAINED,
        State.AWAITING,
        State.BACKING_OFF,
        State.STOPPED,
        State.PARKED,
    }
)


def _kind(gone: Exit) -> str:
    return "signal" if gone.signal else "exit"


def _how(gone: Exit) -> str:
    """How a process ended, in words."""
    if not gone.known:
        return "unknown"
    if gone.signal:
        try:
            return f"signal {gone.signal} ({signal.Signals(gone.signal).name})"
        except ValueError:
            return f"signal {gone.signal}"
    return f"exit {gone.code}"
