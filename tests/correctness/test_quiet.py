"""Looking makes no events: what is read is never the reason to read again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.cluster import Cluster, until


@pytest.fixture
def cluster(shared: Cluster) -> Cluster:
    return shared


def counters(cluster: Cluster, kind: str) -> dict[str, int]:
    """The summed counters of all payloads of one kind."""
    found: dict[str, int] = {}
    for payload in cluster.status()["status"]["agents"][0]["payloads"]:
        if payload["name"].startswith(kind):
            for name, count in payload["counters"].items():
                found[name] = found.get(name, 0) + count
    return found


def test_audits_of_an_idle_tree_receive_no_event(cluster: Cluster, place: Path) -> None:
    for number in range(50):
        (place / f"{number}/below").mkdir(parents=True)
        (place / f"{number}/file").touch()
    (place / "link").symlink_to("0")
    cluster.assert_right()
    # Beats bring the counters: wait until they have caught up with the work above.
    until(lambda: counters(cluster, "watcher")["events"] >= 150, "the events to be counted")
    events, entries = counters(cluster, "watcher")["events"], counters(cluster, "scanner")["entries"]
    # Asking is reading, too.
    cluster.entries()
    until(lambda: counters(cluster, "scanner")["entries"] > entries + 150, "an audit to look at everything again")
    assert counters(cluster, "watcher")["events"] == events
    cluster.assert_right()
