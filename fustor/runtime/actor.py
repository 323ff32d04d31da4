"""
The host of a data actor: environment, logging, lifeline, configuration, stopping.

An actor module calls :func:`run_actor` (its work is a trio function) or :func:`run_blocking_actor` (a plain function in
the main thread, for work that may hang in a system call: the lifeline then lives in a thread of its own and goes on).

Exit status: 0 stopped as asked; 1 crashed, or a new configuration could not take the old one's place in time; 2 the
configuration was refused under ``--check``, or the environment is not an actor's; 3 the guardian is gone; 4 it was
refused memory, 5 descriptors.

``--check`` reads a configuration as JSON from stdin, builds it, and prints what is wrong with it.

What this module does not do: restart anything. A crash ends the process, and the control actor decides what follows.
"""

from __future__ import annotations

import abc
import contextlib
import errno
import faulthandler
import json
import logging
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Awaitable, Callable
from typing import Any, Generic, NoReturn, TypeVar

import trio

import fustor
from fustor.runtime.config import ConfigFaults
from fustor.runtime.lifeline import Lifeline
from fustor.runtime.log import setup_logging
from fustor.runtime.parent import watch_guardian
from protocols.errors import ConfigError, FustorError
from protocols.lifeline import ActorLifeline
from protocols.limits import EXIT_FDS, EXIT_MEMORY
from protocols.looks import Enquiry, Findings, Look, Looked
from protocols.messages import Beat, Configure

EXIT_STOPPED, EXIT_CRASHED, EXIT_REFUSED, EXIT_ORPHAN = 0, 1, 2, 3

#: Seconds that an actor has to return after SIGTERM, or before a new configuration takes its place.
STOP_SECONDS = 5.0

#: Seconds that a ``--check`` may take; it is ended by SIGALRM then.
CHECK_SECONDS = 60

#: Seconds that a cancelled trio actor has to unwind before the process ends without it.
GRACE_SECONDS = 1.0


class Host:
    """
    What an actor sees of its process.

    Attributes:
        name: of the payload (``scanner.data.0``).
        counters: monotone counts of work done; kept from one configuration to the next.
        gauges: levels.
        facts: for people and for the control actor.
        outstanding: there is work, so some counter must move.
        state: ``starting``, ``running``, ``waiting`` (for storage) or ``draining``.
        fds: inherited descriptors by name.
        stop_requested: a ``trio.Event`` (in blocking actors a ``threading.Event``): return soon. A new one with each
            configuration.
        adjust: set by an actor that can take in some configurations while it works: told of one that ``build`` has
            accepted, it returns whether it goes on with that. False: it is ended, and the next run begins. In blocking
            actors it is called in the thread of the lifeline.
        on_look: set by a trio actor that has to do with looks: told what the control actor says of them.
        log: the logger of this actor.
    """

    def __init__(
        self,
        name: str,
        fds: dict[str, int],
        log: logging.Logger,
        nudge: Callable[[], None],
        say: Callable[[Look | Looked | Enquiry], bool] = lambda message: False,
    ) -> None:
        self.name = name
        self.counters: dict[str, int] = {}
        self.gauges: dict[str, int] = {}
        self.facts: dict[str, str] = {}
        self.outstanding = False
        self.state = "starting"
        self.fds = fds
        self.stop_requested: Any = None
        self.adjust: Callable[[dict[str, Any]], bool] | None = None
        self.on_look: Callable[[Look | Looked | Findings], None] | None = None
        self.log = log
        self._nudge = nudge
        self._say = say

    def nudge(self) -> None:
        """Tell the control actor now, instead of with the next Beat."""
        self._nudge()

    def say(self, message: Look | Looked | Enquiry) -> bool:
        """Tell the control actor something of looks, if it takes it now; for trio actors."""
        return self._say(message)

    def inherited(self, name: str) -> int | None:
        """
        The descriptor of a socket that the guardian keeps for us; None for an empty name. It has to stay open for the
        next configuration: work with a duplicate.

        Raises:
            ConfigError: we were given none of that name.
        """
        if not name:
            return None
        if name not in self.fds:
            given = ", ".join(self.fds) or "there is none"
            raise ConfigError("listen", name, f"the name of an inherited socket is accepted: {given}")
        return self.fds[name]

    def ready(self, **facts: str) -> None:
        """The actor does its work from now on; the control actor is told at once."""
        self.facts.update(facts)
        self.state = "running"
        self.nudge()

    def _renew(self, stop_requested: trio.Event | threading.Event) -> None:
        """As at the start, for the next configuration; counters never go back."""
        self.gauges, self.facts = {}, {}
        self.outstanding = False
        self.state = "starting"
        self.stop_requested = stop_requested
        self.adjust = None
        self.on_look = None


