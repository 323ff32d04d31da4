"""Directories drawn at random from the whole tree: asked again and again, and each question for the first time."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.bench import Bench, Measure
from benchmarks.errors import WrongAnswerError
from benchmarks.load import run_load
from benchmarks.measures.small import cpu_sample, samples, worker_pids
from benchmarks.processes import cpu_seconds
from benchmarks.sample import Sample
from benchmarks.subjects.base import Subject

_CLIENTS = 16
#: Different questions about each directory: more than any cache of questions or answers holds.
_DEPTHS = 50


def run(subject: Subject, bench: Bench) -> Iterator[Sample]:
    """Each answer is checked once before; the load checks the status only."""
    web = subject.web
    assert web is not None
    targets = []
    leaves = []
    with web.connect() as connection:
        for path, children in bench.tree.remembered:
            target = web.target(path, max_depth=1)
            found = connection.node(target)["children"]
            if len(found) != children:
                raise WrongAnswerError(f"{path}: {len(found)} children, not {children}")
            targets.append(target)
            if all(child["content_type"] != "directory" for child in found):
                leaves.append(path)
    # Of a directory without directories, the answer is the same whatever the depth.
    fresh = [web.target(path, max_depth=2 + depth) for depth in range(_DEPTHS) for path in leaves]
    workers = worker_pids(subject)
    for asked, case in ((targets, "asked again"), (fresh, "asked once")):
        before = sum(map(cpu_seconds, workers))
        load = run_load(web.address, asked, clients=_CLIENTS, seconds=bench.scale.load_seconds, headers=web.headers)
        case = f"{case}, {_CLIENTS} clients, {load.tool}"
        yield from samples(load, case)
        if workers:
            yield cpu_sample(sum(map(cpu_seconds, workers)) - before, load, case)


MEASURE = Measure(
    "many",
    "Random directories",
    "1,000 directories drawn at random from the whole tree (all of them, if there are fewer), with their direct "
    "children, in turn. Asked once: those that have files only, each with 50 different depths, so that no question "
    "comes again before all others and no answer can have been kept.",
    run,
    lambda subject: subject.http,
)
