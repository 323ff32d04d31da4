"""Files with several names: known ones are looked at together, unknown ones are found by the audit."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.cluster import Cluster


@pytest.fixture
def cluster(shared: Cluster) -> Cluster:
    return shared


def test_a_change_under_one_name_shows_under_all(cluster: Cluster, place: Path) -> None:
    first, second = place / "first", place / "sub/second"
    (place / "sub").mkdir()
    first.write_bytes(b"x")
    os.link(first, second)
    # The number of links of a name that was there before makes no event in its directory: until an audit.
    cluster.becomes_right()
    second.write_bytes(b"longer")
    cluster.assert_right()
    first.chmod(0o600)
    cluster.assert_right()
    (place / "sub").rename(place / "moved")
    os.utime(first, ns=(5, 5))
    cluster.assert_right()
    (place / "moved/second").rename(place / "third")
    (place / "third").write_bytes(b"once more")
    cluster.assert_right()
    first.unlink()
    cluster.assert_right()


def test_renaming_one_name_of_a_file_over_another_does_nothing(cluster: Cluster, place: Path) -> None:
    (place / "a").write_bytes(b"x")
    os.link(place / "a", place / "b")
    cluster.becomes_right()
    (place / "a").rename(place / "b")  # rename(2): the same file, nothing happens
    assert (place / "a").exists()
    cluster.assert_right()


def test_symlinks_and_fifos_with_several_names(cluster: Cluster, place: Path) -> None:
    (place / "link").symlink_to("nowhere")
    os.mkfifo(place / "fifo")
    for name in ("link", "fifo"):
        os.link(place / name, place / f"{name} 2", follow_symlinks=False)
    cluster.becomes_right()
    (place / "fifo").chmod(0o600)
    cluster.assert_right()
    (place / "link 2").unlink()
    cluster.assert_right()
