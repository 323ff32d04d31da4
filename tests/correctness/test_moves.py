"""Trees that leave the root, come back, and have changed meanwhile."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support import writers
from tests.support.cluster import Cluster, Poller, until


def watches(cluster: Cluster) -> int:
    """How many directories the kernel watches for us; see proc(5), fdinfo."""
    folder = Path(f"/proc/{cluster.pid('watcher.data')}/fdinfo")
    found = 0
    for name in os.listdir(folder):
        try:
            lines = (folder / name).read_text().splitlines()
        except FileNotFoundError:
            continue  # closed since
        found += sum(line.startswith("inotify wd:") for line in lines)
    return found


def assert_watched_once(cluster: Cluster) -> None:
    """One watch per directory in the tree, none left over."""
    directories = cluster.tree(max_depth=0)["rollup"]["directories"] + 1
    until(lambda: watches(cluster) == directories, f"{directories} watches")


def test_out_and_in_and_out_and_in_with_changes(cluster: Cluster, place: Path) -> None:
    outside = cluster.root.parent / "outside"
    (place / "tree").mkdir()
    writers.finish(writers.start("files", place / "tree", 3_000))
    (place / "tree/0/deep/er").mkdir(parents=True)
    cluster.assert_right()
    with Poller(cluster):
        os.rename(place / "tree", outside)
        cluster.assert_right()
        assert_watched_once(cluster)
        (outside / "made outside").touch()
        (outside / "1/1000").unlink()
        os.rename(outside, place / "tree")
        (place / "tree/made inside").touch()
        (place / "tree/0/deep/new").mkdir()
        (place / "tree/0/deep/new/f").touch()
        cluster.assert_right()
        assert_watched_once(cluster)
        for name in ("first", "second", "third"):
            os.rename(place / "tree", outside)
            os.rename(outside, place / name)
            (place / name / "0/deep" / name).touch()
            os.rename(place / name, place / "tree")
        os.rename(place / "tree", outside)
        (outside / "0/deep/unseen").touch()
        cluster.assert_right()
        os.rename(outside, place / "back")
        cluster.assert_right()
        assert_watched_once(cluster)


def test_a_big_tree_moved_in_blocks_no_answer(cluster: Cluster, place: Path) -> None:
    outside = cluster.root.parent / "big"
    outside.mkdir()
    for number in range(20):
        (outside / str(number)).mkdir()
        writers.finish(writers.start("files", outside / str(number), 1_000))
    cluster.assert_right()
    with Poller(cluster, os.fsencode(f"/{place.name}"), pause=0.005) as poller:
        asked = len(poller.answers)
        os.rename(outside, place / "big")
        cluster.settled()
        answered = len(poller.answers) - asked
    assert answered > 2
    cluster.assert_right()
    assert cluster.tree(os.fsencode(f"/{place.name}"), max_depth=0)["rollup"]["files"] == 20_000
    assert_watched_once(cluster)


def test_a_tree_over_another_and_removed(cluster: Cluster, place: Path) -> None:
    for name in ("one", "two"):
        (place / name / "sub").mkdir(parents=True)
        (place / name / "sub/f").write_text(name)
    cluster.assert_right()
    # rename(2) replaces a directory that is empty.
    (place / "two/sub/f").unlink()
    os.rename(place / "one/sub", place / "two/sub")
    os.rename(place / "one", place / "three")
    (place / "three/after").touch()
    cluster.assert_right()
    assert_watched_once(cluster)
