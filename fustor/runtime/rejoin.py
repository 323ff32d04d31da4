"""
The way of a process whose guardian was killed to the next one.

It connects to ``guardian.sock`` in the run folder, its working directory, every 20 ms, says who it is, and brings its
listening sockets (see ``fustor/guardian/gate.py``). Where survivors have to start the successor themselves, the one
that wins ``successor.lock`` does, after a random moment, and starts another one if that ends before it has joined; if
nobody has come after a while, each of them does. Two guardians can't run at once whatever happens here: the successor
takes ``guardian.lock``. Where a service manager starts it, the control groups are made such that it can
(``delegation``).

What this module does not do: watch the guardian, or end the process (see ``parent``). It runs in a thread of its own
and touches nothing that the others use.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import signal
import socket
import struct
import time
from collections.abc import Mapping

import attrs

from fustor.runtime.delegation import give_back
from protocols.errors import ConfigError

#: Of the run folder; the same as in ``fustor/guardian``.
GATE, STOPPING, SUCCESSOR_LOCK = "guardian.sock", "stopping", "successor.lock"

#: Seconds between two looks for a successor.
LOOK_SECONDS = 0.02
#: A payload waits for a random part of this before it starts a successor; the control actor does not wait.
JITTER_SECONDS = 0.1
#: Seconds until a successor that could not start is started again.
AGAIN_SECONDS = 0.5
#: Seconds after which whoever has the lock, and may be stopped by a signal, is not waited for any more.
LOCK_SECONDS = 2.0
#: Seconds for the successor's answer: it lets a control actor wait until it has all listening sockets.
ANSWER_SECONDS = 10.0

_OWN = ("FUSTOR_NAME", "FUSTOR_TOKEN", "FUSTOR_GUARDIAN_PID", "FUSTOR_FDS", "FUSTOR_REJOIN")


@attrs.frozen
class Plan:
    """
    What the guardian told us to do when it is killed (``FUSTOR_REJOIN``).

    Attributes:
        seconds: how long to look for a successor.
        argv: how to start one; empty: somebody else does.
        log: file for its output.
        path: its ``PYTHONPATH``, for ours may be that of another program; empty: none.
    """

    seconds: float
    argv: tuple[str, ...]
    log: str
    path: str = ""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Plan | None:
        """
        The plan; None when there is none: then a process ends with its guardian.

        Raises:
            ConfigError: the variable is no plan.
        """
        text = environment.get("FUSTOR_REJOIN", "")
        if not text:
            return None
        try:
            data = json.loads(text)
            return cls(
                float(data["seconds"]),
                tuple(str(word) for word in data["argv"]),
                str(data["log"]),
                str(data.get("path", "")),
            )
        except (ValueError, KeyError, TypeError):
            raise ConfigError("FUSTOR_REJOIN", text[:80], "the guardian sets it in the environment") from None


@attrs.frozen
class Joined:
    """
    A successor has taken us over.

    Attributes:
        descriptor: a pidfd of it.
        connection: to it; of a control actor the keeper channel.
    """

    descriptor: int
    connection: socket.socket


class Rejoiner:
    """
    Args:
        plan: of the guardian.
        name, token: of this process.
        fds: name → descriptor of its listening sockets; duplicates are made, so that they may be closed elsewhere.
    """

    def __init__(self, plan: Plan, name: str, token: str, fds: Mapping[str, int]) -> None:
        self._plan = plan
        self._fds: dict[str, int] = {}
        for key, fd in fds.items():
            # The guardian handed it over as inheritable; a successor started from here must not get it twice.
            with contextlib.suppress(OSError):
                self._fds[key] = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
                os.set_inheritable(fd, False)
        self._greeting = json.dumps(
            {"join": name, "pid": os.getpid(), "born": _born(), "token": token, "fds": list(self._fds)}
        ).encode()
        self._jitter = 0.0 if name == "control" else JITTER_SECONDS
        self._child = 0

    def find(self) -> Joined | None:
        """Look for a successor; None when there will be none, so that this process should end."""
        now = time.monotonic()
        deadline, start_at = now + self._plan.seconds, now + random.random() * self._jitter
        anyway_at = now + LOCK_SECONDS
        lock = -1
        if not self._plan.argv:
            give_back()
        try:
            while now < deadline and not os.path.exists(STOPPING):
                answer = self._try()
                if answer is not None:
                    return answer if isinstance(answer, Joined) else None
                if self._plan.argv and now >= start_at and not self._child_lives():
                    lock = _lock() if lock < 0 else lock
                    # Useless starts cost little, and the lock that there is one guardian only is another one.
                    if lock >= 0 or now >= anyway_at:
                        self._start()
                    start_at = now + AGAIN_SECONDS
                time.sleep(LOOK_SECONDS)
                now = time.monotonic()
            return None
        finally:
            if lock >= 0:
                os.close(lock)

    def reap(self) -> None:
        """Collect a successor that we had started and that has ended: it was our child."""
        self._child_lives()

    def _try(self) -> Joined | str | None:
        """Go to whoever listens: joined, why we may not, or None when there is nobody."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        descriptor = -1
        joined = None
        try:
            sock.settimeout(ANSWER_SECONDS)
            sock.connect(GATE)
            guardian: int = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
            descriptor = os.pidfd_open(guardian)
            socket.send_fds(sock, [self._greeting], list(self._fds.values()))
            # An answer after the pidfd was opened proves that it is of the one who answers.
            answer = json.loads(sock.recv(65536) or b"null")
            if not isinstance(answer, dict):
                return None
            if "welcome" in answer:
                sock.settimeout(None)
                joined = Joined(descriptor, sock)
                return joined
            return str(answer.get("refused"))
        except (OSError, ValueError):
            return None
        finally:
            if joined is None:
                sock.close()
                if descriptor >= 0:
                    os.close(descriptor)

    def _child_lives(self) -> bool:
        """A successor that we have started has not ended."""
        if not self._child:
            return False
        with contextlib.suppress(ChildProcessError):
            if os.waitpid(self._child, os.WNOHANG) == (0, 0):
                return True
        self._child = 0
        return False

    def _start(self) -> None:
        """
        Start a successor. posix_spawn(3) is safe whatever other threads do, and all our descriptors are close-on-exec.
        """
        argv = [*self._plan.argv, "--succeed"]
        environment = {key: value for key, value in os.environ.items() if key not in (*_OWN, "PYTHONPATH")}
        environment |= {"PYTHONPATH": self._plan.path} if self._plan.path else {}
        append = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        actions: list[tuple[int, int, str, int, int] | tuple[int, int, int]] = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, self._plan.log, append, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        default = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
        try:
            self._child = os.posix_spawn(
                argv[0], argv, environment, file_actions=actions, setsid=True, setsigmask=[], setsigdef=default
            )
        except OSError as error:
            os.write(2, f"a successor of the guardian can't be started: {error.strerror}\n".encode())


def _lock() -> int:
    """The descriptor that holds the right to start a successor; -1 while another process has it."""
    try:
        fd = os.open(SUCCESSOR_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return -1
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        return -1
    return fd


def _born() -> int:
    """Our start in clock ticks since boot (proc_pid_stat(5), field 22)."""
    with open("/proc/self/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[19])
