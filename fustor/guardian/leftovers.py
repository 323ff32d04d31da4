"""
The processes of a guardian that was killed: waited for, then killed, before a new guardian starts anything.

Without this, two of a kind could run for a moment, and the old ones would still hold the listening ports. They exit by
themselves when their guardian is gone; the wait is for those that are slow to notice. (Taking them over instead would
begin here, too: what is recorded in table.json identifies them.)
"""

from __future__ import annotations

import json
import os
import select
import signal
import time

from fustor.guardian.process import born


def boot_id() -> str:
    """Identifies this boot of the kernel (random(4)); empty when it can't be told."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def recorded(table: bytes) -> list[tuple[int, int]]:
    """(pid, born) of the processes that run according to a table.json; none if it is unreadable or of another boot."""
    try:
        data = json.loads(table or b"{}")
        if data.get("boot") != boot_id():
            return []
        alive = [*data["slots"], *([data["control"]] if data["control"] else [])]
        return [(entry["pid"], entry["born"]) for entry in alive if not entry.get("exit")]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []  # not written by us: says nothing that could be trusted


def end(processes: list[tuple[int, int]], patience: float = 3.0) -> tuple[int, int]:
    """
    Wait up to ``patience`` seconds for the end of ``processes``, then kill them and wait as long once more.

    Returns:
        How many had to be killed, and how many are left even so.
    """
    open_fds = {}
    for pid, start in processes:
        try:
            fd = os.pidfd_open(pid)
        except OSError:
            continue  # gone
        # Looked at only now that the descriptor pins the process: the pid may be another's.
        if start and born(pid) == start:
            open_fds[fd] = pid
        else:
            os.close(fd)
    _wait(open_fds, patience)
    killed = len(open_fds)
    for fd in open_fds:
        try:
            signal.pidfd_send_signal(fd, signal.SIGKILL)
        except ProcessLookupError:
            continue
    _wait(open_fds, patience)
    left = len(open_fds)
    for fd in open_fds:
        os.close(fd)
    return killed, left


def _wait(open_fds: dict[int, int], seconds: float) -> None:
    """Wait until all have ended or ``seconds`` are over; those that ended are closed and taken out."""
    deadline = time.monotonic() + seconds
    poller = select.poll()
    for fd in open_fds:
        poller.register(fd, select.POLLIN)
    while open_fds and (remaining := deadline - time.monotonic()) > 0:
        for fd, _ in poller.poll(remaining * 1000):
            poller.unregister(fd)
            os.close(fd)
            del open_fds[fd]
