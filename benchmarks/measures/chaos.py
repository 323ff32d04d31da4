"""Everything is hit while the tree changes and is asked for: what answers are worth then."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack

from benchmarks.bench import Bench, Measure
from benchmarks.chaos.found import samples, wrong
from benchmarks.chaos.ground import ground
from benchmarks.chaos.report import page, picture
from benchmarks.chaos.run import LIMITS, Plan
from benchmarks.chaos.run import run as play
from benchmarks.chaos.schedule import schedule
from benchmarks.errors import WrongAnswerError
from benchmarks.sample import Sample
from benchmarks.subjects.base import Subject
from benchmarks.subjects.fustor import Fustor

#: Changes a second before the chaos, and during it; and how much longer than other loads the first is.
_STEADY_RATE, _RATE, _LONGER = 1000.0, 300.0, 4.0


def run(subject: Subject, bench: Bench) -> Iterator[Sample]:
    """One run, its report, and what was wrong."""
    assert isinstance(subject, Fustor)
    with ExitStack() as stack:
        folder = stack.enter_context(bench.state())
        on = stack.enter_context(ground(folder / "state", bench.tree.entries))
        stack.callback(subject.stop)
        control, data = on.links.control, on.links.data
        subject.start_with(bench.tree, folder, limits=LIMITS, fusion=LIMITS, way=control.port, data_way=data.port)
        assert subject.cluster is not None
        control.target, data.target = map(subject.cluster.port, ("control", "data"))
        subject.wait_complete(bench.tree)
        steps = schedule(bench.seed, bench.scale.kills, kinds=on.kinds)
        plan = Plan(steps, bench.seed, bench.scale.rate_seconds * _LONGER, steady_rate=_STEADY_RATE, rate=_RATE)
        load = os.getloadavg()[0]
        found = play(subject.cluster, bench.tree, plan, folder, links=on.links, room=on.room)
        subject.stop()
    title = f"Chaos, {bench.tree.files:,} files, seed {bench.seed}"
    conditions = [
        f"{len(steps)} steps; load average {load:.1f} before, {os.getloadavg()[0]:.1f} after.",
        f"Not as shipped: {', '.join(LIMITS.strip().splitlines())}.",
        *(f"{one[0].upper()}{one[1:]}." for one in on.missing),
    ]
    image = bench.report("chaos.svg", picture(found, title))
    bench.report("chaos.md", page(found, title, conditions, image))
    yield from samples(found)
    if said := wrong(found):
        raise WrongAnswerError("; ".join(said))


MEASURE = Measure(
    "chaos",
    "Chaos",
    "Pollers ask 20 times a second each for the root and for directories that change, others read on kept connections "
    "and the whole tree, and two writers change the tree, while a seeded schedule kills every kind of process alone, "
    "in pairs and all but one of a side, stops them (SIGSTOP) for Fustor to find, orders restarts and drains, pushes "
    "configurations, renews guardians, cuts and silences both links, fills the disk of the store, and replaces the "
    "store by rubbish or removes it. Nobody but Fustor starts anything again. A GET that failed is sent once more. "
    "Live: of the answers before the chaos, at 1,000 changes a second. Latency: from sending until the last byte, the "
    "second attempt included; connections that a stopped worker had are counted apart. A claim: a listing with "
    "`as_of`, compared with a writer's ledger. Then nothing changes any more, and the tree is compared with the disk "
    "at the moment when it claims to contain everything. In the end each side is killed whole and started by "
    "`fustor up`.",
    run,
    lambda subject: isinstance(subject, Fustor),
    "own",
)
