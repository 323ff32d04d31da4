"""50,000 creates at once."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator

from benchmarks import writer
from benchmarks.bench import Bench, Measure
from benchmarks.measures.sustained import missing_after
from benchmarks.sample import Sample
from benchmarks.subjects.base import Subject


def run(subject: Subject, bench: Bench) -> Iterator[Sample]:
    """As fast as one process can."""
    count = bench.scale.burst
    with bench.scratch(subject) as folder:
        path = os.path.join(bench.tree.root, folder)
        start = time.perf_counter()
        text, _ = writer.start(path, count, 0).communicate(timeout=300)
        missing, _ = missing_after(subject, folder, count, bench.scale.settle_seconds)
        seconds = time.perf_counter() - start
        yield Sample("written in", json.loads(text)["seconds"], "s")
        yield Sample("lost", missing / count * 100, "%", "less")
        yield Sample("all visible after", seconds, "s", "less")
        yield Sample("rate", (count - missing) / seconds, "1/s", "more")


MEASURE = Measure(
    "burst",
    "A burst of 50,000 creates",
    "One process creates them in 100 directories as fast as it can; the clock runs from its start until all are "
    "visible, or until waiting is given up: then the rest is lost.",
    run,
    lambda subject: subject.http,
)
