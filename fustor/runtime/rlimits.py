"""
Limits that the kernel holds for a process, set from outside: prlimit(2), setpriority(2), oom_score_adj.

They need no privilege as long as they only take away. What this module does not do: measure, or judge what a process
uses (:mod:`protocols.limits`).
"""

from __future__ import annotations

import os
import resource

from protocols.limits import ProcessLimits

#: proc_pid_oom_score_adj(5): of the shell. Payloads have 500 from the guardian: the kernel takes those first.
SHELL_SCORE = -500
#: nice(2) of the control actor where it may: else its orders wait while payloads start, with 0.3 s of CPU each.
SHELL_NICE = -10


def impose(pid: int, limits: ProcessLimits) -> str:
    """
    Set the limits of a running process.

    A core file would be as big as the store's map, so none is written. Only soft limits are set: they can be raised
    again, and a successor of the guardian that the process starts (``fustor.runtime.rejoin``) can shed them.

    Returns:
        What could not be set, and why; empty when all is well, or the process is gone.
    """
    faults: list[str] = []
    wanted = (
        ("RLIMIT_DATA", resource.RLIMIT_DATA, limits.data_bytes),
        ("RLIMIT_NOFILE", resource.RLIMIT_NOFILE, limits.open_files),
        ("RLIMIT_CORE", resource.RLIMIT_CORE, 0),
    )
    for name, number, value in wanted:
        try:
            hard = resource.prlimit(pid, number)[1]
            value = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.prlimit(pid, number, (value, hard))
        except ProcessLookupError:
            return ""
        except OSError as error:
            faults.append(f"{name}: {error.strerror}")
    if limits.nice:
        try:
            _renice(pid, limits.nice)
        except ProcessLookupError:
            return ""
        except OSError as error:
            faults.append(f"nice: {error.strerror}")
    return ", ".join(faults)


def _renice(pid: int, nice: int) -> None:
    """Of every thread: a priority belongs to a thread, and later ones inherit it."""
    try:
        threads = [int(name) for name in os.listdir(f"/proc/{pid}/task")]
    except FileNotFoundError:
        return
    for thread in threads:
        if os.getpriority(os.PRIO_PROCESS, thread) < nice:
            os.setpriority(os.PRIO_PROCESS, thread, nice)
    # Where sessions are scheduled as groups (sched(7), autogroup) a thread's own value counts within its session only.
    _write(f"/proc/{pid}/autogroup", str(nice))


def raise_descriptor_limit() -> int:
    """Let this process have as many descriptors as it may (``RLIMIT_NOFILE``, soft to hard); returns how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def protect(*pids: int) -> None:
    """Make these the last that the kernel kills for want of memory, or at least not the first."""
    for pid in pids:
        path = f"/proc/{pid}/oom_score_adj"
        for score in (SHELL_SCORE, 0):
            # Whoever started us may have chosen a lower one.
            if _score(path) > score:
                _write(path, str(score))


def hurry() -> None:
    """Let this process, all threads that it will have, go before others of its host. Needs CAP_SYS_NICE."""
    try:
        if os.getpriority(os.PRIO_PROCESS, 0) > SHELL_NICE:
            os.setpriority(os.PRIO_PROCESS, 0, SHELL_NICE)
    except OSError:
        return  # not ours to choose
    # See _renice.
    _write("/proc/self/autogroup", str(SHELL_NICE))


def _score(path: str) -> int:
    try:
        with open(path, encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return SHELL_SCORE  # nothing to be done


def _write(path: str, text: str) -> None:
    try:
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
    except OSError:
        return  # not there, or not ours to change: the kernel's own choice holds
