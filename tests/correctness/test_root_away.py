"""A root that goes away: never "everything was deleted", said with its reason, and over by itself when it is back."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster import Cluster, Poller, until
from tests.support.kernel import cannot_mount, mount, mounts, umount, umount_all

pytestmark = pytest.mark.skipif(bool(cannot_mount()), reason=cannot_mount() or "can mount")

FILES = 50


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file system in a file, so that what it holds survives an umount."""
    image = tmp_path_factory.mktemp("disk") / "image"
    with image.open("wb") as file:
        file.truncate(8 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True)
    return image


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, disk: Path) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    root = folder / "root"
    root.mkdir()
    with mounts() as stack:
        mount("-o", "loop", str(disk), str(root))
        stack.callback(umount_all, root)
        (root / "folder").mkdir()
        for number in range(FILES):
            (root / f"folder/{number}").write_bytes(b"x" * number)
        made = Cluster(root, folder / "state", limits="[limits.watcher]\nprobe_seconds = 0.2")
        stack.callback(made.down)
        yield made


def source(cluster: Cluster) -> dict[str, Any]:
    found: dict[str, Any] = cluster.source()
    return found


def offline(cluster: Cluster, reason: str) -> None:
    """Wait until it says that the root is away, and why."""
    until(
        lambda: (now := source(cluster))["state"] == "offline" and any(reason in said for said in now["reasons"]),
        f"offline, {reason}; it says {source(cluster)}",
    )


def test_umounted_and_mounted_again(cluster: Cluster, disk: Path) -> None:
    cluster.assert_right()
    before = cluster.entries()
    with Poller(cluster, b"/folder") as poller:
        umount(cluster.root)
        offline(cluster, "root is not mounted")
        assert not os.listdir(cluster.root)  # the mountpoint: an empty directory, and no answer to what is in the root
        assert cluster.entries() == before
        assert cluster.tree(max_depth=0)["complete"] is False
        mount("-o", "loop", str(disk), str(cluster.root))
        cluster.assert_right()
    assert all(len(answer["children"]) == FILES for answer in poller.answers)
    (cluster.root / "live again").touch()
    cluster.assert_right()


def test_the_agent_starts_while_it_is_not_mounted(cluster: Cluster, disk: Path) -> None:
    before = cluster.entries()
    cluster.down()
    umount(cluster.root)
    (cluster.root / "in the mountpoint").touch()
    cluster.up()
    offline(cluster, "root is not mounted")
    assert cluster.entries() == before
    (cluster.root / "in the mountpoint").unlink()
    changed = os.fspath(cluster.root)
    mount("-o", "loop", str(disk), changed)
    (cluster.root / "changed meanwhile").touch()
    cluster.assert_right()


def test_a_watcher_that_dies_while_it_is_not_mounted(cluster: Cluster, disk: Path) -> None:
    before = cluster.entries()
    umount(cluster.root)
    offline(cluster, "root is not mounted")
    dead = cluster.kill("watcher.data")
    until(lambda: cluster.pid("watcher.data") != dead, "another watcher")
    offline(cluster, "root is not mounted")
    assert cluster.entries() == before
    mount("-o", "loop", str(disk), str(cluster.root))
    cluster.assert_right()


def test_another_device_is_noticed(cluster: Cluster, disk: Path) -> None:
    umount(cluster.root)
    mount("-t", "tmpfs", "test", str(cluster.root))
    (cluster.root / "of another device").touch()
    # What 64 bits of nanoseconds can't say, tmpfs can hold: kept as the nearest that can be said.
    subprocess.run(["touch", "-d", "@9223372036854775807", str(cluster.root / "end of time")], check=True)
    subprocess.run(["touch", "-d", "@9223372036854775807", str(cluster.root)], check=True)
    there = ["end of time", "of another device"]
    until(lambda: [node["name"] for node in cluster.tree(max_depth=1)["children"]] == there, "the other device")
    assert cluster.tree(b"/end of time")["mtime_ns"] == 2**64 - 1
    umount(cluster.root)
    mount("-o", "loop", str(disk), str(cluster.root))
    cluster.assert_right()


def test_a_bind_mount_goes_without_a_word(tmp_path: Path) -> None:
    # The kernel tells nobody who watches: the file system itself is still mounted elsewhere.
    origin, root = tmp_path / "origin", tmp_path / "root"
    origin.mkdir()
    root.mkdir()
    (origin / "file").touch()
    with mounts() as stack:
        mount("--bind", str(origin), str(root))
        stack.callback(umount_all, root)
        cluster = Cluster(root, tmp_path / "state", limits="[limits.watcher]\nprobe_seconds = 0.2")
        stack.callback(cluster.down)
        cluster.assert_right()
        umount(root)
        offline(cluster, "root is not mounted")
        assert b"file" in cluster.entries()
        mount("--bind", str(origin), str(root))
        cluster.assert_right()
        # A root that is moved away is missing, and one that is back is the root again.
        umount(root)
        root.rmdir()
        offline(cluster, "root can't be opened (ENOENT)")
        assert b"file" in cluster.entries()
        root.mkdir()
        mount("--bind", str(origin), str(root))
        cluster.assert_right()
