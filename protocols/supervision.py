"""
The life of one payload as its control actor sees it: states × events in one table, effects out as values.

::

    stopped ──want──► spawning ──spawned──► starting ──hello──► configuring ──beat──► running ◄──► waiting
       ▲                 ▲  ▲                                     │      ▲               │
       │                 │  └───── want with another revision ─── refused ◄──────────────┘
       │                 └── tick ── backing-off ◄── exited / spawn-failed (from any of them)
       └── exited ── draining ──tick──► killing        (unwant, restart; silent or stalled go to killing at once)

    alive ──pause──► paused ──resume──► configuring          (SIGSTOP, SIGCONT)
    any wanted ──drain──► draining ──exited──► drained ──resume──► spawning
    any ──exited, where policy says so──► awaiting ──resume, restart, want with another revision──► spawning
    killing ──(can't be killed)──► abandoned: as after an exit, and the process is left to itself
    backing-off ──(the ladder of repairs ends)──► parked ──tick──► spawning      (an alarm, and slow tries for ever)

Rules:

- Never two spawns without an exit (or a failed spawn) between.
- While a payload is wanted it is always eventually spawned again; it never gives up. What follows on an exit that
  nobody meant is a policy of each payload: back off (the default), start it again at once, or await orders.
- What is tried when starting again does not help is told by :mod:`protocols.ladder`.
- Every failure that nobody ordered is told with the configuration that the process had (:class:`Failed`). A process
  that ended while it took one in is held to have ended by that one; one that fell silent, by the one it ran before.
- A payload is *ready* when it says so, not when its process exists.
- Three ways to be unwell: no beat (*silent*), work outstanding and no counter moving (*stalled*), and a refused
  configuration. The first two are killed, in steps that leave evidence: SIGUSR1, SIGABRT, SIGKILL; the third waits for
  another one.
- Waiting for storage is a state of its own, and never stalled. Time in which a process could not run does not count
  against it: asleep in the kernel without interruption (D, for up to ``waiting_seconds``), or runnable without being
  given a processor.
- Who has used up a limit (:mod:`protocols.limits`) is killed in the same steps.
- Paused and drained are ordered by people and end by people's orders only; awaiting ends by them, or by another
  configuration.

What this module does not do: spawn, kill, send, or read a clock. ``now`` is in seconds of any monotonic clock.
"""

from __future__ import annotations

import enum
import random
import signal
import typing
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import attrs

from protocols.bounds import positive
from protocols.errors import ConfigError
from protocols.ladder import Ladder, LadderPolicy, Rung
from protocols.limits import LIMITS
from protocols.restart import BackoffPolicy


def _a_few(instance: object, attribute: attrs.Attribute[Any], value: int) -> None:
    if not 0 <= value <= 64:
        raise ConfigError(attribute.name, value, "a number from 0 to 64 is accepted")


#: What may follow on an exit that nobody meant.
BACK_OFF, AT_ONCE, AWAIT = "back-off", "restart", "await"
AFTER_EXIT = (BACK_OFF, AT_ONCE, AWAIT)


def _after_exit(instance: object, attribute: attrs.Attribute[Any], value: dict[str, str]) -> None:
    for name, what in value.items():
        if what not in AFTER_EXIT:
            raise ConfigError(f"{attribute.name}.{name}", what, f"one of {', '.join(AFTER_EXIT)} is accepted")


@attrs.frozen
class Policy:
    """
    How payloads are supervised; times in seconds.

    Attributes:
        backoff: delays between starts.
        ladder: what follows when it fails again and again.
        hello_seconds: from spawn (or adoption) to Hello, of one that no signal has stopped.
        configure_seconds: until an unanswered configuration is sent again.
        silent_seconds: without a beat: hung.
        stalled_seconds: with work outstanding and no counter moving: hung.
        waiting_seconds: how long a process may be asleep in the kernel, waiting for storage, before that counts too.
        stop_seconds: from a stop order to the first step of a kill.
        evidence_seconds: between the steps of a kill: SIGUSR1, SIGABRT, SIGKILL.
        kill_seconds: until SIGKILL is sent again to a process that is still there.
        abandon_seconds: from the first SIGKILL until a process that is still there is abandoned and replaced.
        abandoned_most: abandoned processes of one side at a time; above it no more are abandoned.
        after_exit: payload, or its kind, or ``*`` → what follows on an exit that nobody meant: ``back-off`` (a delay
            that grows), ``restart`` (the first delay, however often) or ``await`` (orders).
    """

    backoff: BackoffPolicy = attrs.field(factory=BackoffPolicy)
    ladder: LadderPolicy = attrs.field(factory=LadderPolicy)
    hello_seconds: float = attrs.field(default=20.0, validator=positive)
    configure_seconds: float = attrs.field(default=5.0, validator=positive)
    silent_seconds: float = attrs.field(default=3.0, validator=positive)
    stalled_seconds: float = attrs.field(default=3.0, validator=positive)
    waiting_seconds: float = attrs.field(default=300.0, validator=positive)
    stop_seconds: float = attrs.field(default=3.0, validator=positive)
    evidence_seconds: float = attrs.field(default=0.25, validator=positive)
    kill_seconds: float = attrs.field(default=5.0, validator=positive)
    abandon_seconds: float = attrs.field(default=15.0, validator=positive)
    abandoned_most: int = attrs.field(default=4, validator=_a_few)
    after_exit: dict[str, str] = attrs.field(factory=dict, validator=_after_exit)

    def after(self, payload: str) -> str:
        """What follows on an exit of ``payload`` that nobody meant; the most exact entry counts."""
        names = (payload, payload.partition(".")[0], "*")
        return next((self.after_exit[name] for name in names if name in self.after_exit), BACK_OFF)


