"""Symbolic links are shown with their targets, and never followed, wherever they lead."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.cluster import Cluster


@pytest.fixture
def cluster(shared: Cluster) -> Cluster:
    return shared


def test_loops_dangling_outside_and_very_long(cluster: Cluster, place: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/inside").touch()
    (place / "real/below").mkdir(parents=True)
    (place / "real/below/file").touch()
    targets = {
        "self": "self",
        "dot": ".",
        "up": "..",
        "root": "/",
        "nowhere": "no/such/thing",
        "outside": str(tmp_path / "secret"),
        "directory": "real",
        "file": "real/below/file",
        "slash": "real/",
        "long": "x/" * 2047 + "x",
        "not text": os.fsdecode(b"\xff\n\x01"),
    }
    for name, target in targets.items():
        os.symlink(target, place / name)
    cluster.assert_right()
    at = b"/" + os.fsencode(place.name)
    for name in targets:
        node = cluster.tree(at + b"/" + name.encode())
        assert node["content_type"] == "symlink"
        assert "children" not in node
    assert cluster.tree(at + b"/outside")["target"] == targets["outside"]
    # Asked for by a way that leads through a link: nothing is there, as nothing is followed.
    for below in (b"/outside/inside", b"/dot/real", b"/directory/below"):
        assert cluster.get(f"/fs/tree?path={(at + below).decode()}").status == 404
    assert b'"name":"inside"' not in cluster.get("/fs/tree").body


def test_a_link_that_changes_its_target_or_becomes_what_it_pointed_to(cluster: Cluster, place: Path) -> None:
    (place / "target").mkdir()
    (place / "target/file").touch()
    link = place / "link"
    link.symlink_to("target")
    cluster.assert_right()
    # The usual way to switch over: same name, in one step.
    (place / "new").symlink_to("elsewhere")
    (place / "new").rename(link)
    cluster.assert_right()
    link.unlink()
    (place / "target").rename(link)
    cluster.assert_right()
    link.rename(place / "target")
    link.symlink_to("target")
    cluster.assert_right()
