"""
From the installed guardian to the one that was sent from afar, and back when that one is bad.

Whatever starts a guardian starts what is installed: a service manager, survivors, the version before through an
execve. That looks here, counts, and becomes the other one. Before, it asks whether the other one would start at all;
after too many starts without a word that it works, it stays what it is. So a bad guardian can only be one that a few
starts get rid of.

What this module does not do: run a guardian.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import sys
import time

from fustor.guardian import files, programs
from fustor.guardian.programs import Part, Programs, main_of

#: Seconds that the other one may take to say whether it would start.
_CHECK_SECONDS = 10.0


def other(shell: str, arguments: list[str], *, fresh: bool, checking: bool) -> list[str]:
    """
    The command line of the guardian to become; empty: what is installed, ourselves. The working directory is the run
    folder.

    Args:
        shell: path of shell.json; empty: there is none.
        arguments: of our command line.
        fresh: we hold no lock yet; else we are one that runs already, after its execve.
        checking: nothing is started, it is only asked; so nothing is counted.
    """
    try:
        found = programs.read(shell)
    except (OSError, ValueError) as error:
        _say(f"{shell}: {error}: what is installed runs")
        return []
    part = found.guardian
    if not part.program or (not checking and fresh and _somebody_runs()):
        return []  # the latter is said by whoever asks for the lock
    if not checking:
        _count(part, arguments[0] if fresh else "")
        if not _keep(shell, found):
            return []  # what can't be counted is not tried
    return [*_command(part.program), *arguments] if part.program else []


def become(argv: list[str]) -> None:
    """Returns only by an error, which was said."""
    try:
        os.execv(argv[0], argv)
    except OSError as error:
        _say(f"{argv[3]} can't be executed: {error.strerror}")


def _count(part: Part, config: str) -> None:
    """
    Count a start of what is chosen; what must not be started is left for what was before. It is asked whether it would
    start with ``config``; empty: the version before has asked.
    """
    while part.program:
        faults = "" if os.path.isdir(part.program) else "its folder is gone"
        if not faults and config:
            faults = _faults([*_command(part.program), config])
        if faults:
            part.leave(faults)
        elif not part.starts():
            return


def _command(program: str) -> list[str]:
    return [sys.executable, "-I", "-S", main_of(program)]


def _keep(shell: str, found: Programs) -> bool:
    try:
        programs.write(shell, found)
    except OSError as error:
        _say(f"{shell} can't be written: {error.strerror}")
        return False
    return True


def _somebody_runs() -> bool:
    """Another guardian holds the lock of this run folder."""
    try:
        fd = os.open(files.LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return False  # said by whoever needs it
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _faults(command: list[str]) -> str:
    """Why the other one would not start; empty: it would."""
    try:
        pid = os.posix_spawn(command[0], [*command, "--check"], os.environ, setsigmask=[])
    except OSError as error:
        return f"it can't be executed: {error.strerror}"
    descriptor = os.pidfd_open(pid)
    try:
        answered = select.poll()
        answered.register(descriptor, select.POLLIN)
        deadline = time.monotonic() + _CHECK_SECONDS
        while not answered.poll(max(0.0, deadline - time.monotonic()) * 1000):
            if time.monotonic() >= deadline:
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                os.waitpid(pid, 0)
                return f"asked whether it would start, it did not answer for {_CHECK_SECONDS:g} s"
        ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    finally:
        os.close(descriptor)
    return f"it would not start: it ended with {ended}, see guardian.log" if ended else ""


def _say(text: str) -> None:
    os.write(2, f"guardian: {text}\n".encode("utf-8", "backslashreplace"))
