"""What a complete tree costs while nothing happens."""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks.bench import Bench, Measure
from benchmarks.processes import cpu_seconds, wakeups
from benchmarks.sample import Sample
from benchmarks.subjects.base import Subject

#: Seconds to get quiet in before.
_QUIET = 3.0


def run(subject: Subject, bench: Bench) -> Iterator[Sample]:
    """CPU time over a while, and how often processes were woken."""
    time.sleep(_QUIET)
    pids = subject.pids()
    before = {name: (cpu_seconds(pid), wakeups(pid)) for name, pid in pids.items()}
    start = time.perf_counter()
    time.sleep(bench.scale.idle_seconds)
    after = {name: (cpu_seconds(pid), wakeups(pid)) for name, pid in pids.items()}
    seconds = time.perf_counter() - start
    shares = {name: (after[name][0] - before[name][0]) / seconds * 100 for name in pids}
    woken = {name: (after[name][1] - before[name][1]) / seconds for name in pids}
    for name in pids:
        yield Sample("CPU", shares[name], "% of a core", "less", case=name)
        yield Sample("wakeups", woken[name], "1/s", "less", case=name)
    for side in ("fusion", "agent"):
        if f"{side} control" in shares:
            shell = shares[f"{side} control"] + shares[f"{side} guardian"]
            yield Sample("CPU", shell, "% of a core", "less", case=f"{side} shell")
    yield Sample("CPU", sum(shares.values()), "% of a core", "less", case="all")
    yield Sample("wakeups", sum(woken.values()), "1/s", "less", case="all")


MEASURE = Measure(
    "idle",
    "Nothing happens",
    "CPU time and voluntary context switches of each process while nobody asks and nothing changes. A shell is a "
    "guardian and its control actor.",
    run,
    lambda subject: True,
)