Run = TypeVar("Run", bound=Callable[[Host], Any])


class _Actor(abc.ABC, Generic[Run]):
    """What both kinds share: the reactions to the lifeline. All methods run in the thread of the lifeline's loop."""

    def __init__(
        self, line: ActorLifeline, fds: dict[str, int], build: Callable[[dict[str, Any]], Run], stop_seconds: float
    ) -> None:
        self._build = build
        self._stop_seconds = stop_seconds
        self._stopping = False
        #: The configuration that shall run next; a later one takes its place.
        self._pending: Run | None = None
        #: Runs that have ended.
        self._ended = 0
        self._running = False
        self._line = line
        self._lifeline = Lifeline(
            line, beat=self._beat, on_configure=self._configure, on_stop=self.stop, on_look=self._hear_of_look
        )
        self.host = Host(line.name, fds, logging.getLogger(line.name), self._nudge, self._lifeline.send_nowait)
        self._nursery: trio.Nursery | None = None

    @abc.abstractmethod
    def _nudge(self) -> None:
        """Beat now; from the actor's thread."""

    @abc.abstractmethod
    def _offer(self, run: Run) -> None:
        """This shall run next: end what runs, if anything does."""

    @abc.abstractmethod
    def _request_stop(self) -> None:
        """Tell what runs to return."""

    @abc.abstractmethod
    def _break_off(self) -> bool:
        """The time to return is over. True if the run can still end in an orderly way."""

    def attend(self, nursery: trio.Nursery) -> None:
        """Keep the lifeline for as long as ``nursery`` lives."""
        self._nursery = nursery
        nursery.start_soon(self._lifeline.run)

    def stop(self, seconds: float) -> None:
        """Ask the actor to return within ``seconds``, and end the process after that in any case."""
        if self._stopping or self._nursery is None:
            return
        self.host.log.info("stop requested", extra={"seconds": seconds})
        self.host.state = "draining"
        ended = self._ended
        self._request_stop()
        self._lifeline.nudge()
        self._nursery.start_soon(self._enforce, ended, seconds, EXIT_STOPPED)

    def _beat(self) -> Beat:
        host = self.host
        return self._line.beat(
            host.state,
            outstanding=host.outstanding,
            counters=host.counters,
            gauges={**host.gauges, "loop_lag_us": round(self._lifeline.lag_seconds * 1e6)},
            facts=host.facts,
        )

    def _configure(self, message: Configure) -> None:
        if self._line.is_news(message.revision) and not self._stopping:
            try:
                run = self._build(message.config)
            except FustorError as error:
                self.host.log.warning(
                    "configuration refused", extra={"revision": message.revision, "error": str(error)}
                )
                self._line.refuse(message.revision, str(error))
            else:
                self.host.log.info("configuration accepted", extra={"revision": message.revision})
                self._line.accept(message.revision)
                if not self._adjusted(message.config):
                    self.host.state = "starting"
                    # What follows may keep this loop busy: that it was accepted is said before.
                    self._lifeline.tell_nowait()
                    ended, replaces = self._ended, self._running
                    self._offer(run)
                    if replaces and self._nursery is not None:
                        self._nursery.start_soon(self._enforce, ended, self._stop_seconds, EXIT_CRASHED)
        self._lifeline.nudge()

    def _hear_of_look(self, message: Look | Looked | Findings) -> None:
        if self.host.on_look is not None:
            self.host.on_look(message)

    def _adjusted(self, config: dict[str, Any]) -> bool:
        """Whether what runs has taken the configuration in."""
        adjust = self.host.adjust
        return self._running and self._pending is None and adjust is not None and adjust(config)

    async def _enforce(self, ended: int, seconds: float, status: int) -> None:
        """End the process unless the run that was under way after ``ended`` others ends within ``seconds``."""
        await trio.sleep(seconds)
        if self._ended == ended and self._running and self._break_off():
            await trio.sleep(GRACE_SECONDS)
        if self._ended == ended and self._running:
            self.host.log.error("the actor did not return in time", extra={"seconds": seconds})
            faulthandler.dump_traceback(all_threads=True)
            _leave(status)


