"""
The guardian's loop: signals, the keeper channel, starts and exits, the orderly stop, the change to a new version.

One thread, one epoll, no timeout while nothing is due. Nothing here decides what should run: the control actor does.

All state that a new version of this code needs is in ``Table``, ``ControlPolicy``, ``Survivors`` and the descriptors of
the listening sockets and of the channel: handed over in a memfd, it survives an execve (the children stay ours).
"""

from __future__ import annotations

import errno
import functools
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping

from fustor.guardian import children, files, handover, process, requests
from fustor.guardian.adoption import Adoption
from fustor.guardian.channel import Channel
from fustor.guardian.choice import Choice
from fustor.guardian.config import Config
from fustor.guardian.errors import RefusedError, short
from fustor.guardian.events import Events
from fustor.guardian.gate import Gate, Visitor
from fustor.guardian.kept import Kept
from fustor.guardian.logs import Logs
from fustor.guardian.manager import VARIABLES, Manager
from fustor.guardian.policy import ControlPolicy, Stopping
from fustor.guardian.predecessor import Predecessor, boot_id
from fustor.guardian.programs import CONTROL, GUARDIAN
from fustor.guardian.survivors import Survivors
from fustor.guardian.table import Exit, Slot, Table
from fustor.guardian.template import MODULES, ROOM, ROOM_BYTES, TemplateLostError
from fustor.guardian.tending import Tending

#: Slots told in one packet: each is below 500 bytes.
_PAGE = 100
#: Packets read in a row, so that a flood of them can't starve the rest of the loop.
_BURST = 256

_COUNTERS = (
    "control_starts",
    "control_kills",
    "payload_starts",
    "orphans",
    "refused",
    "table_failures",
    "joined",
    "renewals",
    "forks",
)

_STOP = (signal.SIGTERM, signal.SIGINT)
#: Their default would end the guardian, and nobody who sends them means that.
_NOTED = (signal.SIGUSR1, signal.SIGUSR2)
#: Asks for the change to a new version.
_RENEW = signal.SIGHUP
#: Why a control actor is killed.
_SILENT, _CHANGED = "silent", "changed"
#: Seconds for a control actor that hangs to write its stacks.
_STACKS_SECONDS = 0.2
#: Seconds that a new version may take to say that it would start.
_CHECK_SECONDS = 10.0


class _Control:
    """The running control actor: ``channel`` is None once it has closed its end."""

    __slots__ = ("channel", "interest", "slot")

    def __init__(self, slot: Slot, channel: Channel | None) -> None:
        self.slot = slot
        self.channel = channel
        self.interest = select.EPOLLIN


class _Starting:
    """A child of which exec is awaited; ``settled`` is called once, with the errno of exec or 0."""

    __slots__ = ("reader", "settled", "slot")

    def __init__(self, slot: Slot, reader: int, settled: Callable[[Slot, int], None]) -> None:
        self.slot = slot
        self.reader = reader
        self.settled = settled


