"""The whole tree in one answer."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator

from benchmarks.bench import Bench, Measure
from benchmarks.errors import WrongAnswerError
from benchmarks.processes import Peak, anonymous_mib
from benchmarks.sample import Sample
from benchmarks.subjects.base import Subject
from benchmarks.subjects.fustor import Fustor
from benchmarks.subjects.nginx import Nginx
from benchmarks.subjects.watchman import Watchman
from benchmarks.web import Connection

#: A body that is larger is not given to nginx: it is kept in memory for that.
_MOST_BYTES = 1 << 30


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
            if isinstance(subject, Fustor) and shutil.which("nginx") and fast.size <= _MOST_BYTES:
                body = connection.ask(target).body
                with bench.state() as folder, Nginx(folder, body) as nginx, Connection(nginx.address, {}) as other:
                    static = other.download(nginx.target, count=False)
                yield Sample("time", static.seconds, "s", "less", subject="nginx, a static file")
                yield Sample(
                    "bytes", static.size / static.seconds / 1e6, "MB/s", "more", subject="nginx, a static file"
                )
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
    "in a second read. nginx: the same bytes as a static file. Watchman: one query over its unix socket, with ten "
    "fields. Memory: anonymous memory of all its processes over what it was before, during the second read and "
    "after it.",
    run,
    lambda subject: True,
)
