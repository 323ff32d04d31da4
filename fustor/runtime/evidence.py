"""
What can be found out about a process that is not well, as text: /proc, its last log lines, the stacks it writes.

Stacks come from the process itself: it writes them to its log at SIGUSR1, and at SIGABRT while it dies
(``fustor.runtime.actor``). What this module does not do: signal anybody, or read what may wait for the process.
"""

from __future__ import annotations

import os

import trio

#: Bytes read of one file of /proc.
_PROC_BYTES = 8 << 10
#: Files below /proc/PID that never wait for the process.
_PROC = ("stat", "status", "wchan", "syscall", "limits", "io", "schedstat")
#: What faulthandler writes above the frames of a thread.
_STACK = "(most recent call first)"
#: How often a log is looked at while stacks are awaited, seconds.
_LOOK_SECONDS = 0.02


def proc_facts(pid: int) -> str:
    """The state of a process and of its threads; what may not be read is left out."""
    parts = []
    for name in _PROC:
        text = _read(f"/proc/{pid}/{name}")
        if text:
            parts.append(f"== /proc/{pid}/{name}\n{text}")
    try:
        threads = sorted(os.listdir(f"/proc/{pid}/task"), key=int)[:64]
    except OSError:
        threads = []
    for thread in threads:
        stat = _read(f"/proc/{pid}/task/{thread}/stat")
        name, code = stat[stat.find("(") + 1 : stat.rfind(")")], stat[stat.rfind(")") + 2 :][:1]
        parts.append(f"thread {thread} {name} {code} {_read(f'/proc/{pid}/task/{thread}/wchan')}")
    return "\n".join(parts)


def tail(path: str, most: int, *, since: int = 0) -> str:
    """The end of a file, at most ``most`` bytes and from ``since`` on; empty when it can't be read."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            # It was emptied meanwhile: everything in it is later.
            file.seek(max(0 if since > size else since, size - most))
            return file.read(most).decode("utf-8", "replace")
    except OSError:
        return ""


def last_lines(path: str, lines: int, most: int = 256 << 10) -> str:
    """The last lines of a file."""
    return "\n".join(tail(path, most).splitlines()[-lines:])


def size_of(path: str) -> int:
    """Size of a file in bytes; 0 when there is none."""
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


async def stacks(path: str, since: int, seconds: float, most: int = 256 << 10) -> str:
    """
    The stacks that are written to the log ``path`` beyond ``since``, with whatever else is.

    Waits until they are there and the log stands still, for at most ``seconds``; empty when they did not come.
    """
    before = since
    with trio.move_on_after(seconds):
        while True:
            now = size_of(path)
            if now == before and now != since:
                text = tail(path, most, since=since)
                if _STACK in text:
                    return text
            before = now
            await trio.sleep(_LOOK_SECONDS)
    text = tail(path, most, since=since)
    return text if _STACK in text else ""


def _read(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return file.read(_PROC_BYTES).decode("utf-8", "replace").rstrip("\n")
    except OSError:
        return ""