class State(enum.Enum):
    """Where a payload is. The value is what people and messages see."""

    STOPPED = "stopped"
    SPAWNING = "spawning"
    STARTING = "starting"
    CONFIGURING = "configuring"
    RUNNING = "running"
    WAITING = "waiting"
    REFUSED = "refused"
    DRAINING = "draining"
    KILLING = "killing"
    BACKING_OFF = "backing-off"
    PAUSED = "paused"
    DRAINED = "drained"
    AWAITING = "awaiting"
    PARKED = "parked"


#: Why a process ended: by itself (``exit``), by a ``signal`` that nobody here sent, by the kernel for want of memory
#: (``oom``); because it was a ``hang``, never said Hello (``protocol``), was ordered to (``operator``), could not be
#: started (``spawn``) or could not be killed and was ``abandoned``; or for the limit that it had reached.
CAUSES = frozenset({"exit", "signal", "oom", "hang", "protocol", "operator", "spawn", "abandoned", *LIMITS})

#: A process exists, or may.
ALIVE = frozenset(State) - {State.STOPPED, State.BACKING_OFF, State.DRAINED, State.AWAITING, State.PARKED}
#: There is no process, and there will be one when its time comes.
RESTING = frozenset({State.BACKING_OFF, State.PARKED})
#: The process has said Hello and is meant to live.
CONNECTED = frozenset({State.CONFIGURING, State.RUNNING, State.WAITING, State.REFUSED})


# -- events ---------------------------------------------------------------------------------------------------------


@attrs.frozen
class Want:
    """It shall run, with the configuration of this revision (never 0); ``remedy``: which is a repair, not news."""

    revision: int
    remedy: bool = False


@attrs.frozen
class Unwant:
    """It shall not run."""


@attrs.frozen
class Restart:
    """It shall be stopped, and started again at once. ``ordered``: by a person."""

    reason: str
    ordered: bool = False


@attrs.frozen
class Pause:
    """It shall be stopped where it is (SIGSTOP)."""


@attrs.frozen
class Drain:
    """It shall finish what is in hand, end, and not be started again before Resume."""


@attrs.frozen
class Resume:
    """The end of Pause or Drain, and of waiting between two starts or for orders; failures are forgotten."""


@attrs.frozen
class Strike:
    """A person sends it this signal. SIGKILL is preceded by what evidence there is, and repeated."""

    signal: signal.Signals


@attrs.frozen
class Seen:
    """
    What the kernel says of the process with ``token``.

    Attributes:
        code: state of its main thread (proc_pid_stat(5), field 3).
        cpu_ms: CPU time of the whole process so far.
    """

    token: str
    code: str
    cpu_ms: int


@attrs.frozen
class Overuse:
    """The process with ``token`` has reached its limit of ``what`` (of :data:`protocols.limits.LIMITS`)."""

    token: str
    what: str
    text: str


@attrs.frozen
class Spawned:
    """The process with ``token`` exists."""

    token: str
    pid: int


@attrs.frozen
class SpawnFailed:
    """There is no process with ``token``, and ``error`` says why."""

    token: str
    error: str


@attrs.frozen
class Found:
    """An earlier control actor had started it, and it lives; ``revision`` as in Want, 0 when it shall not run;
    ``paused``: it was paused by an order."""

    token: str
    pid: int
    revision: int
    paused: bool = False


@attrs.frozen
class Greeted:
    """Hello: a new connection of the process with ``token``, which runs ``revision``."""

    token: str
    revision: int


@attrs.frozen
class Beaten:
    """A beat of the process with ``token``; fields as in :class:`protocols.messages.Beat`."""

    token: str
    revision: int
    state: str
    refused: int = 0
    error: str = ""
    outstanding: bool = False
    counters: Mapping[str, int] = attrs.Factory(dict)


