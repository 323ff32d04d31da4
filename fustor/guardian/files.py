"""
The files in the run folder, the working directory: guardian.lock, guardian.pid, table.json, stopping, successor.lock,
and sockets of others.

The lock is flock(2) on guardian.lock: gone with the process however it ends. The file itself stays, or two guardians
could hold locks on different files of that name. All else is written by rename, so a reader sees the old or the new
content; nothing is synced, for it means nothing after a reboot.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat

from fustor.guardian.errors import StartError

LOCK = "guardian.lock"
PID = "guardian.pid"
TABLE = "table.json"
#: Exists while everything is being stopped: nobody may start a successor then.
STOPPING = "stopping"
#: Held by the survivor that starts a successor.
SUCCESSOR_LOCK = "successor.lock"


def lock() -> int:
    """
    Become the only guardian of this run folder.

    Returns:
        The descriptor that holds the lock.

    Raises:
        StartError: another one is running (exit code 100), or the folder can't be written (1).
    """
    while True:
        try:
            fd = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise StartError(f"already running (pid {_pid_of_holder()}) in {os.getcwd()}", 100) from None
        except OSError as error:
            raise StartError(f"{os.path.abspath(LOCK)}: {error.strerror}; make the run folder writable", 1) from None
        if _is_current(fd):
            return fd
        # Somebody removed the file between our open and flock: what we hold excludes nobody.
        os.close(fd)


def write(name: str, content: bytes) -> None:
    """
    Replace a file.

    Raises:
        OSError: it can't be written; the old content is still there.
    """
    temporary = name + ".tmp"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        done = os.write(fd, content)
    finally:
        os.close(fd)
    if done != len(content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), temporary)
    os.rename(temporary, name)


def read(name: str) -> bytes:
    """The content of a file; empty when there is none."""
    try:
        with open(name, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return b""


def is_stopping() -> bool:
    """Everything here is being stopped."""
    return os.path.exists(STOPPING)


def say_stopping() -> None:
    """
    Tell so, to those who would start a successor if this guardian were killed while it stops.

    Raises:
        OSError: the folder can't be written.
    """
    os.close(os.open(STOPPING, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))


def unsay_stopping() -> None:
    """A start by somebody who wants it: what was being stopped before means nothing any more."""
    _remove(STOPPING)


def sweep() -> None:
    """
    Remove our files, except the lock, and all sockets. Only for the holder of the lock, while no child runs.

    Raises:
        OSError: the folder can't be read or written.
    """
    # Whoever looks for the word that everything is being stopped, and then for the table, finds the word or no table.
    for name in (PID, TABLE, TABLE + ".tmp", PID + ".tmp", STOPPING, SUCCESSOR_LOCK):
        _remove(name)
    for name in os.listdir("."):
        try:
            if stat.S_ISSOCK(os.lstat(name).st_mode):
                _remove(name)
        except FileNotFoundError:
            continue


def _remove(name: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name)


def _is_current(fd: int) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(LOCK))
    except FileNotFoundError:
        return False


def _pid_of_holder() -> str:
    return read(PID).decode("ascii", "replace").strip() or "unknown"
