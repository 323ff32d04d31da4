"""A state folder without space, or that can't be written: said, survived, and over by itself."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster import Cluster, Poller, until
from tests.support.kernel import cannot_mount, mount, mounts, umount

pytestmark = pytest.mark.skipif(bool(cannot_mount()), reason=cannot_mount() or "can mount")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    root, state = folder / "root", folder / "state"
    root.mkdir()
    small = [(state / "fusion/views", "2m"), (state / "agent", "4m")]
    state.mkdir(mode=0o700)
    with mounts() as stack:
        for where, size in small:
            where.mkdir(parents=True, mode=0o700)
            mount("-t", "tmpfs", "-o", f"size={size},mode=700", "test", str(where))
            stack.callback(umount, where)
        for path in (state / "fusion", *(where for where, _ in small)):
            path.chmod(0o700)
        made = Cluster(root, state)
        stack.callback(made.down)
        yield made


def payloads(cluster: Cluster) -> dict[str, dict[str, Any]]:
    """As Fusion's control actor knows them: a guardian without space can't write its table."""
    status = cluster.status()["status"]
    return {payload["name"]: payload for payload in status["payloads"] + status["agents"][0]["payloads"]}


def pids(cluster: Cluster) -> dict[str, int]:
    """Of all payloads; what Fusion was told last may be of before the last one was there."""

    def told() -> dict[str, int] | None:
        found = {name: payload["pid"] for name, payload in payloads(cluster).items()}
        return found if all(found.values()) else None

    found: dict[str, int] = until(told, "every payload to be there")
    return found


def test_the_store_has_no_space(cluster: Cluster, place: Path) -> None:
    (place / "first").touch()
    cluster.assert_right()
    before = pids(cluster)
    with Poller(cluster) as poller:

        def full() -> bool:
            """More names, of which nothing can be compressed away; how many fit depends on when it commits."""
            for _ in range(1_000):
                (place / os.urandom(120).hex()).touch()
            return "error" in payloads(cluster)["view.main"]["facts"]

        until(full, "the view to say that the disk is full")
        # What is said to be old is served all the same.
        until(lambda: "stale" in poller.states(), "the tree to be called stale")
        assert cluster.tree(b"/" + os.fsencode(place.name) + b"/first")["known"] is True
        mount("-o", "remount,size=64m", str(cluster.state / "fusion/views"))
        cluster.assert_right()
    assert "error" not in payloads(cluster)["view.main"]["facts"]
    assert pids(cluster) == before
    shutil.rmtree(place)
    cluster.assert_right()


def fill(path: Path) -> None:
    """Write until the disk is full."""
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def test_the_agent_has_no_space(cluster: Cluster, place: Path) -> None:
    before = pids(cluster)
    filler = cluster.state / "agent/filler"
    with pytest.raises(OSError, match="No space"):
        fill(filler)
    assert not shutil.disk_usage(filler.parent).free
    (place / "file").touch()
    cluster.assert_right()
    # Who dies now is started again all the same, and begins an epoch that it can't write down.
    dead = cluster.kill("watcher.data")
    until(lambda: pids(cluster)["watcher.data"] != dead, "another watcher")
    (place / "later too").touch()
    cluster.assert_right()
    filler.unlink()
    (place / "later").touch()
    cluster.assert_right()
    after = pids(cluster)
    assert after.pop("watcher.data") != dead
    before.pop("watcher.data")
    assert after == before


def test_a_state_folder_that_is_read_only(tmp_path: Path) -> None:
    state, root = tmp_path / "state", tmp_path / "root"
    state.mkdir()
    root.mkdir()
    with mounts() as stack:
        mount("-t", "tmpfs", "-o", "ro", "test", str(state))
        stack.callback(umount, state)
        cluster = Cluster.__new__(Cluster)
        cluster.root, cluster.state, cluster._wrapper = root, state, ()
        done = cluster.command("up", str(root), "--state", str(state), "--detach", check=False)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert str(state) in done.stderr.replace("\n", "")
    assert "Read-only file system" in done.stderr.replace("\n", " ")
