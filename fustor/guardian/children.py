"""
Children that nobody asked for: orphans of payloads, which the guardian adopts as their subreaper (prctl(2)).

An orphan belongs to the payload whose token is in its environment. It is ended together with it: what is left of a
payload would go on holding its sockets and files.
"""

from __future__ import annotations

import ctypes
import os
import signal

from fustor.guardian import pidfd

_PR_SET_CHILD_SUBREAPER = 36


def become_subreaper() -> None:
    """
    Adopt orphaned descendants from now on.

    Raises:
        OSError: the kernel refuses (it is older than 3.4).
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def pids() -> list[int]:
    """All children, zombies included (proc_tid_children(5)); empty when the kernel does not tell."""
    me = os.getpid()
    try:
        with open(f"/proc/self/task/{me}/children", "rb") as file:
            return [int(pid) for pid in file.read().split()]
    except OSError:
        return []


def end_all_of(spawn_token: str) -> int:
    """
    Kill every process that has a spawn token in its environment, whoever its parent is: what a survivor leaves behind
    goes not to us, for we did not start it.

    Returns:
        How many there were.
    """
    killed = 0
    # A process without any token is not meant, whatever is asked for.
    variable = b"FUSTOR_TOKEN=" + spawn_token.encode()
    for name in os.listdir("/proc"):
        if not name.isdigit() or variable not in _environ(int(name)):
            continue
        try:
            fd = os.pidfd_open(int(name))
        except OSError:
            continue
        # Looked at again now that the descriptor pins the process.
        if variable in _environ(int(name)) and pidfd.send(fd, signal.SIGKILL):
            killed += 1
        os.close(fd)
    return killed


def token(pid: int) -> str:
    """
    The spawn token in the environment a process was started with (proc_pid_environ(5)).

    Returns:
        Empty when there is none, when it can't be read, and for the instant in which exec builds a new environment.
    """
    for variable in _environ(pid):
        if variable.startswith(b"FUSTOR_TOKEN="):
            return variable[13:].decode("ascii", "replace")
    return ""


def _environ(pid: int) -> list[bytes]:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return file.read(1 << 20).split(b"\0")
    except OSError:
        return []  # it has ended, or belongs to another user
