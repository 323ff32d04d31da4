"""From a change to the answer that shows it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from benchmarks import writer
from benchmarks.bench import Bench, Measure
from benchmarks.sample import Sample, latencies
from benchmarks.subjects.base import Looker, Subject
from benchmarks.subjects.watchman import Watchman
from benchmarks.trees import SCRATCH_LOOKED
from benchmarks.visible import seconds_until

#: Creates a second beside the ones that are measured.
_BESIDE = 1000


def _one_by_one(
    bench: Bench, look: Looker, folder: str, ended: Callable[[], int | None] = lambda: None
) -> tuple[list[float], list[float]]:
    """Seconds of each creation and removal; fewer of them when what happens beside has ended."""
    created: list[float] = []
    removed: list[float] = []
    for number in range(bench.scale.looks):
        path = f"{folder}/{SCRATCH_LOOKED}/look {number}"
        file = os.path.join(bench.tree.root, path)
        os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        created.append(seconds_until(look, path, True, bench.scale.settle_seconds))
        os.unlink(file)
        removed.append(seconds_until(look, path, False, bench.scale.settle_seconds))
        if ended() is not None:
            break
    return created, removed


def run(subject: Subject, bench: Bench) -> Iterator[Sample]:
    """One file after the other, created and removed again: on a quiet system, then on a busy one."""
    with bench.scratch(subject) as folder, subject.looker() as look:
        created, removed = _one_by_one(bench, look, folder)
        yield from latencies(created, case="create, idle")
        yield from latencies(removed, case="delete, idle")
    if isinstance(subject, Watchman):
        return
    with bench.scratch(subject) as folder, subject.looker() as look:
        path = os.path.join(bench.tree.root, folder)
        beside = writer.start(path, round(_BESIDE * bench.scale.rate_seconds * 4), _BESIDE)
        try:
            created, removed = _one_by_one(bench, look, folder, beside.poll)
        finally:
            beside.terminate()
            beside.communicate()
        yield from latencies(created, case=f"create, {_BESIDE:,} others a second")
        yield from latencies(removed, case=f"delete, {_BESIDE:,} others a second")


MEASURE = Measure(
    "events",
    "Event to visible",
    "A file is created, and the clock runs from the return of that system call to the end of the first answer "
    "that has it (asked for every 0.5 ms on one connection); then the same for its removal. Fustor and its "
    "predecessor over HTTP, Watchman with a synchronised query. Busy: meanwhile another process creates 1,000 "
    "files a second elsewhere in the tree.",
    run,
    lambda subject: True,
)
