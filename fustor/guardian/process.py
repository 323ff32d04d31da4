"""
Starting one process by fork and exec, and reaping. Keeps no table.

Plain fork is safe and cheap here (0.2 ms): the guardian is small, has one thread and no zmq, and between fork and exec
the child can set anything. That exec succeeded is told by the end of file of a close-on-exec pipe, waited for in the
loop: a program on storage that hangs must not hang the guardian.

Between fork and exec the child waits for a word of its parent, which writes it down first: of a guardian that is killed
no process goes on that is not in its table.

No pidfd is needed: a child that was not reaped keeps its pid, and only the one thread that signals also reaps.
"""

from __future__ import annotations

import errno
import os
import resource
import signal
from collections.abc import Callable

from fustor.guardian.table import Exit

#: The first victims of the kernel when memory is short shall be payloads (proc_pid_oom_score_adj(5)).
PAYLOAD_SCORE = b"500"

_RESETTABLE: list[int] = [int(number) for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}]


class Program:
    """
    What to execute.

    Args:
        argv, env: encoded; argv[0] is an absolute path.
        fds: descriptors to inherit beside 0, 1 and 2, under their own numbers.
        log: descriptor for stdout and stderr.
        data_bytes: soft RLIMIT_DATA (getrlimit(2)); 0: as the guardian. Not RLIMIT_AS: that forbids LMDB's sparse map.
            The hard limit stays, for a successor started by this process has to raise it again.
        oom_score: for oom_score_adj; empty: as the guardian.
    """

    __slots__ = ("argv", "data_bytes", "env", "fds", "log", "oom_score")

    def __init__(
        self,
        argv: list[bytes],
        env: dict[bytes, bytes],
        fds: list[int],
        log: int,
        data_bytes: int = 0,
        oom_score: bytes = b"",
    ) -> None:
        self.argv = argv
        self.env = env
        self.fds = fds
        self.log = log
        self.data_bytes = data_bytes
        self.oom_score = oom_score


#: Makes a child that takes on a program, given its stdin and its ends of the two pipes; its pid, or 0 when it can't.
Fork = Callable[[Program, int, int, int], int]


def start(program: Program, null: int, lock: int, fork: Fork | None = None) -> tuple[int, int, int]:
    """
    Fork, and once :func:`release` is called execute ``program`` in a session of its own with default signals.

    Args:
        program: what.
        null: becomes its stdin.
        lock: of the run folder. A child whose exec hangs must not keep it from a successor.
        fork: tried first.

    Returns:
        The pid, the non-blocking reading end of the pipe for :func:`exec_error`, and the descriptor for
        :func:`release`. If that is closed instead, the child ends.

    Raises:
        OSError: no process or pipe could be made. What ``fork`` raises.
    """
    changed = [number for number in _RESETTABLE if signal.getsignal(number) is not signal.SIG_DFL]
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    waiting, release_ = os.pipe2(os.O_CLOEXEC)
    # A signal to the child before its handlers are reset would be written to the wakeup pipe that it shares with us.
    mask = signal.pthread_sigmask(signal.SIG_SETMASK, _RESETTABLE)
    try:
        pid = fork(program, null, writer, waiting) if fork is not None else 0
        if not pid:
            pid = os.fork()
            if not pid:
                _become(program, null, writer, changed, waiting, (release_, lock))
    except BaseException:
        os.close(reader)
        os.close(release_)
        raise
    finally:
        os.close(writer)
        os.close(waiting)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return pid, reader, release_


def release(descriptor: int) -> None:
    """Let the child of :func:`start` go on; the descriptor is closed."""
    try:
        os.write(descriptor, b"1")
    except BrokenPipeError:
        pass  # killed already: the exit tells
    finally:
        os.close(descriptor)


def exec_error(reader: int) -> int | None:
    """0 when exec has succeeded, its errno when it has failed, None when neither is known yet."""
    try:
        told = os.read(reader, 16)
    except BlockingIOError:
        return None
    return int(told) if told else 0


