"""
Taking over what a killed guardian left: its processes as they come through the gate, and their listening sockets. Who
comes through the gate to leave something is passed on.

A process that is recorded and lives is in the table from the start, so nothing is started beside it. It has
``adopt_timeout`` seconds to join; then it is killed. Listening sockets are taken out of survivors at once where the
kernel lets us, for they may be frozen, or be killed next; else they bring them. One that nobody can bring is bound
anew. Until all of them are in hand the control actor has to wait, for it would ask for them.

What this module does not do: start anything.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable

from fustor.guardian import listeners
from fustor.guardian.errors import RefusedError, StartError
from fustor.guardian.events import Events
from fustor.guardian.gate import Gate, Visitor
from fustor.guardian.logs import Logs
from fustor.guardian.predecessor import Predecessor
from fustor.guardian.requests import Join, Keep
from fustor.guardian.survivors import Survivors
from fustor.guardian.table import Exit, Slot, Table

#: Seconds until binding a port that is taken is tried again.
_BIND_AGAIN = 0.2
#: Seconds for those who are in the queue already, when we were frozen over the deadline.
_LAST_CALL = 1.0
#: Connections that have not said yet who they are.
_MOST_VISITORS = 1024


class Adoption:
    """
    Args:
        events, logs, table: of the guardian.
        gate: listens already.
        survivors: held; may be empty.
        listening: name → socket; completed here.
        wanted: name → (host, port) of every listening socket there has to be.
        counters: ``joined`` is counted.
        on_exit: called when a survivor has ended.
        on_control: called when the control actor has come, or one that says so; raises RefusedError.
        on_keep: called with descriptors that a payload wants to be kept, and owns them unless it raises RefusedError.

    Attributes:
        missing: names of listening sockets that are not in hand yet.
        closed: nobody is welcome any more.
    """

    def __init__(
        self,
        events: Events,
        logs: Logs,
        table: Table,
        gate: Gate,
        survivors: Survivors,
        listening: dict[str, socket.socket],
        wanted: dict[str, tuple[str, int]],
        counters: dict[str, int],
        on_exit: Callable[[int, Exit], None],
        on_control: Callable[[Join, Visitor], None],
        on_keep: Callable[[Keep, dict[str, int]], None],
    ) -> None:
        self.closed = False
        self.missing = wanted.keys() - listening.keys()
        self._events = events
        self._logs = logs
        self._table = table
        self._gate = gate
        self._survivors = survivors
        self._listening = listening
        self._wanted = wanted
        self._counters = counters
        self._on_exit = on_exit
        self._on_control = on_control
        self._on_keep = on_keep
        self._visitors: dict[int, Visitor] = {}
        self._parked: tuple[Join, Visitor] | None = None
        self._holders: dict[int, set[str]] = {}
        self._deadline = 0.0
        self._bind_at = 0.0
        events.watch(gate.fileno(), self._on_gate)
        for pid in survivors.pids():
            self._watch(pid)

    def begin(self, before: Predecessor, deadline: float) -> None:
        """Expect the processes of ``before`` that are held until ``deadline`` (monotonic clock)."""
        self._deadline = deadline
        self._holders = {slot.pid: set(slot.fds) for slot in before.running() if slot.pid in self._survivors}
        for pid in self._holders:
            self._take_from(pid)

    @property
    def over(self) -> bool:
        """All who were expected have come or were given up, and all listening sockets are in hand."""
        return not self.missing and not self._survivors.awaited()

    def wake_at(self) -> float | None:
        """When :meth:`advance` wants to be called; None: not before something happens."""
        times = [self._deadline] if self._survivors.awaited() else []
        if self.missing - self._can_be_brought():
            times.append(self._bind_at)
        return min(times, default=None)

    def advance(self, now: float) -> None:
        """Go on, if it is time to."""
        awaited = self._survivors.awaited()
        if awaited and now >= self._deadline + _LAST_CALL:
            # A judge who overslept does not judge: they may have come meanwhile, and wait to be heard.
            self._deadline = now + _LAST_CALL
        elif awaited and now >= self._deadline:
            for pid in awaited:
                self._give_up(pid)
        if self.missing and now >= self._bind_at:
            for name in self.missing - self._can_be_brought():
                self._bind(name, now)
        if not self.missing and self._parked is not None:
            (join, visitor), self._parked = self._parked, None
            self._judge(join, visitor)

    def close(self) -> None:
        """Welcome nobody any more."""
        self.closed = True
        if self._parked is not None:
            self._parked[1].refuse("the guardian is stopping")
            self._parked[1].close()
            self._parked = None

    # -- survivors --------------------------------------------------------------------------------------------------

    def _watch(self, pid: int) -> None:
        self._events.watch(self._survivors.fileno(pid), lambda: self._ended(pid))

    def _ended(self, pid: int) -> None:
        self._events.unwatch(self._survivors.fileno(pid))
        self._holders.pop(pid, None)
        self._on_exit(pid, self._survivors.release(pid))

    def _can_be_brought(self) -> set[str]:
        """Missing sockets of which a holder has not joined yet."""
        names: set[str] = set()
        for pid in self._survivors.awaited():
            names |= self._holders.get(pid, set())
        return names & self.missing

    def _give_up(self, pid: int) -> None:
        self._logs.write("WARNING", "a process of the guardian before does not join: killed", pid=pid)
        self._survivors.send(pid, signal.SIGKILL)
        # It is not waited for: one on storage that hangs ends when it can, and its slot is taken until then.
        self._survivors.join(pid)
        self._holders.pop(pid, None)

    # -- listening sockets ------------------------------------------------------------------------------------------

    def _take_from(self, pid: int) -> None:
        """What it holds and we need, without its help."""
        for name in self._holders[pid] & self.missing:
            sock = self._survivors.listening_socket(pid, name)
            if sock is not None:
                self._take(name, sock)

    def _take(self, name: str, sock: socket.socket) -> None:
        if name in self.missing and listeners.is_at(sock, *self._wanted[name]):
            sock.setblocking(False)
            self._listening[name] = sock
            self.missing.discard(name)
        else:
            sock.close()

    def _bind(self, name: str, now: float) -> None:
        try:
            self._listening[name] = listeners.listen(name, *self._wanted[name])
            self.missing.discard(name)
        except StartError as error:
            self._bind_at = now + _BIND_AGAIN
            self._logs.write("ERROR", str(error), again_in=_BIND_AGAIN)

    # -- the gate ---------------------------------------------------------------------------------------------------

    def _on_gate(self) -> None:
        visitor = self._gate.accept()
        if visitor is None:
            return
        if len(self._visitors) >= _MOST_VISITORS:
            visitor.close()  # it comes again
            return
        self._visitors[visitor.fileno()] = visitor
        self._events.watch(visitor.fileno(), lambda: self._hear(visitor))

    def _hear(self, visitor: Visitor) -> None:
        self._events.unwatch(visitor.fileno())
        del self._visitors[visitor.fileno()]
        try:
            said, brought = visitor.receive()
        except OSError:
            visitor.close()
            return
        except RefusedError as error:
            self._refuse(visitor, error)
            return
        if isinstance(said, Keep):
            self._hear_keep(said, brought, visitor)
            return
        for name, fd in brought.items():
            self._take(name, socket.socket(fileno=fd))
        self._judge(said, visitor)

    def _hear_keep(self, keep: Keep, brought: dict[str, int], visitor: Visitor) -> None:
        try:
            if self.closed:
                raise RefusedError("keep", keep.name, "the guardian is stopping; nothing is kept any more")
            self._on_keep(keep, brought)
        except RefusedError as error:
            for fd in brought.values():
                os.close(fd)
            visitor.refuse(str(error))
        else:
            visitor.welcome()
        visitor.close()

    def _refuse(self, visitor: Visitor, error: RefusedError) -> None:
        self._logs.write("WARNING", f"a process may not join: {error}", pid=visitor.pid)
        visitor.refuse(str(error))
        visitor.close()

    def _judge(self, join: Join, visitor: Visitor) -> None:
        try:
            if self.closed:
                raise RefusedError("join", join.name, "the guardian is stopping; nobody is taken over any more")
            if join.name == "control":
                if self.missing:
                    if self._parked is not None:
                        self._parked[1].close()
                    self._parked = join, visitor
                    return
                self._hold(join)
                self._on_control(join, visitor)
            else:
                self._enter(join)
                visitor.welcome()
                visitor.close()
        except RefusedError as error:
            self._refuse(visitor, error)
            return
        except OSError as error:
            self._logs.write("ERROR", f"a process can't be taken over yet: {error.strerror}", name=join.name)
            visitor.close()  # it comes again
            return
        self._survivors.join(join.pid)
        self._holders.pop(join.pid, None)
        self._counters["joined"] += 1
        self._logs.write("INFO", "joined", name=join.name, pid=join.pid)

    def _enter(self, join: Join) -> None:
        """A payload: recorded, or, when the guardian before was killed before it could write that down, new to us."""
        # Under another name when it was abandoned: it did not end when it was killed.
        slot = self._table.of(join.pid)
        if slot is not None and slot.token == join.token:
            self._hold(join)
            return
        self._table.check_free(join.name)
        self._hold(join)
        self._table.add(Slot(join.name, join.pid, join.token, join.born, tuple(join.fds)))

    def _hold(self, join: Join) -> None:
        if join.pid in self._survivors:
            return
        if not self._survivors.hold(join.pid, join.born):
            raise RefusedError("born", join.born, "the start of the process itself is accepted")
        self._watch(join.pid)

    # -- through an execve ------------------------------------------------------------------------------------------

    def dismiss(self) -> None:
        """Close what is not handed over: those who have not been answered come again."""
        for fd, visitor in list(self._visitors.items()):
            self._events.unwatch(fd)
            visitor.close()
        self._visitors.clear()
        if self._parked is not None:
            self._parked[1].close()
            self._parked = None
