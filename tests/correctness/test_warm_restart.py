"""
A watcher that is stopped, by an order or for another program, leaves what it knows to the next one: nothing is looked
at again, the tree is never being built, and no answer claims what it lacks.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster import Cluster, Poller, until
from tests.support.programs import made, push, trust, upgradable, version
from tests.support.writers import Ledger, lies

LIMITS = """
[limits.probation]
probation_seconds = 1.0
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with upgradable(tmp_path_factory.mktemp("cluster"), limits=LIMITS) as made:
        trust(made, "agent", made.state.parent / "release.key")
        yield made


def watcher(cluster: Cluster) -> dict[str, Any]:
    found = [one for one in cluster.agent().get("payloads", ()) if one["name"] == "watcher.data"]
    return found[0] if found and found[0]["state"] == "running" else {}


def restarted(cluster: Cluster, place: str, how: Callable[[], object]) -> tuple[dict[str, Any], Poller]:
    """The watcher that follows, and what was answered, while a ledger is kept in a folder that is new."""
    folder = Path(cluster.root) / place
    folder.mkdir()
    cluster.assert_right()
    before = until(lambda: watcher(cluster), "a watcher")
    with Poller(cluster, os.fsencode(f"/{place}")) as poller:
        until(lambda: poller.answers and poller.answers[-1]["state"] == "live", "a live answer")
        ledger = Ledger(folder, 3.0, 300)
        until(lambda: any(folder.iterdir()), "the first change")
        how()
        after = until(lambda: (found := watcher(cluster)) and found["pid"] != before["pid"] and found, "the next one")
        changes = ledger.changes()
        cluster.assert_right()
        last = changes[-1].after
        until(lambda: (poller.answers[-1]["as_of"] or 0) * 1e9 > last, "an answer that claims to contain all changes")
    for answer, received in zip(poller.answers, poller.received, strict=True):
        if answer["as_of"] is not None and "children" in answer:
            sizes = {node["name"]: node["size"] for node in answer["children"] if node["content_type"] == "file"}
            assert not (found := lies(changes, answer["as_of"], received, sizes)), (answer["as_of"], found[:5])
    return {**after, "before": before}, poller


def assert_warm(cluster: Cluster, after: dict[str, Any], poller: Poller) -> None:
    assert after["facts"]["epoch"] == after["before"]["facts"]["epoch"], cluster.logs()
    assert not {"building", "degraded"} & set(poller.states()), "nothing was built again"
    listed = until(lambda: watcher(cluster).get("counters"), "its counters")["listed"]
    assert listed < 20, "the tree was not walked: only what is audited meanwhile"
    assert not (cluster.state / "agent/sources/data/checkpoint").exists()


def test_by_an_order(cluster: Cluster) -> None:
    assert_warm(cluster, *restarted(cluster, "ordered", lambda: cluster.command("restart", "local/watcher.data")))


def test_by_another_program(cluster: Cluster, tmp_path: Path) -> None:
    digest = push(cluster, made(tmp_path, cluster.state.parent / "release.key", version("1.0.2")))
    after, poller = restarted(
        cluster, "upgraded", lambda: cluster.command("upgrade", "start", digest, "--reason", "a test")
    )
    assert after["software"] == "1.0.2"
    assert_warm(cluster, after, poller)


def test_one_that_is_killed_leaves_nothing(cluster: Cluster) -> None:
    after, _ = restarted(cluster, "killed", lambda: cluster.kill("watcher.data"))
    assert int(after["facts"]["epoch"]) > int(after["before"]["facts"]["epoch"])
