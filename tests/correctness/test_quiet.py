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


def await_other(cluster: Cluster, seen: dict[str, int]) -> None:
    until(lambda: counters(cluster, "watcher") != seen, "a beat: audits list something every few seconds")


def counters_after_beats(cluster: Cluster) -> dict[str, int]:
    """What a beat of the watcher said that began after this call: the first one to arrive may have been under way."""
    for _ in range(3):
        seen = counters(cluster, "watcher")
        await_other(cluster, seen)
    return counters(cluster, "watcher")


def test_audits_of_an_idle_tree_receive_no_event(cluster: Cluster, place: Path) -> None:
    for number in range(50):
        (place / f"{number}/below").mkdir(parents=True)
        (place / f"{number}/file").touch()
    (place / "link").symlink_to("0")
    cluster.assert_right()
    settled = counters_after_beats(cluster)
    # Asking is reading, too.
    cluster.entries()
    until(lambda: counters(cluster, "watcher")["listed"] > settled["listed"] + 250, "further audits")
    assert counters(cluster, "watcher")["events"] == settled["events"]
    cluster.assert_right()