class _TrioActor(_Actor[Callable[[Host], Awaitable[None]]]):
    """Actor and lifeline share one loop: an actor that blocks it falls silent, and is seen to."""

    _scope: trio.CancelScope | None = None
    _wanted: trio.Event

    def _nudge(self) -> None:
        self._lifeline.nudge()

    def _offer(self, run: Callable[[Host], Awaitable[None]]) -> None:
        self._pending = run
        self._wanted.set()
        if self._scope is not None:
            self._scope.cancel()

    def _request_stop(self) -> None:
        self._stopping = True
        self._wanted.set()
        if self.host.stop_requested is not None:
            self.host.stop_requested.set()

    def _break_off(self) -> bool:
        if self._scope is not None:
            self._scope.cancel()
        return True

    async def main(self) -> None:
        """Everything, until stopped."""
        self._wanted = trio.Event()
        async with trio.open_nursery() as nursery:
            self.attend(nursery)
            nursery.start_soon(self._heed_signals)
            await self._work()
            nursery.cancel_scope.cancel()

    async def _heed_signals(self) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for _ in signals:
                self.stop(self._stop_seconds)

    async def _work(self) -> None:
        while True:
            await self._wanted.wait()
            if self._stopping or self._pending is None:
                return
            run, self._pending = self._pending, None
            self._wanted = trio.Event()
            self.host._renew(trio.Event())
            self._running = True
            with trio.CancelScope() as self._scope:
                await run(self.host)
            self._scope = None
            self._running = False
            self._ended += 1
            if not self._stopping and self._pending is None:
                raise RuntimeError("the actor returned without being asked to")


class _BlockingActor(_Actor[Callable[[Host], None]]):
    """The actor has the main thread, the lifeline a thread of its own with its own loop and zmq context."""

    def __init__(
        self,
        line: ActorLifeline,
        fds: dict[str, int],
        build: Callable[[dict[str, Any]], Callable[[Host], None]],
        stop_seconds: float,
    ) -> None:
        #: Guards what both threads touch: pending, stopping, and which event the host holds.
        self._changed = threading.Condition()
        self._token: trio.lowlevel.TrioToken | None = None
        super().__init__(line, fds, build, stop_seconds)

    def _nudge(self) -> None:
        if self._token is not None:
            with contextlib.suppress(trio.RunFinishedError):
                self._token.run_sync_soon(self._lifeline.nudge, idempotent=True)

    def _offer(self, run: Callable[[Host], None]) -> None:
        with self._changed:
            self._pending = run
            if self.host.stop_requested is not None:
                self.host.stop_requested.set()
            self._changed.notify()

    def _request_stop(self) -> None:
        with self._changed:
            self._stopping = True
            if self.host.stop_requested is not None:
                self.host.stop_requested.set()
            self._changed.notify()

    def _break_off(self) -> bool:
        return False

    def main(self) -> None:
        """Everything, until stopped; to be called in the main thread."""
        told, wakeup = socket.socketpair()
        told.setblocking(False)
        wakeup.setblocking(False)
        # The byte is written by whichever thread gets the signal, even while the main thread hangs in a system call.
        signal.set_wakeup_fd(wakeup.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        thread = threading.Thread(target=self._lifeline_thread, args=(told,), name="lifeline", daemon=True)
        thread.start()
        try:
            self._work()
        finally:
            signal.set_wakeup_fd(-1)
            wakeup.close()  # end of file: the lifeline ends
            thread.join(GRACE_SECONDS)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping or self._pending is not None)
                if self._stopping or self._pending is None:
                    return
                run, self._pending = self._pending, None
                self.host._renew(threading.Event())
                self._running = True
            run(self.host)
            with self._changed:
                self._running = False
                self._ended += 1
                if not self._stopping and self._pending is None:
                    raise RuntimeError("the actor returned without being asked to")

    def _lifeline_thread(self, told: socket.socket) -> None:
        try:
            trio.run(self._lifeline_main, told)
        except BaseException as error:  # the process must not live on without its lifeline
            status = _status_of(error)
            _report(error)
            _leave(status)

    async def _lifeline_main(self, told: socket.socket) -> None:
        self._token = trio.lowlevel.current_trio_token()
        async with trio.open_nursery() as nursery:
            self.attend(nursery)
            signals = trio.socket.from_stdlib_socket(told)
            while numbers := await signals.recv(64):
                if signal.SIGTERM in numbers or signal.SIGINT in numbers:
                    self.stop(self._stop_seconds)
            nursery.cancel_scope.cancel()
        signals.close()


def run_actor(
    kind: str,
    build: Callable[[dict[str, Any]], Callable[[Host], Awaitable[None]]],
    *,
    stop_seconds: float = STOP_SECONDS,
) -> NoReturn:
    """
    Be an actor whose work is an async function; ends the process.

    Args:
        kind: what it is called when it has no name (``view``).
        build: turns a configuration into the work, without side effects; raises :class:`FustorError` to refuse it. In a
            blocking actor it is called in the thread of the lifeline.
        stop_seconds: how long the work may take to return after SIGTERM.
    """
    _check_if_asked(build)
    line, fds = _begin(kind)
    _end(lambda: trio.run(_TrioActor(line, fds, build, stop_seconds).main))


