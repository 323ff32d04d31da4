"""
Processes that are not our children, held by a pidfd: the survivors of a guardian that was killed (pidfd_open(2)).

A pidfd pins the process, not its number, so nothing here can meet another process. What a parent learns from wait4 is
not to be had: the status comes from the kernel where it tells (Linux 6.15, or while the process is a zombie), and the
largest resident set and CPU time never do.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import signal
import socket
import struct

from fustor.guardian.process import born
from fustor.guardian.table import Exit

#: ioctl_pidfd(2): PIDFD_GET_INFO on the first version of struct pidfd_info, 64 bytes; its last field is the status.
_GET_INFO, _INFO_BYTES, _INFO_EXIT = 0xC040FF0B, 64, 1 << 3
#: pidfd_getfd(2); the number is the same on every architecture.
_SYS_PIDFD_GETFD = 438
#: Index of the exit status in proc_pid_stat(5), counted from the state on.
_STAT_STATE, _STAT_STATUS = 0, 49


def hold(pid: int, start: int) -> int:
    """
    A pidfd of the process that began at ``start`` (clock ticks since boot); -1 when it has ended.

    Raises:
        OSError: we have no descriptors left.
    """
    try:
        fd = os.pidfd_open(pid)
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
            raise
        return -1  # nobody has this number, or a thread has it by now
    # Looked at only now that the descriptor pins the process: the pid may be another's.
    if start and born(pid) == start:
        return fd
    os.close(fd)
    return -1


def send(fd: int, number: int) -> bool:
    """Signal it; True also when it has ended, False when it runs under another user id, so that we may not."""
    try:
        signal.pidfd_send_signal(fd, number)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return True


def end(pid: int, start: int) -> None:
    """
    Kill the process that began at ``start``, if it is there.

    Raises:
        OSError: we have no descriptors left.
    """
    fd = hold(pid, start)
    if fd >= 0:
        send(fd, signal.SIGKILL)
        os.close(fd)


def status(fd: int, pid: int, start: int) -> Exit:
    """How the process ended; to be asked once its pidfd is readable."""
    told = _told(fd)
    if told is None:
        told = _of_zombie(pid, start)
    if told is None:  # reaped between the two looks
        told = _told(fd)
    if told is None:
        return Exit(0, 0, 0, 0.0, known=False)
    code = os.waitstatus_to_exitcode(told)
    return Exit(max(code, 0), max(-code, 0), 0, 0.0)


def listening_socket(fd: int, pid: int, name: str) -> socket.socket | None:
    """
    The listening socket that a process was started with as ``name``, taken out of it without its help (pidfd_getfd(2)).

    Returns:
        None when it was given none, has closed it, or we may not: it takes the right to trace.
    """
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            for variable in file.read(1 << 20).split(b"\0"):
                if variable.startswith(b"FUSTOR_FDS="):
                    number = json.loads(variable[11:])[name]
                    break
            else:
                return None
        taken = ctypes.CDLL(None, use_errno=True).syscall(_SYS_PIDFD_GETFD, fd, number, 0)
        if taken < 0:
            return None
        sock = socket.socket(fileno=taken)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return sock


def _told(fd: int) -> int | None:
    info = bytearray(_INFO_BYTES)
    struct.pack_into("Q", info, 0, _INFO_EXIT)
    try:
        fcntl.ioctl(fd, _GET_INFO, info)
    except OSError:
        return None  # an older kernel
    mask, code = struct.unpack_from("Q", info)[0], struct.unpack_from("i", info, _INFO_BYTES - 4)[0]
    return int(code) if mask & _INFO_EXIT else None


def _of_zombie(pid: int, start: int) -> int | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    same = int(fields[19]) == start
    return int(fields[_STAT_STATUS]) if same and fields[_STAT_STATE] == b"Z" else None
