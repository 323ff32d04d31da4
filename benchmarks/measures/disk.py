"""What an entry takes on the disk of the index."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.bench import Bench, Measure
from benchmarks.sample import Sample
from benchmarks.subjects.base import Subject
from benchmarks.subjects.fustor import Fustor


def run(subject: Subject, bench: Bench) -> Iterator[Sample]:
    """Blocks of the tree store; it is the only one here that keeps its tree on a disk."""
    assert isinstance(subject, Fustor)
    assert subject.cluster is not None
    files = [file.stat() for file in (subject.cluster.state / "fusion" / "views").glob("*/[ab]/*") if file.is_file()]
    yield Sample("store", sum(one.st_blocks * 512 for one in files) / bench.tree.entries, "bytes/entry", "less")


MEASURE = Measure(
    "disk",
    "Room on the disk",
    "Allocated blocks of the tree store after the first walk, free pages included. The peers keep their trees in "
    "memory.",
    run,
    lambda subject: isinstance(subject, Fustor),
)
