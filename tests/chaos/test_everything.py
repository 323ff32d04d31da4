"""
What kills do not reach, while the tree changes and is asked for: orders, configurations, links, full disks, damaged and
lost stores, guardians that stand still. Every answer is counted and every claim compared with a ledger.

With kills, and for as long as wanted: ``bin/bench chaos``.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.chaos.found import CHAOS, wrong
from benchmarks.chaos.ground import ground
from benchmarks.chaos.report import page
from benchmarks.chaos.run import LIMITS, Plan, run
from benchmarks.chaos.schedule import schedule
from benchmarks.trees import make_tree
from tests.support.cluster import Cluster

#: Signals are those of test_kills.
SIGNALS = {"kill", "stop"}


@pytest.mark.parametrize("seed", [1])
def test_whatever_is_done(tmp_path: Path, seed: int) -> None:
    tree = make_tree(str(tmp_path / "root"), 500, seed)
    with ground(tmp_path / "state", tree.entries) as on:
        steps = schedule(seed, 0, kinds=on.kinds - SIGNALS)
        cluster = Cluster(
            Path(tree.root),
            on.state,
            limits=LIMITS,
            fusion=LIMITS,
            way=on.links.control.port,
            data_way=on.links.data.port,
        )
        try:
            on.links.control.target, on.links.data.target = map(cluster.port, ("control", "data"))
            cluster.assert_right()
            plan = Plan(steps, seed, steady_seconds=0, steady_rate=0, rate=200, whole=False)
            found = run(cluster, tree, plan, tmp_path, links=on.links, room=on.room)
        finally:
            cluster.down()
    print(page(found, "chaos", [], ""))
    assert wrong(found) == []
    assert set(found.done) >= on.kinds - SIGNALS
    assert found.tallies[CHAOS].answers > 100
