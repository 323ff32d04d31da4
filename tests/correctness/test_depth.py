"""Trees deeper than a path can say."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.support.cluster import Cluster

LEVELS = 400


@pytest.fixture
def cluster(shared: Cluster) -> Cluster:
    return shared


def descend(top: Path, levels: int, name: str) -> int:
    """Make a chain of directories with a file in each; a descriptor of the last one."""
    at = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(levels):
        os.close(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=at))
        os.mkdir(name, dir_fd=at)
        below = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=at)
        os.close(at)
        at = below
    return at


def test_a_path_of_many_times_path_max(cluster: Cluster, place: Path) -> None:
    name = "a name of forty characters, not less …"
    assert LEVELS * len(name) > 3 * 4096
    last = descend(place, LEVELS, name)
    try:
        cluster.assert_right()
        # Live at the bottom.
        os.close(os.open("new", os.O_WRONLY | os.O_CREAT, dir_fd=last))
        os.mkdir("below", dir_fd=last)
        cluster.assert_right()
        # As deep as a request target reaches, and there is the next one.
        part = b"/" + os.fsencode(place.name) + (b"/" + name.encode()) * 60
        assert {node["name"] for node in cluster.tree(part, max_depth=1)["children"]} == {"file", name}
        # Its way is another one, all at once.
        (place / name).rename(place / "moved")
        os.close(os.open("newer", os.O_WRONLY | os.O_CREAT, dir_fd=last))
        cluster.assert_right()
    finally:
        os.close(last)
    shutil.rmtree(place)
    cluster.assert_right()