@attrs.frozen
class Exited:
    """The process with ``token`` is gone; ``cause`` in words, ``kind``: ``exit``, ``signal``, ``oom`` or a limit."""

    token: str
    cause: str
    kind: str = "exit"


@attrs.frozen
class Missed:
    """It ended, ``cause`` and ``kind`` as in Exited, while no control actor was there: told before Want."""

    cause: str
    kind: str


@attrs.frozen
class Tick:
    """Time has passed."""


Event: TypeAlias = (
    Want
    | Unwant
    | Restart
    | Pause
    | Drain
    | Resume
    | Strike
    | Seen
    | Overuse
    | Spawned
    | SpawnFailed
    | Found
    | Greeted
    | Beaten
    | Exited
    | Missed
    | Tick
)

# -- effects --------------------------------------------------------------------------------------------------------


@attrs.frozen
class Spawn:
    """Start the process, with ``token`` in its environment; answer with Spawned or SpawnFailed."""

    token: str


@attrs.frozen
class Kill:
    """Send ``signal`` to the process."""

    signal: signal.Signals


@attrs.frozen
class SendConfigure:
    """Send the wanted configuration."""

    revision: int


@attrs.frozen
class SendStop:
    """Ask it to finish within ``seconds``."""

    seconds: float


@attrs.frozen
class WakeAt:
    """A Tick is wanted at ``time``; the last one given replaces all earlier ones, and None takes it back."""

    time: float | None


@attrs.frozen
class Capture:
    """
    It is about to be killed: keep what can be found out about it now, and its stacks as soon as they are written.
    ``limit``: which it had reached; empty for none.
    """

    reason: str
    limit: str = ""


@attrs.frozen
class Abandon:
    """The process ``pid`` with ``token`` can't be killed: leave it to itself, its place is needed."""

    token: str
    pid: int


@attrs.frozen
class Failed:
    """
    It hangs, or has ended, and nobody ordered it.

    Attributes:
        revision: of the configuration that is held to be the reason; 0 when it had none yet.
        kind: one of :data:`CAUSES`.
        text: for people.
    """

    revision: int
    kind: str
    text: str


@attrs.frozen
class Climbed:
    """It is on another rung of the ladder: what that means is to be done. ``RESTART``: it is well again."""

    rung: Rung


Effect: TypeAlias = Spawn | Kill | SendConfigure | SendStop | WakeAt | Capture | Abandon | Failed | Climbed


class InvariantError(AssertionError):
    """A bug of this module: the state and what it implies disagree. Carries the last events."""