def run_blocking_actor(
    kind: str,
    build: Callable[[dict[str, Any]], Callable[[Host], None]],
    *,
    stop_seconds: float = STOP_SECONDS,
) -> NoReturn:
    """As :func:`run_actor`, but the work is a plain function, called in the main thread."""
    _check_if_asked(build)
    line, fds = _begin(kind)
    _end(_BlockingActor(line, fds, build, stop_seconds).main)


def _check_if_asked(build: Callable[[dict[str, Any]], object]) -> None:
    """``--check``: say whether the configuration on stdin would be accepted, and exit."""
    if "--check" not in sys.argv[1:]:
        return
    # Whoever asked may be gone, and what is asked may never end: no check is left behind.
    signal.alarm(CHECK_SECONDS)
    try:
        config = json.load(sys.stdin)
        build(config)
    except (ValueError, FustorError) as error:
        print(error if isinstance(error, FustorError) else f"stdin is not JSON: {error}")
        sys.exit(EXIT_REFUSED)
    sys.exit(EXIT_STOPPED)


def _begin(kind: str) -> tuple[ActorLifeline, dict[str, int]]:
    """Logging, evidence on SIGUSR1, the watch on the guardian, and what the environment says."""
    faulthandler.enable()
    _dump_stacks_on(signal.SIGUSR1)
    try:
        setup_logging(os.environ.get("FUSTOR_NAME", kind))
        line = ActorLifeline(
            name=_required("FUSTOR_NAME"),
            token=_required("FUSTOR_TOKEN"),
            pid=os.getpid(),
            software=fustor.__version__,
        )
        fds = _inherited()
    except (ConfigError, ConfigFaults) as error:
        print(f"{error}\nAn actor is started by its guardian; by hand only with --check.", file=sys.stderr)
        sys.exit(EXIT_REFUSED)
    watch_guardian(lambda: _leave(EXIT_ORPHAN))
    return line, fds


def _dump_stacks_on(number: signal.Signals) -> None:
    """
    Write the stacks of all threads to stderr on each signal ``number``; to be called before any thread is started.

    By a thread that holds the interpreter's lock meanwhile: ``faulthandler.register`` walks the stacks of threads that
    run, and crashed a healthy actor. Where C code never gives the lock back only SIGABRT gets the stacks, and ends the
    process.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {number})

    def wait() -> None:
        while True:
            signal.sigwait({number})
            faulthandler.dump_traceback(all_threads=True)

    threading.Thread(target=wait, name="stacks", daemon=True).start()


def _required(variable: str) -> str:
    value = os.environ.get(variable, "")
    if not value:
        raise ConfigError(variable, value, "the guardian sets it in the environment")
    return value


def _inherited() -> dict[str, int]:
    """``FUSTOR_FDS``: names and numbers of inherited descriptors."""
    text = os.environ.get("FUSTOR_FDS", "{}")
    try:
        fds = json.loads(text)
    except ValueError:
        fds = None
    if not isinstance(fds, dict) or not all(type(number) is int and number >= 0 for number in fds.values()):
        raise ConfigError("FUSTOR_FDS", text[:80], "a JSON object of names and descriptor numbers is accepted")
    return fds


def _end(main: Callable[[], None]) -> NoReturn:
    try:
        main()
    except Exception as error:
        status = _status_of(error)
        _report(error)
        if status != EXIT_CRASHED:
            _leave(status)  # what an orderly end needs may be just what there is none of
        sys.exit(status)
    sys.exit(EXIT_STOPPED)


def _status_of(error: BaseException | None) -> int:
    """The exit status that says why, where a limit of the process is behind ``error`` or what led to it."""
    pending, seen = [error], set()
    while pending:
        one = pending.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        number = getattr(one, "errno", None)
        if isinstance(one, MemoryError) or number == errno.ENOMEM:
            return EXIT_MEMORY
        if number in (errno.EMFILE, errno.ENFILE):
            return EXIT_FDS
        pending += [one.__cause__, one.__context__]
        if isinstance(one, BaseExceptionGroup):
            pending += one.exceptions
    return EXIT_CRASHED


def _report(error: BaseException) -> None:
    """The traceback on stderr, without the groups of one that nurseries wrap around it."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    # Where memory or descriptors are short the traceback may be what there is none for.
    with contextlib.suppress(Exception):
        traceback.print_exception(error)
        sys.stderr.flush()


def _leave(status: int) -> NoReturn:
    """End the process now, whatever its threads are doing."""
    sys.stderr.flush()
    os._exit(status)
