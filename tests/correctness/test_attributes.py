"""Sizes, times, modes and owners at the ends of what a file system can hold."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.support.cluster import Cluster


@pytest.fixture
def cluster(shared: Cluster) -> Cluster:
    return shared


def test_sparse_files_as_long_as_the_file_system_allows(cluster: Cluster, place: Path) -> None:
    longest = 0
    for power in range(30, 63):
        size = 2**power - 1
        try:
            with (place / str(power)).open("wb") as file:
                file.truncate(size)
        except OSError:
            break
        longest = size
    assert longest > 2**40
    cluster.assert_right()
    rollup = cluster.tree(b"/" + os.fsencode(place.name))["rollup"]
    assert rollup["bytes"] == sum(entry.stat().st_size for entry in os.scandir(place))


@pytest.mark.parametrize(
    "when",
    [
        0,
        -1,
        -86_400 * 365 * 10**9 - 1,
        -(2**31) * 10**9,
        (2**31 - 1) * 10**9 + 999_999_999,
        2**31 * 10**9,
        15_032_385_535 * 10**9,  # May 2446: the last second of ext4; more nanoseconds than 63 bits hold
        1,
    ],
)
def test_times_of_the_past_and_of_the_far_future(cluster: Cluster, place: Path, when: int) -> None:
    (place / "file").touch()
    (place / "folder").mkdir()
    (place / "link").symlink_to("file")
    for name in ("file", "folder", "link"):
        os.utime(place / name, ns=(when, when), follow_symlinks=False)
    assert (place / "file").stat().st_mtime_ns == when
    cluster.assert_right()
    (place / "folder/live").touch()
    os.utime(place / "folder", ns=(when, when))
    cluster.assert_right()
    node = cluster.tree(b"/" + os.fsencode(place.name) + b"/file")
    assert node["mtime_ns"] == when
    assert abs(node["modified_time"] - when / 1e9) < 1


def test_every_mode(cluster: Cluster, place: Path) -> None:
    for mode in (0, 0o111, 0o444, 0o777, 0o1777, 0o2755, 0o4755, 0o6711, 0o7777):
        (place / f"file {mode:o}").touch()
        (place / f"file {mode:o}").chmod(mode)
        (place / f"folder {mode:o}").mkdir()
        (place / f"folder {mode:o}").chmod(mode)
    cluster.assert_right()
    for entry in os.scandir(place):
        os.chmod(entry.path, stat.S_IMODE(entry.stat().st_mode) ^ 0o1070)
    cluster.assert_right()


@pytest.mark.skipif(os.geteuid() != 0, reason="giving files away needs root")
def test_owners_up_to_the_largest_number(cluster: Cluster, place: Path) -> None:
    for number in (0, 1, 2**16, 2**31, 2**32 - 2):
        (place / str(number)).touch()
    cluster.assert_right()
    for entry in os.scandir(place):
        os.chown(entry.path, int(entry.name), int(entry.name))
    (place / "link").symlink_to("nowhere")
    os.chown(place / "link", 5, 6, follow_symlinks=False)
    cluster.assert_right()
    for entry in os.scandir(place):
        status = entry.stat(follow_symlinks=False)
        node = cluster.get(f"/fs/tree?path=/{quote(place.name)}/{entry.name}").json
        assert (node["uid"], node["gid"]) == (status.st_uid, status.st_gid)


@pytest.mark.skipif(os.geteuid() != 0, reason="device nodes need root")
def test_device_nodes(cluster: Cluster, place: Path) -> None:
    try:
        os.mknod(place / "null", stat.S_IFCHR | 0o600, os.makedev(1, 3))
        os.mknod(place / "loop", stat.S_IFBLK | 0o600, os.makedev(7, 200))
    except PermissionError:
        pytest.skip("this root may make no device nodes")
    cluster.assert_right()
