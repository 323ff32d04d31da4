"""Five milliseconds for every stat, and one directory that does not answer at all: the rest is indexed, served and
live."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster import Cluster, Poller, until
from tests.support.oracle import compare, walk
from tests.support.passthrough import SlowStorage, unavailable

pytestmark = pytest.mark.skipif(bool(unavailable()), reason=unavailable() or "has FUSE")

HANGS = "hangs"


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    folder = tmp_path / "origin"
    for number in range(10):
        (folder / f"{number}").mkdir(parents=True)
        for file in range(10):
            (folder / f"{number}/{file}").write_bytes(b"x" * file)
    # In a directory of its own: the kernel itself holds up whoever wants to list the parent of a name that hangs.
    (folder / "alone" / HANGS / "below").mkdir(parents=True)
    (folder / "alone" / HANGS / "file").touch()
    return folder


@pytest.fixture
def storage(origin: Path, tmp_path: Path) -> Iterator[SlowStorage]:
    (tmp_path / "mount").mkdir()
    made = SlowStorage(origin, tmp_path / "mount", delay_ms=5, hangs=HANGS)
    yield made
    made.close()


@pytest.fixture
def cluster(storage: SlowStorage, tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(storage.mountpoint, tmp_path / "state", limits="[limits.scanner]\nstuck_seconds = 0.5")
    yield made
    storage.release()
    made.down()


def names(entries: dict[bytes, Any]) -> set[bytes]:
    return {path for path in entries if HANGS.encode() not in path.split(b"/")}


def test_everything_else_is_indexed_served_and_live(cluster: Cluster, storage: SlowStorage, origin: Path) -> None:
    def like_the_origin() -> bool:
        return names(cluster.entries()) == names(walk(os.fsencode(origin)))

    def stuck() -> bool:
        source = cluster.source()
        return bool(source["counts"].get("stuck")) and any("does not answer" in reason for reason in source["reasons"])

    with Poller(cluster):
        until(lambda: stuck() and like_the_origin(), "everything but what hangs, and that to be reported")
        assert cluster.tree(max_depth=0)["complete"] is False
        for folder in ("0", "5"):
            (storage.mountpoint / folder / "new").write_bytes(b"later")
        (storage.mountpoint / "1/1").rename(storage.mountpoint / "2/moved")
        (storage.mountpoint / "made").mkdir()
        (storage.mountpoint / "made/file").touch()
        until(like_the_origin, "what was done meanwhile")
        node = cluster.tree(max_depth=0)
        assert node["state"] == "live"
        assert node["complete"] is False
        before = {name: entry["pid"] for name, entry in cluster.payloads().items()}
        storage.release()
        cluster.settled()
        assert not cluster.source()["counts"].get("stuck")
        difference = compare(walk(os.fsencode(storage.mountpoint)), cluster.entries())
        assert not difference, str(difference)
        assert {name: entry["pid"] for name, entry in cluster.payloads().items()} == before
