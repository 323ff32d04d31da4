"""What machine a figure was taken on, and how busy it was with other things."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import time
from typing import Any

#: Libraries whose version a figure may depend on.
_LIBRARIES = ("pyzmq", "trio", "lmdb", "zstandard", "msgpack", "msgspec", "httptools", "inotify-simple")


def machine(folder: str) -> dict[str, Any]:
    """
    Processor, cores, memory, kernel, file system of ``folder``, limits, Python and libraries, as plain data.
    """
    pages, page = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(pages * page / 2**30, 1),
        "kernel": platform.release(),
        "file_system": file_system(folder),
        "max_user_watches": int(_read("/proc/sys/fs/inotify/max_user_watches")),
        "python": platform.python_version(),
        "libraries": {name: importlib.metadata.version(name) for name in _LIBRARIES},
        "load_1m_before": round(os.getloadavg()[0], 2),
    }


def file_system(folder: str) -> str:
    """Type of the file system that ``folder`` is on."""
    done = subprocess.run(["stat", "--file-system", "--format=%T", folder], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def busy_share(seconds: float) -> float:
    """
    Share of all cores' time that was in use for the next ``seconds``, time stolen by the hypervisor included.

    Taken while nothing of ours runs, this is what others use.
    """
    before = _ticks()
    time.sleep(seconds)
    after = _ticks()
    spent = [b - a for a, b in zip(before, after, strict=True)]
    idle = spent[3] + spent[4]
    return 1 - idle / max(1, sum(spent))


def _ticks() -> list[int]:
    """user, nice, system, idle, iowait, irq, softirq, steal of all cores: proc(5). Guest time is part of user."""
    return [int(field) for field in _read("/proc/stat").splitlines()[0].split()[1:9]]


def _processor() -> str:
    for line in _read("/proc/cpuinfo").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _read(path: str) -> str:
    with open(path) as file:
        return file.read()
