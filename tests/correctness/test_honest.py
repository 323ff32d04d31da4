"""Under steady change: almost every answer is live, and none claims what it does not contain."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.cluster import Cluster, Poller, until
from tests.support.writers import Ledger, lies


def test_a_thousand_events_a_second(cluster: Cluster, place: Path) -> None:
    path = os.fsencode(f"/{place.name}")
    cluster.assert_right()
    ledger = Ledger(place, 10.0, 1_000)
    until(lambda: any(place.iterdir()), "the first change")
    with Poller(cluster, path, pause=0.01) as poller:
        changes = ledger.changes()
        during = len(poller.answers)
        cluster.assert_right()
    assert during > 50
    states = list(poller.states())
    assert states.count("live") >= 0.999 * len(states), {state: states.count(state) for state in states}
    claims = [answer["as_of"] for answer in poller.answers[:during]]
    # That they claim something new each time is what makes the check below worth anything.
    assert len(set(claims)) > during // 4
    assert claims[-1] * 1e9 > changes[len(changes) // 2].after
    for answer, received in zip(poller.answers, poller.received, strict=True):
        files = {node["name"]: node["size"] for node in answer.get("children", ())}
        assert not (found := lies(changes, answer["as_of"], received, files)), (answer["as_of"], found[:5])
