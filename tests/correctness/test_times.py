"""Times that go backwards, stand still or lie in the future: whatever differs is taken over, nothing is compared by
age."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.support.cluster import Cluster


def test_a_modification_time_set_backwards(cluster: Cluster, place: Path) -> None:
    (place / "f").write_text("now")
    cluster.assert_right()
    os.utime(place / "f", (1_000_000_000, 1_000_000_000))
    cluster.assert_right()
    os.utime(place, (0, 0))
    (place / "f").write_text("later, and shorter times follow")
    os.utime(place / "f", ns=(1, 1))
    cluster.assert_right()
    os.utime(place / "f", ns=(-(10**18), -(10**18)))
    cluster.assert_right()


def _cp(older: Path, newer: Path) -> None:
    subprocess.run(["cp", "-p", older, newer], check=True)


def _rsync(older: Path, newer: Path) -> None:
    subprocess.run(["rsync", "-a", "--ignore-times", older, newer], check=True)


def _mv(older: Path, newer: Path) -> None:
    shutil.copy2(older, older.with_suffix(".moving"))
    os.rename(older.with_suffix(".moving"), newer)


def _tar(older: Path, newer: Path) -> None:
    archive = older.with_suffix(".tar")
    with tarfile.open(archive, "w") as tar:
        tar.add(older, arcname=newer.name)
    with tarfile.open(archive) as tar:
        tar.extractall(newer.parent, filter="fully_trusted")


@pytest.mark.parametrize("how", ["cp", "mv", "rsync", "tar"])
def test_an_older_file_of_the_same_size_restored(cluster: Cluster, place: Path, how: str) -> None:
    if shutil.which(how) is None:
        pytest.skip(f"{how} is not installed")
    (place / "older").write_text("older content")
    os.utime(place / "older", (1_000_000_000, 1_000_000_000))
    (place / "newer").write_text("newer content")
    cluster.assert_right()
    {"cp": _cp, "mv": _mv, "rsync": _rsync, "tar": _tar}[how](place / "older", place / "newer")
    assert os.stat(place / "newer").st_mtime == 1_000_000_000
    cluster.assert_right()
    node = cluster.tree(os.fsencode(f"/{place.name}/newer"))
    assert (node["mtime_ns"], node["size"]) == (1_000_000_000 * 10**9, 13)


def test_a_file_from_the_future_holds_nothing_up(cluster: Cluster, place: Path) -> None:
    (place / "future").write_text("2050")
    os.utime(place / "future", (2_524_608_000, 2_524_608_000))
    (place / "folder").mkdir()
    os.utime(place / "folder", (2_524_608_000, 2_524_608_000))
    cluster.assert_right()
    for number in range(20):
        (place / f"other{number}").write_text(str(number))
        (place / f"folder/{number}").touch()
    cluster.assert_right()
    (place / "future").write_text("changed, and therefore of today")
    cluster.assert_right()
    os.utime(place / "future")
    os.utime(place / "folder", (1, 1))
    cluster.assert_right()
