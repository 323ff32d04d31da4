"""The whole path, quickly: whatever is done to a directory is in fs/tree, exactly, as soon as fs/tree claims it."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.cluster import Cluster


def test_everything_that_a_directory_can_hold(cluster: Cluster, place: Path) -> None:
    (place / "file").write_bytes(b"x" * 1000)
    (place / "empty").mkdir()
    (place / "deep/er/still").mkdir(parents=True)
    (place / "deep/er/still/f").touch()
    (place / "link").symlink_to("deep/er")
    (place / "loop").symlink_to(".")
    os.mkfifo(place / "fifo")
    os.link(place / "file", place / "deep/second name")
    # link(2) tells watchers about the new name only: the number of links that the first one shows waits for an audit.
    os.utime(place / "file")
    cluster.assert_right()
    (place / "deep").rename(place / "moved")
    (place / "file").write_bytes(b"shorter")
    (place / "empty").rmdir()
    cluster.assert_right()