def born(pid: int) -> int:
    """Start of a process in clock ticks since boot (proc_pid_stat(5), field 22); 0 when it can't be told."""
    fields = _stat(pid)
    return int(fields[19]) if fields else 0


def frozen(pid: int) -> bool:
    """Stopped by a signal or a tracer (proc_pid_stat(5), field 3)."""
    return _stat(pid)[:1] in ([b"T"], [b"t"])


def _stat(pid: int) -> list[bytes]:
    """From field 3 on; nothing when it can't be told."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The second field, the command in parentheses, may contain anything.
            return file.read().rpartition(b")")[2].split()
    except OSError:
        return []


def oom_score() -> int:
    """Our own oom_score_adj (proc_pid_oom_score_adj(5)); 0 when it can't be told."""
    try:
        with open("/proc/self/oom_score_adj", "rb") as file:
            return int(file.read())
    except (OSError, ValueError):
        return 0


def set_oom_score(score: bytes) -> None:
    """Set it; best effort: without it the kernel chooses its victim by size alone."""
    try:
        fd = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, score)
        finally:
            os.close(fd)
    except OSError:
        pass


def shed_limits(oom_score: int) -> None:
    """Undo what a payload that started us was given: its soft RLIMIT_DATA, and its oom_score_adj."""
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))
    set_oom_score(b"%d" % oom_score)


def next_exited() -> int | None:
    """
    The pid of an exited child, or None. It stays unreaped: its pid and its process group are not yet anybody else's.

    Raises:
        ChildProcessError: there is no child at all.
    """
    found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    return found.si_pid if found else None


def reap(pid: int) -> Exit:
    """Take the status of an exited child."""
    _, status, usage = os.wait4(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    return Exit(max(code, 0), max(-code, 0), usage.ru_maxrss * 1024, usage.ru_utime + usage.ru_stime)


def send(pid: int, number: int) -> bool:
    """Signal a child that was not reaped; False when it runs under another user id, so that we may not (kill(2))."""
    try:
        os.kill(pid, number)
    except PermissionError:
        return False
    return True


def send_group(leader: int, number: int) -> None:
    """Signal the process group of a child that was not reaped; nothing happens when none of it is left."""
    try:
        os.killpg(leader, number)
    except ProcessLookupError:
        pass  # the child has not reached setsid, or all are gone
    except PermissionError:
        pass  # every process that is left runs under another user id (kill(2))


def take_on(program: Program, null: int, waiting: int) -> None:
    """
    In a new child: wait until it is written down, then have what the program is given but for its descriptors.

    Raises:
        OSError: the system does not let us.
    """
    if not os.read(waiting, 1):
        os._exit(127)
    os.setsid()
    os.dup2(null, 0)
    os.dup2(program.log, 1)
    os.dup2(program.log, 2)
    if program.oom_score:
        set_oom_score(program.oom_score)
    if program.data_bytes:
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        limit = program.data_bytes if hard == resource.RLIM_INFINITY else min(program.data_bytes, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def _become(
    program: Program, null: int, writer: int, changed: list[int], waiting: int, unwanted: tuple[int, ...]
) -> None:
    """The child between fork and exec; never returns."""
    failure = errno.EINVAL  # told of whatever is no OSError
    try:
        for fd in unwanted:
            os.close(fd)
        take_on(program, null, waiting)
        signal.set_wakeup_fd(-1)
        # Python ignores SIGPIPE and SIGXFSZ, and exec keeps what is ignored.
        for number in changed:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        for fd in program.fds:
            os.set_inheritable(fd, True)
        os.execve(program.argv[0], program.argv, program.env)
    except OSError as error:
        failure = error.errno or errno.EINVAL
    finally:
        # Whatever happened, a copy of the guardian must not live on.
        os.write(writer, b"%d" % failure)
        os._exit(127)
