"""The whole tree in one answer."""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks.bench import Bench, Measure
from benchmarks.errors import WrongAnswerError
from benchmarks.processes import Peak, anonymous_mib
from benchmarks.sample import Sample
from benchmarks.subjects.base import Subject
from benchmarks.subjects.watchman import Watchman


def run(subject: Subject, bench: Bench) -> Iterator[Sample]:
    """Read twice: once as fast as it comes, once counting, with an eye on the memory."""
    entries = bench.tree.entries
    before = anonymous_mib(subject.pids())
    if isinstance(subject, Watchman):
        start = time.perf_counter()
        body = subject.whole()
        seconds, size = time.perf_counter() - start, len(body)
        with Peak(subject.pids()) as peak:
            subject.whole()
        nodes = body.count(b'"ctime_ns":')
    else:
        assert subject.web is not None
        target = subject.web.target("")
        with subject.web.connect() as connection:
            fast = connection.download(target, count=False)
            with Peak(subject.pids()) as peak:
                counted = connection.download(target, count=True)
        seconds, size = fast.seconds, fast.size
        nodes = counted.nodes - 1
        yield Sample("first byte", fast.first * 1e3, "ms", "less")
    if nodes != entries:
        raise WrongAnswerError(f"the whole tree: {nodes} entries, not {entries}")
    yield Sample("time", seconds, "s", "less")
    yield Sample("entries", entries / seconds, "1/s", "more")
    yield Sample("bytes", size / seconds / 1e6, "MB/s", "more")
    yield Sample("size", size / 1e6, "MB")
    yield Sample("memory, at most more", max(0.0, peak.mib - before), "MiB", "less")
    yield Sample("memory, afterwards more", max(0.0, anonymous_mib(subject.pids()) - before), "MiB", "less")


MEASURE = Measure(
    "whole",
    "The whole tree",
    "One client reads everything in one answer without gzip, and throws it away; the number of entries is checked "
    "in a second read. Watchman: one query over its unix socket, with ten fields. Memory: anonymous memory of all "
    "its processes over what it was before, during the second read and after it.",
    run,
    lambda subject: True,
)
