"""A root on the file system of its parent: moved away and back, replaced by a file, by another directory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.cluster import Cluster, Poller, until


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    root = folder / "root"
    root.mkdir()
    made = Cluster(root, folder / "state", limits="[limits.watcher]\nprobe_seconds = 0.2")
    yield made
    made.down()


def offline(cluster: Cluster, reason: str) -> None:
    until(
        lambda: (now := cluster.source())["state"] == "offline" and reason in now["reasons"],
        f"offline, {reason}",
    )


def test_moved_away_and_back(cluster: Cluster) -> None:
    (cluster.root / "a/b").mkdir(parents=True)
    (cluster.root / "a/b/file").touch()
    cluster.assert_right()
    before = cluster.entries()
    away = cluster.root.with_name("away")
    with Poller(cluster) as poller:
        cluster.root.rename(away)
        offline(cluster, "root can't be opened (ENOENT)")
        (away / "a/changed while away").touch()
        assert cluster.entries() == before
        until(lambda: poller.answers, "an answer meanwhile")
        away.rename(cluster.root)
        cluster.assert_right()
    (cluster.root / "a/b/live").touch()
    cluster.assert_right()


def test_a_file_in_its_place(cluster: Cluster) -> None:
    before = cluster.entries()
    away = cluster.root.with_name("away")
    cluster.root.rename(away)
    cluster.root.write_text("no directory")
    offline(cluster, "root can't be opened (ENOTDIR)")
    assert cluster.entries() == before
    cluster.root.unlink()
    away.rename(cluster.root)
    cluster.assert_right()


def test_another_directory_in_its_place_is_the_root_now(cluster: Cluster) -> None:
    away = cluster.root.with_name("away")
    cluster.root.rename(away)
    cluster.root.mkdir()
    (cluster.root / "new").touch()
    cluster.assert_right()
    (away / "old").touch()
    (cluster.root / "newer").touch()
    cluster.assert_right()