@attrs.define(eq=False)
class Supervisor:
    """
    One payload.

    Attributes:
        name: for messages.
        state: see the module.
        wanted: revision of the configuration it shall run; 0 when it shall not run.
        token: of the process; empty when there is none.
        pid: 0 when unknown or none.
        running: the revision it says it runs; 0 for none.
        restarts: spawns after the first.
        last_exit: how it ended last, or why it could not be started, in words.
        cause: of the last exit, one of :data:`CAUSES`; empty for none.
        held: it was drained by an order: not to be started before Resume.
        may_abandon: whether another process may be abandoned.
        complaint: why it is not well, in its own words or ours; empty when it is.
        strangers: events of processes that are not (or no longer) this one; they change nothing.
        rungs: of the ladder, that this side has.
        ladder: where it is on it.
        history: the last transitions, ``(now, event, from, to)``.
    """

    name: str
    policy: Policy
    rng: random.Random
    new_token: Callable[[], str]
    state: State = State.STOPPED
    wanted: int = 0
    token: str = ""
    pid: int = 0
    running: int = 0
    restarts: int = -1
    last_exit: str = ""
    cause: str = ""
    held: bool = False
    may_abandon: Callable[[], bool] = attrs.field(default=lambda: True)
    complaint: str = ""
    strangers: int = 0
    rungs: frozenset[Rung] = frozenset()
    history: deque[tuple[float, str, str, str]] = attrs.field(factory=lambda: deque(maxlen=64))
    ladder: Ladder = attrs.field(init=False)
    #: The configuration that was sent to this process last; 0 for none.
    _given: int = 0
    #: This process's failure has been told.
    _told: bool = False
    #: When the current state has to end by itself; None for never.
    _due: float | None = None
    #: When it last became running or waiting; None while it is neither.
    _well_since: float | None = None
    #: The last beat, and the last time that something showed progress.
    _beat_at: float = 0.0
    _progress_at: float = 0.0
    _counters: Mapping[str, int] = attrs.Factory(dict)
    #: In DRAINING and KILLING: the exit is meant, so it costs no delay.
    _planned: bool = False
    #: Cause of the coming exit, when it is ours: ``operator``, ``hang``, ``protocol``.
    _verdict: str = ""
    #: In KILLING: the step that comes next, and when SIGKILL was sent first.
    _step: int = 0
    _killed_at: float | None = None
    #: When an order sent it another signal: an exit soon after is of that.
    _struck_at: float | None = None
    #: The last Seen, and how long it was asleep in the kernel since its last beat.
    _seen_at: float | None = None
    _seen_cpu: int = 0
    _asleep: float = 0.0
    #: Since when it is seen stopped by a signal; None: it is not.
    _frozen_at: float | None = None
    #: It ended while no control actor was there to see it.
    _missed: bool = False
    _effects: list[Effect] = attrs.Factory(list)
    _wake: float | None = None

    def __attrs_post_init__(self) -> None:
        self.ladder = Ladder(self.policy.ladder, self.policy.backoff, self.rng, self.rungs)

    # -- the one way in ---------------------------------------------------------------------------------------------

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take one event, return what is to be done, in order. An event that means nothing here changes nothing."""
        if (
            isinstance(event, Spawned | SpawnFailed | Greeted | Beaten | Exited | Seen | Overuse)
            and event.token != self.token
        ):
            self.strangers += 1
            return []
        before = self.state
        TRANSITIONS[before, type(event)](self, event, now)
        if self.state is not before:
            self.history.append((now, type(event).__name__, before.value, self.state.value))
        wake = self._next_wake()
        if wake != self._wake:
            self._wake = wake
            self._effects.append(WakeAt(wake))
        effects, self._effects = self._effects, []
        return effects

    @property
    def restarted(self) -> int:
        """How often it was started again."""
        return max(0, self.restarts)

    def validate(self) -> None:
        """
        Check what every state implies.

        Raises:
            InvariantError: with the last transitions.
        """
        alive = self.state in ALIVE
        claims = {
            "a token exactly while a process may exist": bool(self.token) == alive,
            "no pid without a process": alive or self.pid == 0,
            "stopped means not wanted": (self.state is not State.STOPPED) or self.wanted == 0,
            "resting means wanted, with a time": self.state not in RESTING
            or (self.wanted != 0 and self._due is not None),
            "awaiting means wanted, and not held": self.state is not State.AWAITING
            or (self.wanted != 0 and not self.held),
            "parked only at the end of the ladder": self.state is not State.PARKED or self.ladder.rung is Rung.PARKED,
            "drained means wanted, and held": self.state is not State.DRAINED or (self.wanted != 0 and self.held),
            "wanted by nobody means on the way out": self.wanted != 0
            or self.state in (State.STOPPED, State.DRAINING, State.KILLING),
            "well only while running or waiting": (self._well_since is not None)
            == (self.state in (State.RUNNING, State.WAITING)),
            "whoever must not stay has a time": (self._next_wake() is not None)
            or self.state in (State.STOPPED, State.SPAWNING, State.PAUSED, State.DRAINED, State.AWAITING),
        }
        broken = [claim for claim, holds in claims.items() if not holds]
        if broken:
            raise InvariantError(f"{self.name}: {broken} in {self!r}")

    # -- what transitions are made of -------------------------------------------------------------------------------

    def _next_wake(self) -> float | None:
        times = [] if self._due is None else [self._due]
        if self.state in CONNECTED:
            times.append(self._beat_at + self._silent_seconds)
        if self.state is State.RUNNING and self._outstanding:
            times.append(self._progress_at + self.policy.stalled_seconds)
        if self._frozen_at is not None and (self.state is State.STARTING or self.state in CONNECTED):
            times.append(self._frozen_at + self.policy.silent_seconds)
        return min(times, default=None)

    _outstanding: bool = False

    @property
    def _silent_seconds(self) -> float:
        """Once it has said that it takes the configuration, it may be busy for as long as a start may take."""
        policy = self.policy
        busy = self.state is State.CONFIGURING and self.running == self.wanted
        return max(policy.silent_seconds, policy.hello_seconds if busy else 0.0)

    def _enter(self, state: State, due: float | None = None) -> None:
        self.state = state
        self._due = due
        if state not in (State.RUNNING, State.WAITING):
            self._well_since = None

    def _spawn(self, now: float) -> None:
        self.token = self.new_token()
        self.restarts += 1
        self._enter(State.SPAWNING)
        self._effects.append(Spawn(self.token))

    def _configure(self, now: float) -> None:
        self._given = self.wanted
        self._enter(State.CONFIGURING, now + self.policy.configure_seconds)
        self._effects.append(SendConfigure(self.wanted))

    def _gone(self, how: str, kind: str, now: float) -> None:
        """There is no process any more."""
        if self._struck_at is not None and now - self._struck_at <= self.policy.stop_seconds:
            self._verdict = self._verdict or "operator"
        ran = 0.0 if self._well_since is None else now - self._well_since
        planned = self._planned or self._verdict == "operator"
        self._planned = False
        self.last_exit = f"{how}: {self.complaint}" if self._verdict in LIMITS else how
        self.cause, self._verdict = self._verdict or kind, ""
        if not planned and self.wanted and self.cause != "operator":
            self._fail(self._given or self.running, self.cause, how)
        self.token, self.pid, self.running, self._given, self._told = "", 0, 0, 0, False
        self._outstanding = False
        self._seen_at, self._asleep, self._killed_at, self._struck_at = None, 0.0, None, None
        self._frozen_at = None
        if not self.wanted:
            self._enter(State.STOPPED)
        elif self.held:
            self._enter(State.DRAINED)
        elif planned or self.cause == "operator":
            self._spawn(now)
        elif self.policy.after(self.name) == AWAIT:
            self._enter(State.AWAITING)
        else:
            if self.policy.after(self.name) == AT_ONCE:
                self.ladder.changed()
            step = self.ladder.failed(ran)
            self._enter(State.PARKED if step.rung is Rung.PARKED else State.BACKING_OFF, now + step.delay)
            if step.climbed:
                self._effects.append(Climbed(step.rung))

    def _fail(self, revision: int, kind: str, text: str) -> None:
        """Tell of it, once for each process."""
        if not self._told:
            self._told = True
            self._effects.append(Failed(revision, kind, text))

    def _kill(self, complaint: str, verdict: str, now: float) -> None:
        """Hung: stacks to its log first, then the end of it, step by step."""
        self.complaint = complaint
        self._planned = False
        self._verdict = self._verdict or verdict
        self._step, self._killed_at = 0, None
        self._enter(State.KILLING, now + self.policy.evidence_seconds)
        limit = verdict if verdict in LIMITS else ""
        self._effects += [Capture(complaint, limit), Kill(signal.SIGUSR1)]

    def _hung(self, complaint: str, verdict: str, now: float) -> None:
        """It is told at once: its end may take a while."""
        self._fail(self.running or self._given, verdict, complaint)
        self._kill(complaint, verdict, now)

    def _drain(self, now: float) -> None:
        """Ask it to end: over the lifeline when it has one, by signal otherwise."""
        connected = self.state in CONNECTED
        if self.state is State.PAUSED:
            self._effects.append(Kill(signal.SIGCONT))
        self._planned = True
        self._enter(State.DRAINING, now + self.policy.stop_seconds)
        self._effects.append(SendStop(self.policy.stop_seconds) if connected else Kill(signal.SIGTERM))

    # -- transitions ------------------------------------------------------------------------------------------------

    def _nothing(self, event: Event, now: float) -> None:
        """The event means nothing in this state."""

    def _want_start(self, event: Want, now: float) -> None:
        self.wanted = event.revision
        missed, self._missed = self._missed, False
        if self.held:
            self._enter(State.DRAINED)
        elif missed and self.policy.after(self.name) == AWAIT:
            self._enter(State.AWAITING)
        else:
            self._renew(event)
            self._spawn(now)

    def _missed_exit(self, event: Missed, now: float) -> None:
        self.last_exit, self.cause = event.cause, event.kind
        self._missed = True

    def _renew(self, event: Want) -> None:
        if event.remedy:
            self.ladder.remedied()
        else:
            self.ladder.changed()

    def _want_later(self, event: Want, now: float) -> None:
        if event.revision != self.wanted:
            self._renew(event)
        self.wanted = event.revision

    def _want_now(self, event: Want, now: float) -> None:
        """A changed configuration is worth a try at once."""
        if event.revision != self.wanted:
            self._want_start(event, now)

    def _want_change(self, event: Want, now: float) -> None:
        if event.revision != self.wanted:
            self.wanted = event.revision
            self._renew(event)
            self._configure(now)

    def _unwant_now(self, event: Unwant, now: float) -> None:
        self.wanted = 0
        self._enter(State.STOPPED)

    def _unwant_drain(self, event: Unwant, now: float) -> None:
        self.wanted = 0
        self._drain(now)

    def _unwant_later(self, event: Unwant, now: float) -> None:
        self.wanted = 0

    def _unwant_spawning(self, event: Unwant, now: float) -> None:
        self.wanted = 0
        self._planned = True
        self._enter(State.DRAINING, now + self.policy.stop_seconds)

    def _restart_drain(self, event: Restart, now: float) -> None:
        self.complaint = event.reason
        self._verdict = "operator" if event.ordered else ""
        self._drain(now)

    def _restart_now(self, event: Restart, now: float) -> None:
        self.ladder.changed()
        self._spawn(now)

    def _pause(self, event: Pause, now: float) -> None:
        self._enter(State.PAUSED)
        self._effects.append(Kill(signal.SIGSTOP))

    def _unpause(self, event: Resume, now: float) -> None:
        self._effects.append(Kill(signal.SIGCONT))
        self._attend(now)
        self._enter(State.CONFIGURING, now + self.policy.configure_seconds)

    def _hold_drain(self, event: Drain, now: float) -> None:
        self.held = True
        self._verdict = "operator"
        self._drain(now)

    def _hold_spawning(self, event: Drain, now: float) -> None:
        self.held = self._planned = True
        self._verdict = "operator"
        self._enter(State.DRAINING, now + self.policy.stop_seconds)

    def _hold_later(self, event: Drain, now: float) -> None:
        self.held = True

    def _hold_now(self, event: Drain, now: float) -> None:
        self.held = True
        self._enter(State.DRAINED)

    def _unhold(self, event: Resume, now: float) -> None:
        self.held = False

    def _unhold_now(self, event: Resume, now: float) -> None:
        self.held = False
        self.ladder.changed()
        self._spawn(now)

    def _strike(self, event: Strike, now: float) -> None:
        """Only SIGKILL is sure to end it; after another signal it may live on, and be well."""
        if event.signal is not signal.SIGKILL:
            self._struck_at = now
            self._effects.append(Kill(event.signal))
            return
        self._verdict = "operator"
        self.complaint = "killed by an order"
        self._planned = True
        self._step, self._killed_at = 2, now
        self._enter(State.KILLING, now + self.policy.kill_seconds)
        self._effects += [Capture(self.complaint), Kill(signal.SIGKILL)]

    def _seen(self, event: Seen, now: float) -> None:
        """Time in which it could not run is taken out of what counts against it."""
        self._seen_starting(event, now)
        since, used = self._seen_at, event.cpu_ms - self._seen_cpu
        self._seen_at, self._seen_cpu = now, event.cpu_ms
        if since is None:
            return
        passed = now - since
        if event.code == "D":
            self._asleep += passed
            if self._asleep > self.policy.waiting_seconds:
                return
        elif event.code != "R" or used * 20 > passed * 1000:
            return
        # Runnable and given less than a twentieth of a processor: it is this host that is busy.
        self._beat_at = min(now, self._beat_at + passed)
        self._progress_at = min(now, self._progress_at + passed)

    def _seen_starting(self, event: Seen, now: float) -> None:
        """Whoever is stopped gets nowhere, however much time a start may take."""
        if event.code != "T":
            self._frozen_at = None
        elif self._frozen_at is None:
            self._frozen_at = now

    def _overused(self, event: Overuse, now: float) -> None:
        self._kill(event.text, event.what, now)

    def _attend(self, now: float) -> None:
        """From now on it has to be heard."""
        self._beat_at = self._progress_at = now
        self._asleep = 0.0
        self._frozen_at = None

    def _spawned(self, event: Spawned, now: float) -> None:
        self.pid = event.pid
        self._enter(State.STARTING, now + self.policy.hello_seconds)

    def _spawned_late(self, event: Spawned, now: float) -> None:
        self.pid = event.pid

    def _spawned_unwanted(self, event: Spawned, now: float) -> None:
        """It was told to go before it was there."""
        self.pid = event.pid
        self._effects.append(Kill(signal.SIGTERM))

    def _spawn_failed(self, event: SpawnFailed, now: float) -> None:
        self._gone(f"spawn failed: {event.error}", "spawn", now)

    def _found(self, event: Found, now: float) -> None:
        self.token, self.pid, self.wanted = event.token, event.pid, event.revision
        self.restarts = max(self.restarts, 0)
        if event.paused and self.wanted:
            self._enter(State.PAUSED)
            return
        self._enter(State.PAUSED if event.paused else State.STARTING, now + self.policy.hello_seconds)
        if not self.wanted or self.held:
            self._drain(now)

    def _greeted(self, event: Greeted, now: float) -> None:
        self._attend(now)
        self.running = event.revision
        if event.revision == self.wanted:
            # Adopted: it runs what is wanted already. Its next beat says how it is.
            self._enter(State.CONFIGURING, now + self.policy.configure_seconds)
        else:
            self._configure(now)

    def _greeted_again(self, event: Greeted, now: float) -> None:
        """A new connection of a process that we know: whatever was under way on the old one may be lost."""
        self._beat_at = now
        if event.revision != self.wanted and self.state is not State.REFUSED:
            self._configure(now)

    def _greeted_draining(self, event: Greeted, now: float) -> None:
        self._effects.append(SendStop(self.policy.stop_seconds))

    def _beaten(self, event: Beaten, now: float) -> None:
        self._beat_at = now
        self._asleep = 0.0
        self.running = event.revision
        if not event.outstanding or not self._outstanding or event.counters != self._counters:
            self._progress_at = now
        self._outstanding = event.outstanding
        self._counters = event.counters
        if event.revision == self.wanted:
            self.complaint = event.error
            if event.state == "starting":
                if self.state is not State.CONFIGURING:
                    self._enter(State.CONFIGURING, now + self.policy.configure_seconds)
                else:
                    self._due = now + self.policy.configure_seconds
                return
            well_since = now if self._well_since is None else self._well_since
            if self.ladder.rung is not Rung.RESTART and now - well_since >= self.policy.backoff.stable_seconds:
                self.ladder.stable()
                self._effects.append(Climbed(Rung.RESTART))
            self._enter(State.WAITING if event.state == "waiting" else State.RUNNING)
            if self.state is State.WAITING:
                self._progress_at = now
            self._well_since = well_since
        elif event.refused == self.wanted:
            self.complaint = event.error or "the configuration was refused"
            self._enter(State.REFUSED)
        elif self.state is not State.CONFIGURING:
            # It lost or never had what it shall run (it restarted its work, or answered to an older order).
            self._configure(now)

    def _beaten_late(self, event: Beaten, now: float) -> None:
        """Hello was lost or is late; a beat says as much."""
        self._greeted(Greeted(event.token, event.revision), now)
        self._beaten(event, now)

    def _exited(self, event: Exited, now: float) -> None:
        self._gone(event.cause, event.kind, now)

    def _tick_starting(self, event: Tick, now: float) -> None:
        if self._due is not None and now >= self._due:
            self._hung(f"no Hello within {self.policy.hello_seconds:g} s", "protocol", now)
        else:
            self._tick_frozen(now)

    def _tick_frozen(self, now: float) -> bool:
        """Whether it has been stopped by a signal for too long; then it is on its way out."""
        found = self._frozen_at is not None and now - self._frozen_at >= self.policy.silent_seconds
        if found:
            self._hung(f"stopped by a signal for {self.policy.silent_seconds:g} s", "hang", now)
        return found

    def _tick_connected(self, event: Tick, now: float) -> None:
        if now - self._beat_at >= self._silent_seconds:
            self._hung(f"silent: no beat for {self._silent_seconds:g} s", "hang", now)
        elif self._tick_frozen(now):
            return
        elif (
            self.state is State.RUNNING and self._outstanding and now - self._progress_at >= self.policy.stalled_seconds
        ):
            self._hung(
                f"stalled: work outstanding, no counter moved for {self.policy.stalled_seconds:g} s", "hang", now
            )
        elif self._due is not None and now >= self._due:
            if self.running == self.wanted:
                self._due = now + self.policy.configure_seconds
            else:
                self._configure(now)

    def _tick_draining(self, event: Tick, now: float) -> None:
        if self._due is not None and now >= self._due:
            planned = self._planned
            self._kill(f"did not stop within {self.policy.stop_seconds:g} s", "hang", now)
            self._planned = planned

    def _tick_killing(self, event: Tick, now: float) -> None:
        """A process that waits for storage can't be killed yet; it will be when it wakes, and is replaced before."""
        if self._due is None or now < self._due:
            return
        if self._step == 0:
            # C code that never gives the interpreter's lock back writes its stacks only while it dies of this.
            self._step = 1
            self._due = now + self.policy.evidence_seconds
            self._effects += [Kill(signal.SIGABRT), Kill(signal.SIGCONT)]
            return
        self._step = 2
        self._killed_at = now if self._killed_at is None else self._killed_at
        # Without a pid its spawn may still be under way: there is nothing to abandon yet.
        if self.pid and now - self._killed_at >= self.policy.abandon_seconds and self.may_abandon():
            self._effects.append(Abandon(self.token, self.pid))
            self._verdict = "abandoned"
            self._gone(f"can't be killed, abandoned as pid {self.pid}", "abandoned", now)
            return
        self._due = now + self.policy.kill_seconds
        self._effects.append(Kill(signal.SIGKILL))

    def _tick_backing_off(self, event: Tick, now: float) -> None:
        if self._due is not None and now >= self._due:
            self._spawn(now)


