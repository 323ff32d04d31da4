"""
The control actor's end of the keeper channel: asks the guardian to start, signal and list processes, hears of exits.

The protocol is described in ``fustor/guardian/__init__.py``. Nothing is decided here: the guardian's table is the
truth, and whoever is in doubt reads it again. When the guardian is killed and a successor takes us over, what was asked
and not answered is asked again there, and whoever waits for an answer waits on: so a request may be carried out twice,
and a second spawn in the same slot is refused.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import struct
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio

from protocols.errors import FustorError, MachineError, ProtocolError, RequestError

#: Largest packet, either way; the guardian's ``channel.MAX_PACKET``.
MAX_PACKET = 65536
#: struct ucred of unix(7): pid, uid, gid.
_CREDENTIALS = struct.Struct("=iII")


class KeeperGone(FustorError):  # noqa: N818 - says what is the case, as trio's exceptions do
    """The guardian closed the channel or is dead: nothing can be asked of it any more, and this process should end."""


class SpawnError(MachineError):
    """A process could not be started. ``errno`` tells why: of fork, or of execve (ENOENT, EACCES, ENOEXEC …)."""

    def __init__(self, message: str, errno: int) -> None:
        self.errno = errno
        super().__init__(message)


@attrs.frozen
class Exit:
    """
    How a process ended.

    Attributes:
        name, pid, token: of the process.
        code: exit code, 0 when it was ended by a signal.
        signal: number of the signal that ended it, or 0.
        maxrss: largest resident set in bytes.
        cpu: seconds of CPU time, user and system.
        known: False when nobody can say how: it had outlived the guardian that started it.
    """

    name: str
    pid: int
    token: str
    code: int
    signal: int
    maxrss: int
    cpu: float
    known: bool


@attrs.frozen
class Entry:
    """
    One slot of the guardian's table.

    Attributes:
        name: of the slot.
        pid: of the process that runs, or ran last.
        token: which that process was given.
        born: its start in clock ticks since boot.
        exit: None while it runs.
    """

    name: str
    pid: int
    token: str
    born: int
    exit: Exit | None

    @property
    def running(self) -> bool:
        """Its process has not exited."""
        return self.exit is None


@attrs.frozen
class KeeperStatistics:
    """What went over the channel: ``requests`` asked, ``exits`` heard, ``strays``: packets that nobody waited for."""

    requests: int
    exits: int
    strays: int


class Keeper:
    """
    Client of the keeper channel. :meth:`run` must be running in a nursery for anything else to work.

    Args:
        sock: a SEQPACKET socket connected to the guardian; owned from now on.
        exit_limit: exits that are kept while nobody takes them from :attr:`exits`.
        listening: name → descriptor of each listening socket that this process was given.
        next_socket: called in a thread when the guardian is gone; blocks until a successor has taken us over, and
            returns the channel to it. None: there are no successors.

    Attributes:
        exits: one :class:`Exit` per payload that ended; ends when the guardian is gone. Exits between two guardians are
            not among them: read :meth:`table` after :meth:`wait_succession`.
        overflowed: exits were dropped because nobody took them: read :meth:`table`, then set it to False.
    """

    def __init__(
        self,
        sock: socket.socket,
        *,
        exit_limit: int = 1024,
        listening: Mapping[str, int] | None = None,
        next_socket: Callable[[], socket.socket] | None = None,
    ) -> None:
        self.listening = dict(listening or {})
        self._socket = trio.socket.from_stdlib_socket(sock)
        self._next_socket = next_socket
        self._succession = trio.Event()
        self._sending = trio.Lock()
        self._number = 0
        self._waiting: dict[int, tuple[bytes, trio.MemorySendChannel[dict[str, Any]]]] = {}
        self._gone = False
        self._heard = 0
        self._strays = 0
        self._put_exit, self.exits = trio.open_memory_channel[Exit](exit_limit)
        self.overflowed = False

    @classmethod
    def from_environment(
        cls,
        environment: Mapping[str, str] = os.environ,
        *,
        exit_limit: int = 1024,
        next_socket: Callable[[], socket.socket] | None = None,
    ) -> Keeper:
        """
        The keeper of this process, as the guardian gave it. The other arguments are those of the class.

        Raises:
            MachineError: this process was not started by a guardian as its control actor.
        """
        try:
            listening = {str(name): int(fd) for name, fd in json.loads(environment["FUSTOR_FDS"]).items()}
            sock = socket.socket(fileno=listening.pop("keeper"))
        except (AttributeError, KeyError, TypeError, ValueError, OSError) as error:
            raise MachineError(f"FUSTOR_FDS names no keeper channel ({error}); a guardian has to start this") from None
        sock.set_inheritable(False)
        return cls(sock, exit_limit=exit_limit, listening=listening, next_socket=next_socket)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """
        Read until the guardian is gone and can't have a successor; returns then. Whoever waits for an answer gets
        :exc:`KeeperGone`.
        """
        task_status.started()
        try:
            while True:
                while packet := await self._receive():
                    self._take(packet)
                if self._next_socket is None:
                    return
                await self._succeed(self._next_socket)
        finally:
            self._gone = True
            for _, channel in self._waiting.values():
                channel.close()
            self._put_exit.close()
            self._socket.close()

    async def spawn(
        self,
        name: str,
        argv: Sequence[str],
        env: Mapping[str, str],
        fds: Sequence[str] = (),
        *,
        token: str = "",
        data_bytes: int = 0,
    ) -> int:
        """
        Start a process in the slot ``name``.

        Args:
            argv: begins with an absolute path.
            env: added to the guardian's environment.
            fds: names of listening sockets to inherit; the process finds their numbers in ``FUSTOR_FDS``.
            token: for ``FUSTOR_TOKEN``, letters and digits; empty: a random one, see :meth:`table`.
            data_bytes: RLIMIT_DATA in bytes (getrlimit(2)); 0: none.

        Returns:
            Its pid; its program is running by then.

        Raises:
            RequestError: one of this name is running, or a field is not accepted.
            SpawnError: it could not be started.
            KeeperGone: see there. Whether it was started is then unknown.
        """
        fields = {"name": name, "argv": list(argv), "env": dict(env), "fds": list(fds)}
        answers = await self._ask("spawn", **fields, token=token or secrets.token_hex(16), data_bytes=data_bytes)
        pid: int = answers[0]["pid"]
        return pid

    async def kill(self, name: str, signal: int) -> None:
        """
        Send a signal to the running process of a slot.

        Raises:
            RequestError: there is no such slot, it is not running, or the signal is none.
            KeeperGone: see there.
        """
        await self._ask("kill", name=name, signal=int(signal))

    async def table(self) -> list[Entry]:
        """
        All slots.

        Raises:
            KeeperGone: see there.
        """
        return [_entry(slot) for answer in await self._ask("list") for slot in answer["slots"]]

    async def forget(self, name: str) -> None:
        """
        Drop a slot whose process has exited.

        Raises:
            RequestError: there is no such slot, or it is running.
            KeeperGone: see there.
        """
        await self._ask("forget", name=name)

    async def abandon(self, name: str) -> str:
        """
        Free the name of a process that can't be killed.

        Returns:
            The name that it has from now on.

        Raises:
            RequestError: there is no such slot, or it is not running.
            KeeperGone: see there.
        """
        answers = await self._ask("abandon", name=name)
        return str(answers[0]["name"])

    async def status(self) -> dict[str, int]:
        """
        The guardian's own counters, and its ``uptime_seconds``.

        Raises:
            KeeperGone: see there.
        """
        counters: dict[str, int] = (await self._ask("status"))[0]["counters"]
        return counters

    async def beat(self) -> None:
        """
        Tell that this control actor is alive: to be called from its main loop, several times within ``beat_timeout``.
        It is not answered.

        Raises:
            KeeperGone: see there.
        """
        if self._gone:
            raise KeeperGone("the guardian is gone")
        await self._send(b'{"op":"beat"}')

    async def attempt(self, part: str, program: str, tag: str) -> None:
        """
        Let the control actor or the guardian run another program from now on: see ``fustor/guardian/programs.py``. For
        the control actor, this process, it means its end.

        Args:
            part: ``control`` or ``guardian``.
            program: folder of the program; empty: what is installed.
            tag: names the wish.

        Raises:
            RequestError: it is no such program.
            MachineError: it can't be written down.
            KeeperGone: see there.
        """
        await self._ask("attempt", part=part, program=program, tag=tag)

    async def prove(self, part: str) -> None:
        """
        Say that the program of ``part`` works.

        Raises:
            KeeperGone: see there.
        """
        await self._ask("prove", part=part)

    async def leave(self, part: str, why: str) -> None:
        """
        Say that the program of ``part`` does not work; for the control actor it means its end.

        Raises:
            KeeperGone: see there.
        """
        await self._ask("leave", part=part, why=why)

    def guardian(self) -> int:
        """The pid of the guardian that we are connected to (unix(7), SO_PEERCRED); 0 when that is not known."""
        try:
            told = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        except OSError:
            return 0
        return int(_CREDENTIALS.unpack(told)[0])

    async def wait_succession(self) -> None:
        """Wait until the next successor of the guardian has taken us over."""
        await self._succession.wait()

    def statistics(self) -> KeeperStatistics:
        """What went over the channel so far."""
        return KeeperStatistics(requests=self._number, exits=self._heard, strays=self._strays)

    async def _ask(self, op: str, **fields: object) -> list[dict[str, Any]]:
        """All packets of the answer."""
        if self._gone:
            raise KeeperGone("the guardian is gone")
        self._number += 1
        number = self._number
        packet = json.dumps({"op": op, "id": number, **fields}, separators=(",", ":")).encode()
        if len(packet) > MAX_PACKET:
            raise RequestError("request", f"{op}, {len(packet)} bytes", f"at most {MAX_PACKET} bytes are accepted")
        # Unbounded, but the packets of one answer are bounded by the guardian's table.
        put, get = trio.open_memory_channel[dict[str, Any]](float("inf"))
        self._waiting[number] = packet, put
        answers: list[dict[str, Any]] = []
        try:
            await self._send(packet)
            async for answer in get:
                if "anew" in answer:
                    answers.clear()
                    continue
                answers.append(answer)
                if not answer.get("more"):
                    break
            else:
                raise KeeperGone("the guardian is gone")
        finally:
            del self._waiting[number]
            put.close()
            get.close()
        if "error" in answers[-1]:
            raise _error(op, answers[-1]["error"])
        return answers

    async def _succeed(self, next_socket: Callable[[], socket.socket]) -> None:
        """Change to the channel of a successor, and ask again what was not answered."""
        self._socket.close()
        # The thread waits for as long as it takes; the process ends if there is no successor.
        sock = await trio.to_thread.run_sync(next_socket, abandon_on_cancel=True)
        self._socket = trio.socket.from_stdlib_socket(sock)
        self._succession.set()
        self._succession = trio.Event()
        unanswered = list(self._waiting.values())
        async with self._sending:
            for packet, answers in unanswered:
                with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):  # nobody waits any more
                    # The first parts of a long answer are of the guardian before.
                    answers.send_nowait({"anew": True})
                try:
                    await self._socket.send(packet)
                except ConnectionError:
                    break  # killed as well: the next one is asked

    async def _send(self, packet: bytes) -> None:
        """On the channel of this moment: if that ends before there is an answer, :meth:`_succeed` asks again."""
        sock = self._socket
        async with self._sending:
            try:
                if sock.fileno() >= 0:
                    await sock.send(packet)
            except (ConnectionError, trio.ClosedResourceError):
                if self._next_socket is None:
                    raise KeeperGone("the guardian is gone") from None

    async def _receive(self) -> bytes:
        try:
            return await self._socket.recv(MAX_PACKET)
        except ConnectionError:
            return b""

    def _take(self, packet: bytes) -> None:
        try:
            message = json.loads(packet)
            if message.get("event") == "exit":
                self._take_exit(_exit(message))
            else:
                self._waiting[message["re"]][1].send_nowait(message)
        except (ValueError, KeyError, TypeError, AttributeError):
            # An event of a later version, or the answer to a request that was cancelled.
            self._strays += 1

    def _take_exit(self, ended: Exit) -> None:
        self._heard += 1
        try:
            self._put_exit.send_nowait(ended)
        except trio.WouldBlock:
            self.overflowed = True
        except trio.BrokenResourceError:  # nobody wants to hear of exits any more
            self.overflowed = True


@asynccontextmanager
async def open_keeper(keeper: Keeper) -> AsyncIterator[Keeper]:
    """Run ``keeper`` within the block."""
    async with trio.open_nursery() as nursery:
        await nursery.start(keeper.run)
        yield keeper
        nursery.cancel_scope.cancel()


def _exit(fields: dict[str, Any]) -> Exit:
    return Exit(**{field.name: fields[field.name] for field in attrs.fields(Exit)})


def _entry(slot: dict[str, Any]) -> Entry:
    who = {"name": slot["name"], "pid": slot["pid"], "token": slot["token"]}
    return Entry(**who, born=slot["born"], exit=_exit({**who, **slot["exit"]}) if slot["exit"] else None)


def _error(op: str, error: dict[str, Any]) -> FustorError:
    try:
        if error["errno"]:
            message = f"{error['field']} = {error['value']!r}: {error['accepted']}"
            return SpawnError(message, error["errno"]) if op == "spawn" else MachineError(message)
        return RequestError(error["field"], error["value"], error["accepted"])
    except KeyError as missing:
        return ProtocolError(f"the guardian's answer lacks {missing}")
