"""Creates at a steady rate: are any lost, and how far behind is the tree in the end?"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator

from benchmarks import writer
from benchmarks.bench import Bench, Measure
from benchmarks.sample import Sample
from benchmarks.subjects.base import Subject


def missing_after(subject: Subject, folder: str, expected: int, patience: float) -> tuple[int, float]:
    """
    Wait until ``expected`` files are visible below ``folder``.

    Returns:
        How many never became visible within ``patience`` seconds, and how long the wait was.
    """
    start = time.perf_counter()
    while True:
        missing = expected - max(0, subject.files_below(folder))
        seconds = time.perf_counter() - start
        if missing <= 0 or seconds > patience:
            break
        time.sleep(0.02)
    # The cheap question may be a counter: what counts is what a client can list.
    if subject.web is not None:
        missing = expected - max(0, subject.web.files_listed(folder))
    return missing, seconds


def run(subject: Subject, bench: Bench) -> Iterator[Sample]:
    """Each rate for a while, lowest first."""
    for rate in bench.scale.rates:
        case = f"{rate:,} a second"
        with bench.scratch(subject) as folder:
            path = os.path.join(bench.tree.root, folder)
            count = round(rate * bench.scale.rate_seconds)
            text, _ = writer.start(path, count, rate).communicate(timeout=bench.scale.rate_seconds * 10 + 60)
            wrote = json.loads(text)
            missing, seconds = missing_after(subject, folder, count, bench.scale.settle_seconds)
        yield Sample("written", count / wrote["seconds"], "1/s", "more", case)
        yield Sample("lost", missing / count * 100, "%", "less", case)
        yield Sample("behind in the end", seconds, "s", "less", case)


MEASURE = Measure(
    "sustained",
    "Sustained creates",
    "Another process creates files in 100 directories at a steady rate. Lost: what does not become visible until "
    "long after the last one (20 s in quick runs, 30 to 60 s else). Behind: from the last create until all are "
    "visible.",
    run,
    lambda subject: subject.http,
)