_S = Supervisor
_Transition = Callable[..., None]

#: Every state × every event. What is not named below means nothing in that state.
TRANSITIONS: dict[tuple[State, type], _Transition] = {
    (state, event): _S._nothing for state in State for event in typing.get_args(Event)
}
TRANSITIONS |= {
    (State.STOPPED, Missed): _S._missed_exit,
    (State.AWAITING, Want): _S._want_now,
    (State.AWAITING, Unwant): _S._unwant_now,
    (State.AWAITING, Restart): _S._restart_now,
    (State.AWAITING, Resume): _S._unhold_now,
    (State.AWAITING, Drain): _S._hold_now,
    (State.AWAITING, Found): _S._found,
    (State.DRAINED, Want): _S._want_later,
    (State.DRAINED, Unwant): _S._unwant_now,
    (State.DRAINED, Resume): _S._unhold_now,
    (State.DRAINED, Found): _S._found,
    (State.STOPPED, Drain): _S._hold_later,
    (State.STOPPED, Resume): _S._unhold,
    (State.BACKING_OFF, Drain): _S._hold_now,
    (State.BACKING_OFF, Resume): _S._unhold_now,
    (State.SPAWNING, Drain): _S._hold_spawning,
    (State.STARTING, Pause): _S._pause,
    (State.STARTING, Drain): _S._hold_drain,
    (State.STARTING, Strike): _S._strike,
    (State.DRAINING, Drain): _S._hold_later,
    (State.DRAINING, Resume): _S._unhold,
    (State.DRAINING, Strike): _S._strike,
    (State.KILLING, Drain): _S._hold_later,
    (State.KILLING, Resume): _S._unhold,
    (State.PAUSED, Want): _S._want_later,
    (State.PAUSED, Unwant): _S._unwant_drain,
    (State.PAUSED, Restart): _S._restart_drain,
    (State.PAUSED, Drain): _S._hold_drain,
    (State.PAUSED, Resume): _S._unpause,
    (State.PAUSED, Strike): _S._strike,
    (State.PAUSED, Spawned): _S._spawned_late,
    (State.PAUSED, Exited): _S._exited,
    (State.STOPPED, Want): _S._want_start,
    (State.STOPPED, Found): _S._found,
    (State.BACKING_OFF, Want): _S._want_now,
    (State.BACKING_OFF, Unwant): _S._unwant_now,
    (State.BACKING_OFF, Found): _S._found,
    (State.BACKING_OFF, Restart): _S._restart_now,
    (State.BACKING_OFF, Tick): _S._tick_backing_off,
    (State.SPAWNING, Want): _S._want_later,
    (State.SPAWNING, Unwant): _S._unwant_spawning,
    (State.SPAWNING, Spawned): _S._spawned,
    (State.SPAWNING, SpawnFailed): _S._spawn_failed,
    (State.SPAWNING, Greeted): _S._greeted,
    (State.SPAWNING, Beaten): _S._beaten_late,
    (State.SPAWNING, Exited): _S._exited,
    (State.STARTING, Want): _S._want_later,
    (State.STARTING, Unwant): _S._unwant_drain,
    (State.STARTING, Restart): _S._restart_drain,
    (State.STARTING, Seen): _S._seen_starting,
    (State.STARTING, Overuse): _S._overused,
    (State.STARTING, Greeted): _S._greeted,
    (State.STARTING, Beaten): _S._beaten_late,
    (State.STARTING, Exited): _S._exited,
    (State.STARTING, Tick): _S._tick_starting,
    (State.DRAINING, Want): _S._want_later,
    (State.DRAINING, Unwant): _S._unwant_later,
    (State.DRAINING, Spawned): _S._spawned_unwanted,
    (State.DRAINING, SpawnFailed): _S._spawn_failed,
    (State.DRAINING, Greeted): _S._greeted_draining,
    (State.DRAINING, Exited): _S._exited,
    (State.DRAINING, Tick): _S._tick_draining,
    (State.KILLING, Want): _S._want_later,
    (State.KILLING, Unwant): _S._unwant_later,
    (State.KILLING, Spawned): _S._spawned_late,
    (State.KILLING, SpawnFailed): _S._spawn_failed,
    (State.KILLING, Exited): _S._exited,
    (State.KILLING, Tick): _S._tick_killing,
}
#: Parked it waits for its next start, as between any two.
TRANSITIONS |= {(State.PARKED, event): TRANSITIONS[State.BACKING_OFF, event] for event in typing.get_args(Event)}
for _state in CONNECTED:
    TRANSITIONS |= {
        (_state, Want): _S._want_change,
        (_state, Unwant): _S._unwant_drain,
        (_state, Restart): _S._restart_drain,
        (_state, Pause): _S._pause,
        (_state, Drain): _S._hold_drain,
        (_state, Strike): _S._strike,
        (_state, Seen): _S._seen,
        (_state, Overuse): _S._overused,
        (_state, Spawned): _S._spawned_late,
        (_state, Greeted): _S._greeted_again,
        (_state, Beaten): _S._beaten,
        (_state, Exited): _S._exited,
        (_state, Tick): _S._tick_connected,
    }
