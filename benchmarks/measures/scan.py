"""From the start of a system to everything being visible."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator

from benchmarks.bench import Bench, Measure
from benchmarks.errors import WrongAnswerError
from benchmarks.processes import cpu_seconds
from benchmarks.sample import Sample
from benchmarks.subjects.base import Subject
from benchmarks.subjects.fustor import Fustor

#: The fields of a node, for find.
_FIELDS = "%f %y %s %T@ %C@ %i %m %U %G %n %p\\n"
#: Trees up to this size are compared with the disk entry by entry.
_COMPARED = 200_000


def walk_with_find(root: str) -> tuple[float, int]:
    """Seconds and entries of ``find -printf``, the walk that needs no index; the root is not counted."""
    start = time.perf_counter()
    with subprocess.Popen(["find", root, "-mindepth", "1", "-printf", _FIELDS], stdout=subprocess.PIPE) as find:
        assert find.stdout is not None
        lines = 0
        while piece := find.stdout.read(1 << 20):
            lines += piece.count(b"\n")
    return time.perf_counter() - start, lines


def run(subject: Subject, bench: Bench) -> Iterator[Sample]:
    """Start it; it is left running."""
    if isinstance(subject, Fustor):
        walk_with_find(bench.tree.root)  # the first of all fills the caches that everybody finds full
        seconds, lines = walk_with_find(bench.tree.root)
        if lines != bench.tree.entries:
            raise WrongAnswerError(f"find: {lines} entries, not {bench.tree.entries}")
        yield Sample("complete", seconds, "s", "less", subject="find -printf")
        yield Sample("rate", lines / seconds, "entries/s", "more", subject="find -printf")
    start = time.perf_counter()
    subject.start(bench.tree, bench.shared)
    subject.wait_complete(bench.tree)
    seconds = time.perf_counter() - start
    used = {name: cpu_seconds(pid) for name, pid in subject.pids().items()}
    if isinstance(subject, Fustor) and bench.tree.entries <= _COMPARED:
        assert subject.cluster is not None
        difference = subject.cluster.difference()
        if difference:
            raise WrongAnswerError(f"the tree is not what is on the disk: {difference}")
    yield Sample("complete", seconds, "s", "less")
    yield Sample("rate", bench.tree.entries / seconds, "entries/s", "more")
    for name, spent in {**used, "all": sum(used.values())}.items():
        yield Sample("CPU", spent / bench.tree.entries * 1e6, "µs/entry", "less", case=name)


MEASURE = Measure(
    "scan",
    "Start to complete",
    "From the command that starts the system, with an empty state, until every entry is visible; the caches of "
    "the kernel are warm. Fustor: `fustor up --detach`, until `complete` is true and the counts are right (trees "
    "of up to 200,000 entries are then compared with the disk entry by entry). find: `find -printf` of the same "
    "fields, one process, nothing stored. CPU: of the process, starting Python included.",
    run,
    lambda subject: True,
    "starts",
)
