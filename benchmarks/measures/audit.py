"""The fast pass over a tree in which nothing changed."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator

from actors.watcher.limits import WatcherLimits
from benchmarks.bench import Bench, Measure
from benchmarks.errors import WrongAnswerError
from benchmarks.processes import cpu_seconds
from benchmarks.sample import Sample
from benchmarks.subjects.base import Subject
from benchmarks.subjects.fustor import Fustor

#: Directories a second that the pass may look at: no limit.
_UNLIMITED = 1_000_000
#: Seconds between looks at the CPU time of the scanners, and of quiet after which a pass is over.
_LOOK, _QUIET = 0.005, 0.5
#: CPU seconds of the scanners between two looks above which they work on it.
_AT_WORK = 0.001
#: CPU seconds that the scanners need for a directory, at the very least.
_LEAST = 1e-6


def run(subject: Subject, bench: Bench) -> Iterator[Sample]:
    """Watch the scanners' CPU time until a pass comes by."""
    assert isinstance(subject, Fustor)
    start = time.perf_counter()
    subprocess.run(["find", bench.tree.root], stdout=subprocess.DEVNULL, check=True)
    yield Sample("time", time.perf_counter() - start, "s", "less", subject="find, names only")
    period = 6 + bench.tree.entries / 30_000
    with bench.state() as folder:
        try:
            subject.start_with(
                bench.tree,
                folder,
                source=f"fast_audit_seconds = {period}",
                limits=f"[limits.watcher]\naudit_dirs_per_second = {_UNLIMITED}",
            )
            subject.wait_complete(bench.tree)
            looked = _works(subject)
            least = bench.tree.directories // WatcherLimits().dirs_per_work
            seconds, used = _next_pass(subject, period * 3, bench.tree.directories * _LEAST)
            if (done := _works(subject, looked + least) - looked) < least:
                raise WrongAnswerError(f"the scanners had {done} works, a pass is {least} or more")
        finally:
            subject.stop()
    yield Sample("time", seconds, "s", "less")
    for name, spent in {**used, "all": sum(used.values())}.items():
        yield Sample("CPU", spent / (bench.tree.directories + 1) * 1e6, "µs/directory", "less", case=name)


def _next_pass(subject: Fustor, patience: float, least: float) -> tuple[float, dict[str, float]]:
    """
    Seconds and CPU seconds by process of the next stretch in which the scanners work.

    Args:
        patience: seconds that may pass before.
        least: CPU seconds of the scanners; a shorter stretch is something else, such as a second look at what changed
            while it was first listed.
    """
    pids = subject.pids()
    scanners = [pid for name, pid in pids.items() if name.startswith("scanner.")]
    deadline = time.monotonic() + patience
    total = sum(map(cpu_seconds, scanners))
    before: dict[str, float] = {}
    began = last = at_start = 0.0
    while True:
        kept = {name: cpu_seconds(pid) for name, pid in pids.items()}
        time.sleep(_LOOK)
        now, previous = time.monotonic(), total
        total = sum(map(cpu_seconds, scanners))
        if total - previous > _AT_WORK:
            if not began:
                began, before, at_start = now, kept, previous
            last = now
        elif began and now - last > _QUIET and total - at_start < least:
            began = 0.0
        elif began and now - last > _QUIET:
            return last - began + _LOOK, {name: cpu_seconds(pid) - before[name] for name, pid in pids.items()}
        if now > deadline:
            raise WrongAnswerError(f"no audit within {patience:g} s")


def _works(subject: Fustor, least: int = 0) -> int:
    """Work messages that the scanners have done; waits a little for ``least``, since they are reported now and then."""
    assert subject.cluster is not None
    deadline = time.monotonic() + 10
    while True:
        status = subject.cluster.status()["status"]
        found = sum(
            payload["counters"]["works"]
            for agent in status["agents"]
            for payload in agent["payloads"]
            if payload["name"].startswith("scanner.") and payload["counters"]
        )
        if found >= least or time.monotonic() > deadline:
            return int(found)
        time.sleep(0.2)


MEASURE = Measure(
    "audit",
    "Audit of an unchanged tree",
    "The fast pass, which looks at the times of every directory. The one measure with settings of its own: the "
    "pass comes after seconds instead of ten minutes, and may look at directories as fast as it can (2,000 a "
    "second as shipped). Time: the stretch in which the scanners use CPU, to 5 ms. CPU: of that stretch and half "
    "a second of quiet behind it. find: a walk that prints names.",
    run,
    lambda subject: isinstance(subject, Fustor),
    "own",
)
