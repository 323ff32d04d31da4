"""Other file systems below the root, and the root's own seen twice: reported, not entered, nothing counted double."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.cluster import Cluster, until
from tests.support.kernel import cannot_mount, mount, mounts, umount
from tests.support.oracle import compare, walk

pytestmark = pytest.mark.skipif(bool(cannot_mount()), reason=cannot_mount() or "can mount")


@pytest.fixture
def cluster(shared: Cluster) -> Cluster:
    return shared


def test_a_bind_mount_inside_itself_and_another_file_system(cluster: Cluster, place: Path) -> None:
    a, inner, other = place / "a", place / "a/inner", place / "other"
    inner.mkdir(parents=True)
    other.mkdir()
    (a / "file").write_bytes(b"once")
    (inner / "hidden").touch()
    (other / "hidden").touch()
    cluster.assert_right()
    below = [os.fsencode(path.relative_to(cluster.root)) + b"/" for path in (inner, other)]

    def right() -> bool:
        disk = walk(os.fsencode(cluster.root)).items()
        seen = {path: entry for path, entry in disk if not path.startswith(tuple(below))}
        return not compare(seen, cluster.entries())

    with mounts() as stack:
        mount("--bind", str(a), str(inner))
        stack.callback(umount, inner)
        mount("-t", "tmpfs", "test", str(other))
        stack.callback(umount, other)
        (other / "elsewhere").touch()
        # A mount makes no event: an audit finds it.
        until(right, "the mounts to be noticed, and not entered")
        (a / "second").write_bytes(b"seen by two ways, counted once")
        (other / "later").touch()
        # The mount points' own rows have changed, without an event.
        until(right, "the rows of the mount points")
        source = cluster.source()
        assert source["counts"]["crossed"] == 2
        assert "2 directories on other file systems are not entered" in source["reasons"]
        unknown = cluster.tree(b"/" + below[1] + b"elsewhere")
        assert unknown["known"] is False
        assert cluster.tree(b"/" + os.fsencode(place.name))["rollup"]["files"] == 2
    cluster.becomes_right()
    assert cluster.source()["counts"]["crossed"] == 0
    assert [n["name"] for n in cluster.tree(b"/" + below[0].rstrip(b"/"))["children"]] == ["hidden"]
