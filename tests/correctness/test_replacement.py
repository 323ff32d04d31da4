"""A name that stands for something else from one moment to the next."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.cluster import Cluster, Poller
from tests.support.kernel import exchange, nameless_file


@pytest.fixture
def cluster(shared: Cluster) -> Cluster:
    return shared


def fill(folder: Path, files: int) -> Path:
    (folder / "sub").mkdir(parents=True)
    for number in range(files):
        (folder / f"sub/{number}").write_bytes(b"x" * number)
    return folder


def test_two_directories_change_places_in_one_step(cluster: Cluster, place: Path) -> None:
    one, other = fill(place / "one", 3), fill(place / "deep/other", 30)
    cluster.assert_right()
    exchange(os.fsencode(one), os.fsencode(other))
    cluster.assert_right()
    (one / "sub/later").touch()
    (other / "sub/later too").touch()
    cluster.assert_right()
    for _ in range(25):
        exchange(os.fsencode(one), os.fsencode(other))
    cluster.assert_right()


def test_a_file_and_a_directory_change_places_in_one_step(cluster: Cluster, place: Path) -> None:
    folder = fill(place / "folder", 5)
    (place / "file").write_bytes(b"x")
    cluster.assert_right()
    for _ in range(3):
        exchange(os.fsencode(folder), os.fsencode(place / "file"))
        cluster.assert_right()


def test_a_parent_and_what_was_in_it(cluster: Cluster, place: Path) -> None:
    # a/b/c becomes c/b/a, with everything below.
    (place / "a/b/c").mkdir(parents=True)
    for at in ("a", "a/b", "a/b/c"):
        (place / at / "file").touch()
    cluster.assert_right()
    (place / "a/b/c").rename(place / "c")
    (place / "a/b").rename(place / "c/b")
    (place / "a").rename(place / "c/b/a")
    cluster.assert_right()
    (place / "c/b/a/late").touch()
    cluster.assert_right()


def test_a_rename_over_an_existing_directory(cluster: Cluster, place: Path) -> None:
    source = fill(place / "source", 10)
    (place / "there").mkdir()
    cluster.assert_right()
    source.rename(place / "there")  # empty, so rename(2) replaces it
    cluster.assert_right()
    (place / "there/sub/late").touch()
    cluster.assert_right()


def test_the_same_name_again_and_again(cluster: Cluster, place: Path) -> None:
    # ext4 gives a new directory the inode number of the one just removed.
    inodes = set()
    with Poller(cluster):
        for number in range(60):
            (place / "again").mkdir()
            inodes.add((place / "again").stat().st_ino)
            (place / f"again/{number}").touch()
            shutil.rmtree(place / "again")
        (place / "again").mkdir()
        (place / "again/last").touch()
        cluster.assert_right()
    assert len(inodes) < 60, "no inode number was used twice: this proves nothing here"
    (place / "again/later").touch()
    cluster.assert_right()


def test_every_kind_turns_into_every_other(cluster: Cluster, place: Path) -> None:
    make: dict[str, Callable[[Path], object]] = {
        "file": lambda path: path.write_bytes(b"x"),
        "directory": lambda path: fill(path, 3),
        "symlink": lambda path: path.symlink_to("."),
        "fifo": os.mkfifo,
    }
    pairs = [(place / f"{first} to {second}", first, second) for first in make for second in make]
    for name, first, _ in pairs:
        make[first](name)
    cluster.assert_right()
    for name, first, second in pairs:
        shutil.rmtree(name) if first == "directory" else name.unlink()
        make[second](name)
    cluster.assert_right()
    # Back, in one step each.
    for name, first, second in pairs:
        make[first](place / "new")
        exchange(os.fsencode(place / "new"), os.fsencode(name))
        shutil.rmtree(place / "new") if second == "directory" else (place / "new").unlink()
    cluster.assert_right()


def test_a_file_that_appears_complete(cluster: Cluster, place: Path) -> None:
    nameless_file(place, "complete", b"x" * 5000)
    cluster.assert_right()


def test_a_file_replaced_by_an_older_one_of_the_same_size(cluster: Cluster, place: Path) -> None:
    (place / "kept").write_bytes(b"new")
    cluster.assert_right()
    (place / "old").write_bytes(b"old")
    os.utime(place / "old", ns=(10**18, 10**18))
    (place / "old").rename(place / "kept")
    cluster.assert_right()
