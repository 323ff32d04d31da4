"""Small questions while others read the whole tree."""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks import drain
from benchmarks.bench import Bench, Measure
from benchmarks.errors import WrongAnswerError
from benchmarks.sample import Sample, latencies
from benchmarks.subjects.base import Subject
from benchmarks.trees import SMALL, SMALL_FILES
from benchmarks.web import NODE

#: Readers of the whole tree.
_READERS = 2
_PATIENCE = 300.0


def run(subject: Subject, bench: Bench) -> Iterator[Sample]:
    """Ask until the time is over; the readers finish what they are reading."""
    web = subject.web
    assert web is not None
    small = web.target(SMALL, max_depth=1)
    with web.connect() as connection:
        expected = connection.download(web.target(""), count=False).size
        readers = [drain.start(web.address, web.target(""), web.headers) for _ in range(_READERS)]
        durations = []
        sizes: list[int] = []
        try:
            for reader in readers:  # each has read one before the clock starts: they are at it
                assert reader.stdout is not None
                sizes += [int(line) for line in reader.stdout.readline().split()]
            end = time.monotonic() + bench.scale.load_seconds
            while time.monotonic() < end:
                answer = connection.ask(small)
                if answer.status != 200 or answer.body.count(NODE) != SMALL_FILES + 1:
                    raise WrongAnswerError(f"{small}: {answer.status} {answer.body[:100]!r}")
                durations.append(answer.seconds)
                time.sleep(0.001)
        finally:
            for reader in readers:
                assert reader.stdin is not None
                reader.stdin.close()
            for reader in readers:
                assert reader.stdout is not None
                sizes += [int(line) for line in reader.stdout.read().split()]
                reader.stdout.close()
                reader.wait(_PATIENCE)
    if any(reader.returncode for reader in readers) or len(sizes) < 2 * _READERS:
        raise WrongAnswerError(f"the readers of the whole tree ended with {[one.returncode for one in readers]}")
    # Ages and times in the root node make answers differ by some bytes.
    if any(abs(size - expected) > 1000 for size in sizes):
        raise WrongAnswerError(f"whole trees of {sorted(set(sizes))} bytes, not {expected}")
    yield from latencies(durations)
    yield Sample("whole trees read meanwhile", float(len(sizes) - _READERS), "")


MEASURE = Measure(
    "meanwhile",
    "Small questions during two reads of the whole tree",
    "One client asks for a directory of 20 files every millisecond, while two others read the whole tree again "
    "and again. All share this machine's cores.",
    run,
    lambda subject: subject.http,
)
