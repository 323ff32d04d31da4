"""A path that the first walk has not come to yet is looked at because somebody asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster import Cluster, until
from tests.support.passthrough import SlowStorage, unavailable

pytestmark = pytest.mark.skipif(bool(unavailable()), reason=unavailable() or "has FUSE")

FOLDERS = 200


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    origin, mountpoint = tmp_path / "origin", tmp_path / "mount"
    for number in range(FOLDERS):
        (origin / f"{number}/deep").mkdir(parents=True)
        for file in range(20):
            (origin / f"{number}/{file}").touch()
        (origin / f"{number}/deep/file").touch()
    mountpoint.mkdir()
    storage = SlowStorage(origin, mountpoint, delay_ms=10, hangs="nothing of this name")
    try:
        # A wait that is long enough for the slowest machine: what is tested is that the walk is not waited for.
        made = Cluster(mountpoint, tmp_path / "state", fusion="[limits.query]\nquery_unknown_seconds = 60")
        yield made
        made.down()
    finally:
        storage.close()


def test_it_is_known_long_before_the_walk_is_done(cluster: Cluster) -> None:
    until(lambda: cluster.source()["state"] == "building", "the walk to begin")
    looked = []
    for number in range(FOLDERS):
        node = cluster.tree(b"/%d/deep/file" % number)
        assert node["known"], node
        assert node["content_type"] == "file"
        if node["job_id"]:
            looked.append(number)
        if len(looked) == 3:
            break
    assert len(looked) == 3
    assert cluster.source()["state"] == "building"
    answer = cluster.get(f"/fs/tree?path=/{looked[0]}/deep/none")
    assert (answer.status, answer.json["known"]) == (404, True)
