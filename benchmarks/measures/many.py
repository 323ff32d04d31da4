"""Directories drawn at random from the whole tree."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.bench import Bench, Measure
from benchmarks.errors import WrongAnswerError
from benchmarks.load import run_load
from benchmarks.measures.small import samples
from benchmarks.sample import Sample
from benchmarks.subjects.base import Subject


def run(subject: Subject, bench: Bench) -> Iterator[Sample]:
    """Each answer is checked once before; the load checks the status only."""
    web = subject.web
    assert web is not None
    targets = [web.target(path, max_depth=1) for path, _ in bench.tree.remembered]
    with web.connect() as connection:
        for target, (path, children) in zip(targets, bench.tree.remembered, strict=True):
            found = len(connection.node(target)["children"])
            if found != children:
                raise WrongAnswerError(f"{path}: {found} children, not {children}")
    load = run_load(web.address, targets, clients=16, seconds=bench.scale.load_seconds, headers=web.headers)
    yield from samples(load, f"16 clients, {load.tool}")


MEASURE = Measure(
    "many",
    "Random directories",
    "1,000 directories drawn at random from the whole tree (all of them, if there are fewer), with their direct "
    "children, in turn, 16 clients.",
    run,
    lambda subject: subject.http,
)