class Guardian:
    """
    Args:
        config: checked settings; the working directory is ``config.run``.
        logs: where output goes.
        command: by which a successor is started, absolute paths throughout; it is the installed program's.
        lock: descriptor that holds the lock of the run folder.
        gate: listens already.
        listening: name → listening socket, as far as they are in hand.
        wanted: name → (host, port) of all that there have to be.
        survivors: processes of a killed guardian, held.
        manager: is told how we are.
        runs: folder of the program that this guardian runs; empty: what is installed.
    """

    def __init__(
        self,
        config: Config,
        logs: Logs,
        command: list[str],
        lock: int,
        gate: Gate,
        listening: dict[str, socket.socket],
        wanted: dict[str, tuple[str, int]],
        survivors: Survivors,
        manager: Manager,
        runs: str = "",
    ) -> None:
        self._config = config
        self._logs = logs
        self._command = command
        self._lock = lock
        self._gate = gate
        self._listening = listening
        self._survivors = survivors
        self._manager = manager
        self._null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self._table = Table(config.slots)
        self._policy = ControlPolicy(
            config.beat_timeout,
            config.hang_timeout,
            config.start_timeout,
            config.restart_delay,
            config.restart_delay_max,
            config.young,
        )
        self._choice = Choice(config.shell, runs, config.trial_timeout, logs)
        #: Why the control actor is being killed by us: it changes its program, or it is silent.
        self._control_end = ""
        #: When it is killed that was asked for its stacks.
        self._control_kill_at: float | None = None
        self._stopping: Stopping | None = None
        self._control: _Control | None = None
        self._starting: dict[int, _Starting] = {}
        self._childless = True
        self._changed = True
        self._unwritten = False  # the table file is older than the table
        self._counters = dict.fromkeys(_COUNTERS, 0)
        self._began = time.monotonic()
        self._boot = boot_id()
        self._oom_score = process.oom_score()
        self._check: Slot | None = None
        self._check_until = 0.0
        self._renew = False
        self._tending = Tending(bool(config.template), awaited=not len(survivors), now=self._began)
        self._kept = Kept()
        self._events = Events(logs)
        self._adoption = Adoption(
            self._events,
            logs,
            self._table,
            gate,
            survivors,
            listening,
            wanted,
            self._counters,
            self._survivor_ended,
            self._control_joins,
            self._keep_for,
        )
        self._wakeup = self._open_wakeup()
        self._events.watch(self._wakeup, self._on_signals)

    def adopt(self, before: Predecessor) -> None:
        """Take over what a killed guardian has left; its processes that live are among the survivors."""
        for slot in before.slots:
            if slot.exit is None and slot.pid not in self._survivors:
                slot.exit = Exit(0, 0, 0, 0.0, known=False)
                children.end_all_of(slot.token)
            self._enter(slot)
        now = time.monotonic()
        if before.control is not None and before.control.pid in self._survivors:
            self._control = _Control(before.control, None)
            self._logs.follow("control")
            self._policy.started(now)
            self._choice.control_runs(now)
        self._adoption.begin(before, now + self._config.adopt_timeout)
        self._logs.write("WARNING", "the guardian before this one was killed", survivors=len(self._survivors))

    def begin(self, told: bytes) -> None:
        """Take the first template, which our process has forked before it became the guardian (``BEGUN``)."""
        pid, fd, token = told.decode().split()
        self._enter_template(Slot("template", int(pid), token, process.born(int(pid))), socket.socket(fileno=int(fd)))

    def _enter(self, slot: Slot) -> None:
        """Into the table, what another guardian or version has started."""
        self._table.add(slot)
        self._logs.follow(slot.name)

    def run(self) -> None:
        """Run until stopped by a signal; afterwards no child runs (but unkillable ones) and our files are removed."""
        self._logs.write("INFO", "started", pid=os.getpid())
        while self._stopping is None or self._stopping.phase != "done":
            self._events.guarded(self._step)
            self._events.wait(self._timeout())
        self._end()

    # -- the loop ---------------------------------------------------------------------------------------------------

    def _step(self) -> None:
        """Everything that depends on time, and what the handlers left to do."""
        now = time.monotonic()
        self._manager.turn(now)
        if self._stopping is not None:
            self._stop_further(self._stopping, now)
        else:
            self._adoption.advance(now)
            for name in self._kept.expire(now):
                self._logs.write("INFO", "nobody has come for what was kept", name=name)
            if self._tending.due(now):
                self._start_template()
            # Without its listening sockets a control actor would be refused what it asks for.
            if not self._adoption.missing:
                self._manager.ready()
                if not self._tending.awaited(now):
                    self._keep_control(now)
            if self._check is not None and now >= self._check_until:
                self._send(self._check.pid, signal.SIGKILL)
                self._check_until = now + _CHECK_SECONDS
        self._balance()
        if self._changed:
            self._write_table()
        if self._renew and not self._starting and self._adoption.over and self._stopping is None:
            self._become_new_version()

    def _keep_control(self, now: float) -> None:
        if self._choice.overdue(now):
            self._end_control(_CHANGED)
        due = self._policy.due(now, self._control_frozen)
        if due == "start":
            self._start_control(now)
        elif due == "kill" and self._control is not None:
            self._counters["control_kills"] += 1
            self._logs.write("ERROR", "control actor is silent: killed", pid=self._control.slot.pid)
            if self._control_frozen():
                self._end_control(_SILENT)
            else:
                # It writes its stacks; one that has come to no handler yet ends, which is as good.
                self._control_end = _SILENT
                self._send(self._control.slot.pid, signal.SIGUSR1)
                self._control_kill_at = now + _STACKS_SECONDS
        if self._control_kill_at is not None and now >= self._control_kill_at:
            self._end_control(_SILENT)

    def _end_control(self, why: str) -> None:
        """Its payloads go on, and the next one adopts them."""
        self._control_kill_at = None
        if self._control is not None:
            self._control_end = why
            self._send(self._control.slot.pid, signal.SIGKILL)

    def _control_frozen(self) -> bool:
        return self._control is not None and process.frozen(self._control.slot.pid)

    def _timeout(self) -> float | None:
        times = [self._manager.wake_at()]
        if self._stopping is not None:
            if self._stopping.phase == "done":
                return 0
            times.append(self._stopping.wake_at())
        else:
            times += [self._kept.wake_at(), self._adoption.wake_at(), self._tending.wake_at(time.monotonic())]
            if not self._adoption.missing and not self._tending.awaited(time.monotonic()):
                times += [self._policy.wake_at(), self._choice.wake_at(), self._control_kill_at]
            if self._check is not None:
                times.append(self._check_until)
        due = [moment for moment in times if moment is not None]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _send(self, pid: int, number: int) -> bool:
        """Signal a process of ours, child or survivor; False when it runs under another user id."""
        return self._survivors.send(pid, number) if pid in self._survivors else process.send(pid, number)

    def _write_table(self) -> None:
        content = {
            "guardian": os.getpid(),
            "boot": self._boot,
            "control": self._control.slot.as_json() if self._control else None,
            "template": self._tending.slot.as_json() if self._tending.slot else None,
            "slots": [slot.as_json() for slot in self._table.slots()],
            "listen": {name: sock.getsockname()[:2] for name, sock in self._listening.items()},
            "oom_score": self._oom_score,
        }
        self._changed = False
        try:
            files.write(files.TABLE, json.dumps(content).encode())
            self._unwritten = False
        except OSError as error:
            # It serves a successor and people; what runs does not need it. The next beat tries again.
            self._unwritten = True
            self._counters["table_failures"] += 1
            self._logs.write("ERROR", f"{files.TABLE} can't be written: {error.strerror}")

    # -- signals ----------------------------------------------------------------------------------------------------

    def _open_wakeup(self) -> int:
        """A pipe that gets the number of each signal (signal.set_wakeup_fd)."""
        reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, _RENEW, *_STOP, *_NOTED):
            signal.signal(number, lambda *_: None)
        # Whoever started us may have blocked them.
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        return reader

    def _on_signals(self) -> None:
        numbers = set(os.read(self._wakeup, 65536))
        for number in numbers.intersection(_NOTED):
            self._logs.write("INFO", f"{signal.Signals(number).name} ignored")
        self._reap()
        if numbers.intersection(_STOP) and self._stopping is None:
            self._stop()
        if _RENEW in numbers:
            self._check_new_version()

    # -- starting ---------------------------------------------------------------------------------------------------

    def _environment(self, extra: dict[bytes, bytes], name: str, token: str, fds: dict[str, int]) -> dict[bytes, bytes]:
        rejoin = {
            "seconds": self._config.rejoin_timeout,
            "argv": self._command if self._config.by_survivors else [],
            "log": os.path.join(self._config.log, "guardian.log"),
            "path": os.environ.get("PYTHONPATH", ""),
        }
        own = {"NAME": name, "TOKEN": token, "GUARDIAN_PID": str(os.getpid()), "FDS": json.dumps(fds)}
        own["REJOIN"] = json.dumps(rejoin)
        named = {b"FUSTOR_" + key.encode(): os.fsencode(value) for key, value in own.items()}
        inherited = {key: value for key, value in os.environb.items() if key not in VARIABLES}
        return {**inherited, **self._config.env, **extra, **named}

    def _start(
        self,
        program: process.Program,
        name: str,
        token: str,
        enter: Callable[[Slot], None],
        settled: Callable[[Slot, int], None],
        fds: tuple[str, ...] = (),
    ) -> None:
        """``enter`` takes it into the books, which are written down before it runs; ``settled`` hears of exec."""
        try:
            pid, reader, release = self._forked(program) or process.start(program, self._null, self._lock)
        finally:
            os.close(program.log)
        try:
            self._childless = False
            slot = Slot(name, pid, token, process.born(pid), fds)
            self._starting[pid] = _Starting(slot, reader, settled)
            self._events.watch(reader, lambda: self._settle(pid))
            enter(slot)
            self._write_table()
        except BaseException:
            os.close(release)
            raise
        process.release(release)

    def _forked(self, program: process.Program) -> tuple[int, int, int] | None:
        """As :func:`process.start`, by the template; None when it is of no use."""
        fork = self._tending.fork(program)
        if fork is None:
            return None
        try:
            started = process.start(program, self._null, self._lock, fork)
        except TemplateLostError as error:
            self._logs.write("WARNING", f"the template is of no more use: {error}")
            self._drop_template()
            return None
        self._counters["forks"] += 1
        return started

    def _settle(self, pid: int) -> None:
        """Exec of ``pid`` has succeeded or failed, or is still awaited."""
        start = self._starting[pid]
        error = process.exec_error(start.reader)
        if error is None:
            return
        del self._starting[pid]
        self._events.unwatch(start.reader)
        os.close(start.reader)
        if error:
            process.reap(pid)  # having told, it exits at once
            self._changed = True
        start.settled(start.slot, error)

    def _start_template(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        token = os.urandom(16).hex()
        own = {MODULES: b" ".join(self._config.template), ROOM: b"x" * ROOM_BYTES}
        env = self._environment(own, "template", token, {"template": theirs.fileno()})
        argv = [os.fsencode(sys.executable), b"-P", b"-m", b"fustor.runtime.template"]

        try:
            program = process.Program(argv, env, [theirs.fileno()], self._logs.open("template"))
            enter = functools.partial(self._enter_template, sock=ours)
            self._start(program, "template", token, enter, self._template_settled)
        except OSError as error:
            ours.close()
            self._forget_template(f"no template can be started: {error.strerror}")
        finally:
            theirs.close()

    def _enter_template(self, slot: Slot, sock: socket.socket) -> None:
        sock.set_inheritable(False)
        self._tending.started(slot, sock)
        self._events.watch(sock.fileno(), self._on_template)

    def _template_settled(self, slot: Slot, error: int) -> None:
        if error:
            self._forget_template(f"no template can be started: {os.strerror(error)}")

    def _on_template(self) -> None:
        if not self._tending.heard(time.monotonic()):
            self._drop_template()

    def _drop_template(self) -> None:
        """End it; the exit is seen as others are."""
        self._disconnect_template()
        if self._tending.slot is not None:
            self._send(self._tending.slot.pid, signal.SIGKILL)

    def _forget_template(self, why: str, **more: object) -> None:
        """Its process is no more, or was never there."""
        self._disconnect_template()
        wait = self._tending.exited(time.monotonic())
        self._changed = True
        self._logs.write("WARNING", why, again_in=wait, **more)

    def _disconnect_template(self) -> None:
        if self._tending.template is not None:
            self._events.unwatch(self._tending.template.fileno())
        self._tending.dropped(time.monotonic())

    def _start_control(self, now: float) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        token = os.urandom(16).hex()
        held = self._config.control_fds
        fds = {"keeper": theirs.fileno(), **{name: self._listening[name].fileno() for name in held}}
        program = self._choice.control_program()
        own = {b"PYTHONPATH": os.fsencode(program)} if program else {}
        env = self._environment(own, "control", token, fds)

        def enter(slot: Slot) -> None:
            channel = Channel(ours)
            self._control = _Control(slot, channel)
            self._events.watch(channel.fileno(), self._on_channel)
            self._policy.started(now, self._config.trial_start_timeout if self._choice.on_trial else None)
            self._choice.control_runs(now)
            self._counters["control_starts"] += 1
            self._logs.write("INFO", "control actor started", pid=slot.pid)

        try:
            started = process.Program(self._config.control, env, list(fds.values()), self._logs.open("control"))
            self._start(started, "control", token, enter, self._control_settled, held)
        except OSError as error:
            ours.close()
            self._not_started(error.strerror, now)
            return
        finally:
            theirs.close()

    def _control_settled(self, slot: Slot, error: int) -> None:
        if error:
            self._drop_control()
            self._not_started(os.strerror(error), time.monotonic())

    def _not_started(self, why: str | None, now: float) -> None:
        wait = self._policy.exited(now)
        command = os.fsdecode(self._config.control[0])
        self._logs.write("ERROR", f"control actor can't be started: {command}: {why}", again_in=wait)

    # -- exits ------------------------------------------------------------------------------------------------------

    def _reap(self) -> None:
        while True:
            try:
                pid = process.next_exited()
            except ChildProcessError:
                self._childless = True
                return
            if pid is None:
                return
            if pid in self._starting:
                self._settle(pid)
                if not self._is_ours(pid):
                    continue  # exec had failed: reaped already
            if self._is_ours(pid):
                # While the leader is not reaped, the number of its group can't be anybody else's.
                process.send_group(pid, signal.SIGKILL)
            self._exited(pid, process.reap(pid))
            self._end_orphans()

    def _is_ours(self, pid: int) -> bool:
        """Neither an orphan nor already taken out of the books."""
        if pid in (one.pid for one in (self._check, self._tending.slot) if one is not None):
            return True
        return self._table.is_running(pid) or (self._control is not None and self._control.slot.pid == pid)

    def _survivor_ended(self, pid: int, ended: Exit) -> None:
        """As :meth:`_reap`, for a process that was not our child."""
        control = self._control.slot if self._control is not None else None
        slot = control if control is not None and control.pid == pid else self._table.of(pid)
        self._exited(pid, ended)
        if slot is not None:
            children.end_all_of(slot.token)

    def _exited(self, pid: int, ended: Exit) -> None:
        if self._check is not None and self._check.pid == pid:
            self._check = None
            self._checked(ended)
            return
        if self._tending.slot is not None and self._tending.slot.pid == pid:
            self._forget_template("template exited", pid=pid, **ended.as_json())
            return
        if self._control is not None and self._control.slot.pid == pid:
            self._drop_control()
            wait = self._policy.exited(time.monotonic())
            self._judge_control(ended)
            again = {"again_in": wait} if self._stopping is None else {}
            self._logs.write("WARNING", "control actor exited", pid=pid, **ended.as_json(), **again)
            return
        slot = self._table.exited(pid, ended)
        if slot is None:
            self._counters["orphans"] += 1
            return
        self._changed = True
        self._logs.write("INFO", "payload exited", payload=slot.name, pid=pid, **ended.as_json())
        self._tell({"event": "exit", "name": slot.name, "pid": pid, "token": slot.token, **ended.as_json()})

    def _judge_control(self, ended: Exit) -> None:
        """What its end says of its program."""
        end, self._control_end = self._control_end, ""
        self._control_kill_at = None
        if self._stopping is not None or end == _CHANGED:
            return
        how = f"was ended by signal {ended.signal}" if ended.signal else f"ended with code {ended.code}"
        text = "did nothing any more" if end == _SILENT else how if ended.known else "ended"
        killed = ended.signal == signal.SIGKILL or not ended.known
        self._choice.control_died(f"its control actor {text}", hung=end == _SILENT, killed=killed and not end)

    def _drop_control(self) -> None:
        self._close_channel()
        self._control = None
        self._changed = True

    def _end_orphans(self) -> None:
        """Kill adopted processes whose payload is gone; while killing everything, all of them."""
        everything = self._stopping is not None and self._stopping.phase == "killing"
        live = {slot.token for slot in self._table.alive()}
        if self._control is not None:
            live.add(self._control.slot.token)
        for pid in self._orphans():
            token = "" if everything else children.token(pid)
            if everything or (token and token not in live):
                process.send(pid, signal.SIGKILL)

    def _orphans(self) -> list[int]:
        return [pid for pid in children.pids() if not self._is_ours(pid) and pid not in self._starting]

    # -- survivors --------------------------------------------------------------------------------------------------

    def _control_joins(self, join: requests.Join, visitor: Visitor) -> None:
        """A control actor of an earlier guardian has come; its connection is its keeper channel from now on."""
        control = self._control
        if control is None:
            # It had just been started, and its guardian was killed before it could write that down.
            control = self._control = _Control(Slot(join.name, join.pid, join.token, join.born), None)
        elif (control.slot.pid, control.slot.token) != (join.pid, join.token) or control.channel is not None:
            raise RefusedError("join", join.name, f"a control actor runs (pid {control.slot.pid})")
        visitor.welcome()
        control.channel = Channel(visitor.detach())
        control.interest = select.EPOLLIN
        self._events.watch(control.channel.fileno(), self._on_channel)
        self._policy.started(time.monotonic())
        self._changed = True

    def _keep_for(self, keep: requests.Keep, brought: dict[str, int]) -> None:
        """A payload that ends leaves something for the next one of its name."""
        slot = self._table.of(keep.pid)
        if slot is None or (slot.name, slot.token) != (keep.name, keep.token):
            raise RefusedError("keep", keep.name, "the name of a running payload, of itself, is accepted")
        self._kept.put(slot.name, brought, time.monotonic())

    # -- a new version ----------------------------------------------------------------------------------------------

    def _check_new_version(self) -> None:
        """Ask the program that we would become, in a child, whether it would start. Once at a time."""
        if self._check is not None or self._renew or self._stopping is not None:
            return
        argv = [os.fsencode(word) for word in [*self._command, "--check"]]
        try:
            program = process.Program(argv, dict(os.environb), [], self._logs.open("guardian"))
            self._start(program, "check", "", self._check_starts, self._check_settled)
        except OSError as error:
            self._new_version_fails(f"can't be checked: {error.strerror}")
            return
        self._check_until = time.monotonic() + _CHECK_SECONDS

    def _check_starts(self, slot: Slot) -> None:
        self._check = slot

    def _check_settled(self, slot: Slot, error: int) -> None:
        if error:
            self._check = None
            self._new_version_fails(f"can't be executed: {os.strerror(error)}")

    def _checked(self, ended: Exit) -> None:
        if self._stopping is not None:
            return
        if ended.code or ended.signal:
            self._new_version_fails(f"would not start, this one goes on: code {ended.code}, signal {ended.signal}")
            return
        # Not from within a handler: the books have to be in order, and no exec may be awaited.
        self._renew = True

    def _new_version_fails(self, why: str) -> None:
        self._logs.write("ERROR", f"the new version {why}")
        self._choice.would_not_start(f"it {why}")

    def _become_new_version(self) -> None:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, handover.HELD)
        try:
            # A signal that was caught already would be forgotten: it is handled first, and then we are here again.
            if select.select([self._wakeup], [], [], 0)[0]:
                return
            self._renew = False
            self._adoption.dismiss()
            self._drop_template()  # the next one is of the new version
            state = self._hand_over()
            self._logs.write("INFO", "changing to the new version", payloads=len(self._table.alive()))
            handover.execute(self._command, state)
        except OSError as error:
            self._new_version_fails(f"can't be executed: {error.strerror}")
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _hand_over(self) -> handover.State:
        control = self._control
        channel = control.channel if control is not None else None
        return handover.State(
            lock=self._lock,
            gate=self._gate.fileno(),
            listening={name: sock.fileno() for name, sock in self._listening.items()},
            survivors=self._survivors.as_json(),
            slots=self._table.slots(),
            control=control.slot if control is not None else None,
            channel=channel.fileno() if channel is not None else -1,
            waiting=channel.waiting() if channel is not None else [],
            policy=self._policy.as_json(),
            counters=self._counters,
            began=self._began,
            oom_score=self._oom_score,
        )

    def take_over(self, state: handover.State) -> None:
        """Go on where the version before this one, in this very process, has stopped."""
        self._tending = Tending(bool(self._config.template), awaited=False, now=time.monotonic())
        for slot in state.slots:
            self._enter(slot)
        if state.control is not None:
            self._control = _Control(state.control, None)
            self._logs.follow("control")
            self._choice.control_runs(time.monotonic())
            if state.channel >= 0:
                channel = self._control.channel = Channel(socket.socket(fileno=state.channel), state.waiting)
                self._events.watch(channel.fileno(), self._on_channel)
        self._policy.restore(state.policy)
        self._counters.update({name: count for name, count in state.counters.items() if name in self._counters})
        self._counters["renewals"] += 1
        self._began = state.began
        self._oom_score = state.oom_score
        self._childless = False
        # What exited in the gap has sent its SIGCHLD to nobody.
        self._reap()

    # -- the keeper channel -----------------------------------------------------------------------------------------

    def _on_channel(self) -> None:
        control = self._control
        if control is None or control.channel is None:
            return
        channel = control.channel
        channel.flush()
        for _ in range(_BURST):
            if channel.blocked:
                return
            packet = channel.receive()
            if packet is None:
                return
            if not packet:
                self._close_channel()
                self._policy.hung_up(time.monotonic())
                return
            self._request(channel, packet)

    def _close_channel(self) -> None:
        if self._control is not None and self._control.channel is not None:
            self._events.unwatch(self._control.channel.fileno())
            self._control.channel.close()
            self._control.channel = None

    def _balance(self) -> None:
        """While something waits to be sent, wait for room, and read nothing."""
        control = self._control
        if control is None or control.channel is None:
            return
        interest = select.EPOLLOUT if control.channel.blocked else select.EPOLLIN
        if interest != control.interest:
            self._events.modify(control.channel.fileno(), interest)
            control.interest = interest

    def _tell(self, event: dict[str, object]) -> None:
        if self._control is not None and self._control.channel is not None:
            self._control.channel.send(event)

    def _answer(self, channel: Channel, number: object, body: dict[str, object]) -> None:
        """Answer a numbered request, unless its asker is gone."""
        if number is not None and self._control is not None and self._control.channel is channel:
            channel.send({"re": number, **body})

    def _refuse(self, channel: Channel, number: object, error: RefusedError) -> None:
        self._counters["refused"] += 1
        self._logs.write("WARNING", f"refused: {error.field} = {short(error.value)!r}: {error.accepted}")
        told = {"field": error.field, "value": short(error.value), "accepted": error.accepted, "errno": error.errno}
        self._answer(channel, number, {"error": told})

    def _request(self, channel: Channel, packet: bytes) -> None:
        number: object = None
        try:
            fields = requests.parse(packet)
            number = fields.pop("id", None)
            op = fields.pop("op", None)
            act = self._OPS.get(op) if isinstance(op, str) else None
            if act is None:
                raise RefusedError("op", op, "accepted are " + ", ".join(self._OPS))
            act(self, channel, number, fields)
        except RefusedError as error:
            self._refuse(channel, number, error)
        except Exception as error:
            self._events.fault(error)
            why = f"failed by a bug: {type(error).__name__}: {error}"
            self._refuse(channel, number, RefusedError("request", packet.decode("utf-8", "replace"), why))

    def _do_spawn(self, channel: Channel, number: object, fields: dict[str, object]) -> None:
        wanted = requests.Spawn(fields)
        if self._stopping is not None:
            raise RefusedError("op", "spawn", "the guardian is stopping; nothing is started any more")
        self._table.check_free(wanted.name)
        for name in wanted.fds:
            if name not in self._listening:
                accepted = ", ".join(self._listening) or "none, for `listen` is empty"
                raise RefusedError("fds", name, f"accepted are {accepted}")
        kept = self._kept.take(wanted.name)
        fds = {name: self._listening[name].fileno() for name in wanted.fds} | kept
        env = self._environment(wanted.env, wanted.name, wanted.token, fds)
        command = os.fsdecode(wanted.argv[0])

        def enter(slot: Slot) -> None:
            self._table.add(slot)
            self._counters["payload_starts"] += 1
            self._logs.write("INFO", "payload started", payload=slot.name, pid=slot.pid)

        def settled(slot: Slot, error: int) -> None:
            if error:
                self._table.remove(slot)
                self._refuse(channel, number, RefusedError("argv[0]", command, os.strerror(error), error))
            else:
                self._answer(channel, number, {"pid": slot.pid})

        try:
            log = self._logs.open(wanted.name)
            inherited = list(fds.values())
            program = process.Program(wanted.argv, env, inherited, log, wanted.data_bytes, process.PAYLOAD_SCORE)
            self._start(program, wanted.name, wanted.token, enter, settled, tuple(wanted.fds))
        except OSError as error:
            why = f"no process can be made: {error.strerror}"
            raise RefusedError("argv[0]", command, why, error.errno or 0) from None
        finally:
            for fd in kept.values():
                os.close(fd)

    def _do_kill(self, channel: Channel, number: object, fields: dict[str, object]) -> None:
        slot = self._table.running(requests.name(fields))
        number_of_signal = requests.signal_number(fields)
        if not self._send(slot.pid, number_of_signal):
            raise RefusedError("name", slot.name, "runs as another user; only root can signal it", errno.EPERM)
        self._answer(channel, number, {})

    def _do_list(self, channel: Channel, number: object, fields: dict[str, object]) -> None:
        slots = [slot.as_json() for slot in self._table.slots()]
        while len(slots) > _PAGE:
            self._answer(channel, number, {"slots": slots[:_PAGE], "more": True})
            del slots[:_PAGE]
        self._answer(channel, number, {"slots": slots})

    def _do_forget(self, channel: Channel, number: object, fields: dict[str, object]) -> None:
        self._table.forget(requests.name(fields))
        self._changed = True
        self._answer(channel, number, {})

    def _do_abandon(self, channel: Channel, number: object, fields: dict[str, object]) -> None:
        slot = self._table.abandon(requests.name(fields))
        self._changed = True
        self._logs.write("ERROR", "a process that can't be killed is abandoned", name=slot.name, pid=slot.pid)
        self._answer(channel, number, {"name": slot.name})

    def _do_status(self, channel: Channel, number: object, fields: dict[str, object]) -> None:
        now = {
            "faults": self._events.faults,
            "survivors": len(self._survivors),
            "log_failures": self._logs.failures,
            "uptime_seconds": int(time.monotonic() - self._began),
        }
        self._answer(channel, number, {"counters": {**self._counters, **now}})

    def _do_beat(self, channel: Channel, number: object, fields: dict[str, object]) -> None:
        now = time.monotonic()
        self._policy.beat(now)
        self._logs.bound(now)
        self._changed = self._changed or self._unwritten
        self._answer(channel, number, {})

    def _do_reexec(self, channel: Channel, number: object, fields: dict[str, object]) -> None:
        if self._stopping is not None:
            raise RefusedError("op", "reexec", "the guardian is stopping; it does not change any more")
        self._check_new_version()
        self._answer(channel, number, {})

    def _do_attempt(self, channel: Channel, number: object, fields: dict[str, object]) -> None:
        if self._stopping is not None:
            raise RefusedError("op", "attempt", "the guardian is stopping; it does not change any more")
        part, program = requests.part(fields), requests.words(fields, "program")
        self._choice.attempt(part, program, requests.words(fields, "tag"))
        self._answer(channel, number, {})
        self._follow_choice(part)

    def _do_prove(self, channel: Channel, number: object, fields: dict[str, object]) -> None:
        self._choice.prove(requests.part(fields))
        self._answer(channel, number, {})

    def _do_leave(self, channel: Channel, number: object, fields: dict[str, object]) -> None:
        part = requests.part(fields)
        self._choice.leave(part, requests.words(fields, "why"))
        self._answer(channel, number, {})
        self._follow_choice(part)

    def _follow_choice(self, part: str) -> None:
        """Whoever runs another program than is chosen changes."""
        if part == GUARDIAN:
            self._check_new_version()
        elif part == CONTROL:
            self._end_control(_CHANGED)

    _OPS: Mapping[str, Callable[[Guardian, Channel, object, dict[str, object]], None]] = {
        "spawn": _do_spawn,
        "kill": _do_kill,
        "list": _do_list,
        "forget": _do_forget,
        "abandon": _do_abandon,
        "status": _do_status,
        "beat": _do_beat,
        "reexec": _do_reexec,
        "attempt": _do_attempt,
        "prove": _do_prove,
        "leave": _do_leave,
    }

    # -- the stop ---------------------------------------------------------------------------------------------------

    def _stop(self) -> None:
        self._stopping = Stopping(time.monotonic(), self._config.grace)
        self._manager.stopping()
        self._adoption.close()
        try:
            files.say_stopping()
        except OSError as error:
            # Of meaning only if this guardian is killed before it has stopped: survivors would start another one.
            self._logs.write("ERROR", f"{files.STOPPING} can't be written: {error.strerror}")
        self._logs.write("INFO", "stopping", payloads=len(self._table.alive()))
        self._tending.end()
        self._drop_template()
        if self._check is not None:
            self._send(self._check.pid, signal.SIGKILL)
        if self._control is not None:
            self._send(self._control.slot.pid, signal.SIGTERM)

    def _stop_further(self, stopping: Stopping, now: float) -> None:
        anybody = not self._childless or len(self._survivors) > 0
        entered = stopping.advance(now, control=self._control is not None, children=anybody)
        if not entered:
            return
        self._logs.write("INFO", f"stopping: {entered}", payloads=len(self._table.alive()))
        if entered == "terminating":
            for slot in self._table.alive():
                self._send(slot.pid, signal.SIGTERM)
            for pid in self._orphans():
                process.send(pid, signal.SIGTERM)
            if self._control is not None:
                self._send(self._control.slot.pid, signal.SIGKILL)
        elif entered == "killing":
            for slot in self._table.alive():
                if slot.pid in self._survivors:
                    self._survivors.send(slot.pid, signal.SIGKILL)
                else:
                    process.send_group(slot.pid, signal.SIGKILL)
            self._end_orphans()

    def _end(self) -> None:
        left = [slot.name for slot in self._table.alive()]
        if left:
            self._logs.write("ERROR", "processes that can't be killed are left", payloads=",".join(left))
        self._gate.close()
        try:
            files.sweep()
        except OSError as error:
            self._logs.write("ERROR", f"{error.filename}: can't be removed: {error.strerror}")
        self._logs.write("INFO", "stopped")
