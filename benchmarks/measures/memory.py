"""Memory of every process once the tree is complete."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.bench import Bench, Measure
from benchmarks.processes import memory
from benchmarks.sample import Sample
from benchmarks.subjects.base import Subject


def run(subject: Subject, bench: Bench) -> Iterator[Sample]:
    """One look at each process."""
    found = {name: memory(pid) for name, pid in subject.pids().items()}
    for name, one in found.items():
        yield Sample("PSS", one.pss, "MiB", "less", case=name)
        yield Sample("USS", one.uss, "MiB", "less", case=name)
        yield Sample("anonymous", one.anonymous, "MiB", "less", case=name)
    yield Sample("PSS", sum(one.pss for one in found.values()), "MiB", "less", case="all")
    yield Sample("USS", sum(one.uss for one in found.values()), "MiB", "less", case="all")
    anonymous = sum(one.anonymous for one in found.values())
    yield Sample("anonymous", anonymous, "MiB", "less", case="all")
    yield Sample("anonymous", anonymous * 2**20 / bench.tree.entries, "bytes/entry", "less", case="all, by entry")


MEASURE = Measure(
    "memory",
    "Memory",
    "Of each process when the tree is complete, before it is asked for much. PSS: shared pages divided among "
    "those who share them. USS: pages that only this process has; pages of the store that nobody else maps at "
    "that moment are among them, though the kernel can drop them at will. Anonymous: heap and stacks, what can't "
    "be dropped.",
    run,
    lambda subject: True,
)
