"""CPU time and memory of running processes, from /proc (proc(5))."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from types import TracebackType

import attrs


def cpu_seconds(pid: int) -> float:
    """CPU time of all threads that live, from their schedstat: nanoseconds, where ``stat`` has ticks of 10 ms."""
    total = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{thread}/schedstat") as file:
                total += int(file.read().split()[0])
        except (FileNotFoundError, ProcessLookupError):
            continue  # the thread ended meanwhile
    return total / 1e9


def wakeups(pid: int) -> int:
    """Voluntary context switches of all threads that live: how often it was woken for something."""
    total = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{thread}/status") as file:
                lines = file.read().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += next(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))
    return total


@attrs.frozen
class Memory:
    """
    All in MiB.

    Attributes:
        pss: shared pages divided among those who share them.
        uss: private pages; pages of a mapped file that nobody else maps right now are among them.
        anonymous: what the kernel can't just drop and read again: heap and stacks.
    """

    pss: float
    uss: float
    anonymous: float


def memory(pid: int) -> Memory:
    """Memory of one process now."""
    with open(f"/proc/{pid}/smaps_rollup") as file:
        sizes = {line.split(":")[0]: int(line.split()[1]) for line in file.read().splitlines()[1:]}
    private = sizes["Private_Clean"] + sizes["Private_Dirty"] + sizes.get("Private_Hugetlb", 0)
    return Memory(sizes["Pss"] / 1024, private / 1024, sizes["Anonymous"] / 1024)


def anonymous_mib(pids: Mapping[str, int]) -> float:
    """Heap and stacks of all of them together, MiB."""
    return sum(memory(pid).anonymous for pid in pids.values())


class Peak:
    """
    The highest :func:`anonymous_mib` while something is done, as a context manager. Looks 20 times a second.

    Attributes:
        mib: the highest seen.
    """

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._pids = pids
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.mib = 0.0

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            self.mib = max(self.mib, anonymous_mib(self._pids))
            if self._ended.wait(0.05):
                return
