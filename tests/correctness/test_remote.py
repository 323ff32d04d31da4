"""
Changes made elsewhere: a mount whose backing is written to behind its back, as by another host on NFS.

No event tells of them; the audit finds them, whether or not the times of a directory moved, and the answer says so.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster import Cluster, Poller
from tests.support.elsewhere import mounted, unavailable

pytestmark = pytest.mark.skipif(bool(unavailable()), reason=unavailable() or "has bindfs")


@pytest.fixture(scope="module")
def backing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("backing")
    for number in range(20):
        (folder / f"d{number}/deep").mkdir(parents=True)
        for name in ("append", "unlink", "keep", "deep/append"):
            (folder / f"d{number}" / name).write_text("as it was\n")
    return folder


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, backing: Path) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    with mounted(backing, folder / "root"):
        made = Cluster(folder / "root", folder / "state", source="fast_audit_seconds = 0.5\nfull_audit_seconds = 1")
        try:
            yield made
        finally:
            made.down()


def test_the_blind_spot_is_named(cluster: Cluster) -> None:
    cluster.settled()
    cluster.becomes_right()
    (source,) = cluster.tree(max_depth=0)["sources"]
    assert any("blind spot" in reason and "fuse" in reason for reason in source["reasons"]), source


def test_create_and_unlink(cluster: Cluster, backing: Path) -> None:
    with Poller(cluster):
        for number in range(20):
            (backing / f"d{number}/created").touch()
            (backing / f"d{number}/unlink").unlink()
            (backing / f"d{number}/deep/folder").mkdir()
            (backing / f"d{number}/deep/folder/f").write_text("new")
        cluster.becomes_right()


def test_append_that_leaves_the_directory_untouched(cluster: Cluster, backing: Path) -> None:
    with Poller(cluster):
        for number in range(20):
            for name in ("append", "deep/append"):
                folder = (backing / f"d{number}" / name).parent
                before = os.stat(folder).st_mtime_ns
                with open(backing / f"d{number}" / name, "a") as file:
                    file.write("and more\n")
                assert os.stat(folder).st_mtime_ns == before
        cluster.becomes_right()


def test_a_tree_renamed_and_another_removed(cluster: Cluster, backing: Path) -> None:
    with Poller(cluster):
        os.rename(backing / "d0", backing / "d1/moved here")
        shutil.rmtree(backing / "d2")
        (backing / "d3/keep").unlink()
        (backing / "d3/keep").mkdir()
        cluster.becomes_right()


def test_what_is_written_through_the_mount_makes_events(cluster: Cluster) -> None:
    (cluster.root / "d5/through").write_text("the mount")
    (cluster.root / "d5/keep").unlink()
    (cluster.root / "d6/made").mkdir()
    (cluster.root / "d6/made/f").touch()
    cluster.assert_right()
