"""How soon after `fustor up` the directory is shown."""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks.bench import Bench, Measure
from benchmarks.errors import WrongAnswerError
from benchmarks.sample import Sample
from benchmarks.subjects.base import Subject
from benchmarks.subjects.fustor import Fustor
from benchmarks.web import until


def run(subject: Subject, bench: Bench) -> Iterator[Sample]:
    """With an empty state, again with what the first run left."""
    assert isinstance(subject, Fustor)
    with bench.state() as folder:
        for case in ("new", "again"):
            start = time.perf_counter()
            try:
                subject.start(bench.tree, folder)
                answered = time.perf_counter() - start
                assert subject.web is not None
                with subject.web.connect() as connection:
                    target = subject.web.target("", max_depth=1)
                    children = until(lambda: connection.node(target).get("children"), "children", 60, 0.002)  # noqa: B023
                shown = time.perf_counter() - start
                if len(children) != bench.tree.top:
                    raise WrongAnswerError(f"the root: {len(children)} children, not {bench.tree.top}")
                yield Sample("first answer", answered, "s", "less", case)
                yield Sample("children listed", shown, "s", "less", case)
                subject.wait_complete(bench.tree)
            finally:
                subject.stop()


MEASURE = Measure(
    "up",
    "`fustor up` to the first listing",
    "From the start of the command to its end, which is the first answer, and to the first answer that lists the "
    "children of the directory. New: with an empty state folder. Again: after `fustor down`, with the tree of "
    "before in the store.",
    run,
    lambda subject: isinstance(subject, Fustor),
    "own",
)
