"""
The table of payloads: one slot per name. Pure: no system call is made here.

The table alone decides what runs: while the process of a slot lives, nothing else is started in it. A slot keeps the
status of its exit until it is forgotten or used again.
"""

from __future__ import annotations

from fustor.guardian.errors import RefusedError


class Exit:
    """
    How a process ended.

    Attributes:
        code: exit code, 0 when a signal ended it.
        signal: number of that signal, or 0.
        maxrss: largest resident set in bytes; 0 for a process that was not our child.
        cpu: seconds of CPU time; 0 likewise.
        known: False when nobody can say how it ended; ``code`` and ``signal`` mean nothing then.
    """

    __slots__ = ("code", "cpu", "known", "maxrss", "signal")

    def __init__(self, code: int, signal: int, maxrss: int, cpu: float, *, known: bool = True) -> None:
        self.code = code
        self.signal = signal
        self.maxrss = maxrss
        self.cpu = cpu
        self.known = known

    def as_json(self) -> dict[str, object]:
        """Plain data."""
        told: dict[str, object] = {"code": self.code, "signal": self.signal, "maxrss": self.maxrss}
        return {**told, "cpu": round(self.cpu, 6), "known": self.known}

    @classmethod
    def from_json(cls, data: dict[str, object]) -> Exit:
        """
        From :meth:`as_json`.

        Raises:
            ValueError: a field is missing or has another type.
        """
        code, signal, maxrss = (_number(data, key) for key in ("code", "signal", "maxrss"))
        cpu = data.get("cpu")
        if not isinstance(cpu, (int, float)):
            raise ValueError(f"cpu = {cpu!r}")
        return cls(code, signal, maxrss, float(cpu), known=data.get("known") is not False)


class Slot:
    """
    One payload.

    Attributes:
        name: unique in the table.
        pid: of the running or last process.
        token: tells this process from earlier and later ones of the same name.
        born: its start in clock ticks since boot (proc_pid_stat(5), field 22): with the pid, unique until reboot.
        fds: names of the listening sockets that it was given.
        exit: None while it runs.
    """

    __slots__ = ("born", "exit", "fds", "name", "pid", "token")

    def __init__(self, name: str, pid: int, token: str, born: int, fds: tuple[str, ...] = ()) -> None:
        self.name = name
        self.pid = pid
        self.token = token
        self.born = born
        self.fds = fds
        self.exit: Exit | None = None

    def as_json(self) -> dict[str, object]:
        """Plain data."""
        ended = self.exit.as_json() if self.exit else None
        told: dict[str, object] = {"name": self.name, "pid": self.pid, "token": self.token, "born": self.born}
        return {**told, "fds": list(self.fds), "exit": ended}

    @classmethod
    def from_json(cls, data: object) -> Slot:
        """
        From :meth:`as_json`.

        Raises:
            ValueError: it is no object, or a field is missing or has another type.
        """
        if not isinstance(data, dict):
            raise ValueError(f"{data!r} where an object is accepted")
        name, token, fds, ended = data.get("name"), data.get("token"), data.get("fds"), data.get("exit")
        if not isinstance(name, str) or not isinstance(token, str) or not token:
            raise ValueError(f"name = {name!r}, token = {token!r}")
        if not isinstance(fds, list) or not all(isinstance(fd, str) for fd in fds):
            raise ValueError(f"fds = {fds!r}")
        if ended is not None and not isinstance(ended, dict):
            raise ValueError(f"exit = {ended!r}")
        slot = cls(name, _number(data, "pid"), token, _number(data, "born"), tuple(fds))
        slot.exit = Exit.from_json(ended) if ended is not None else None
        return slot


class Table:
    """
    Slots by name.

    Args:
        limit: how many slots there may be.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._slots: dict[str, Slot] = {}
        self._running: dict[int, Slot] = {}

    def check_free(self, name: str) -> None:
        """
        Raises:
            RefusedError: a process of this name runs, or the table is full.
        """
        slot = self._slots.get(name)
        if slot is None:
            if len(self._slots) >= self.limit:
                raise RefusedError("name", name, f"{self.limit} slots are in use; forget one, or raise `slots`")
        elif slot.exit is None:
            raise RefusedError("name", name, f"is running already (pid {slot.pid})")

    def add(self, slot: Slot) -> None:
        """Enter a process, running or not; ``check_free`` was asked before."""
        self._slots[slot.name] = slot
        if slot.exit is None:
            self._running[slot.pid] = slot

    def running(self, name: str) -> Slot:
        """
        The slot of a running process.

        Raises:
            RefusedError: there is none of this name, or it has exited.
        """
        slot = self._known(name)
        if slot.exit is not None:
            raise RefusedError("name", name, "is not running")
        return slot

    def is_running(self, pid: int) -> bool:
        """A running process of the table has this pid."""
        return pid in self._running

    def of(self, pid: int) -> Slot | None:
        """The slot of the running process with this pid."""
        return self._running.get(pid)

    def exited(self, pid: int, ended: Exit) -> Slot | None:
        """The process ``pid`` was reaped: its slot, or None when it is not of the table."""
        slot = self._running.pop(pid, None)
        if slot is not None:
            slot.exit = ended
        return slot

    def remove(self, slot: Slot) -> None:
        """Take back a process whose program could not be executed, as if it had never been entered."""
        self._running.pop(slot.pid, None)
        if self._slots.get(slot.name) is slot:
            del self._slots[slot.name]

    def forget(self, name: str) -> None:
        """
        Drop a slot whose process has exited.

        Raises:
            RefusedError: there is none of this name, or it is running.
        """
        if self._known(name).exit is None:
            raise RefusedError("name", name, "is running; it can be forgotten once it has exited")
        del self._slots[name]

    def abandon(self, name: str) -> Slot:
        """
        Give a running process another name, made of this one and its pid, so that the name is free.

        Raises:
            RefusedError: there is none of this name, it has exited, or the table is full.
        """
        slot = self.running(name)
        if len(self._slots) >= self.limit:
            raise RefusedError("name", name, f"{self.limit} slots are in use; forget one, or raise `slots`")
        del self._slots[name]
        slot.name = f"{name}.abandoned.{slot.pid}"
        self._slots[slot.name] = slot
        return slot

    def slots(self) -> list[Slot]:
        """All slots, in the order of their first start."""
        return list(self._slots.values())

    def alive(self) -> list[Slot]:
        """Slots whose process runs."""
        return list(self._running.values())

    def _known(self, name: str) -> Slot:
        slot = self._slots.get(name)
        if slot is None:
            raise RefusedError("name", name, "no such slot")
        return slot


def _number(data: dict[str, object], key: str) -> int:
    value = data.get(key)
    if type(value) is not int or value < 0:
        raise ValueError(f"{key} = {value!r}")
    return value
