"""Where other file systems begin, with real mounts."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from actors.scanner.mounts import Mounts

MS_BIND, MNT_DETACH = 4096, 2

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")

Mount = Callable[[str, Path, str], None]


@pytest.fixture
def mount() -> Iterator[Mount]:
    """``mount(source, point, type)``; an empty type is a bind mount. All of them end with the test."""
    libc = ctypes.CDLL(None, use_errno=True)
    points: list[bytes] = []

    def do(source: str, point: Path, kind: str) -> None:
        point.mkdir(exist_ok=True)
        flags = 0 if kind else MS_BIND
        if libc.mount(os.fsencode(source), os.fsencode(point), kind.encode() or None, flags, None):
            raise OSError(ctypes.get_errno(), "mount failed", str(point))
        points.append(os.fsencode(point))

    yield do
    for point in reversed(points):
        libc.umount2(point, MNT_DETACH)


@pytest.fixture
def mounts_of() -> Iterator[Callable[[Path | str], Mounts]]:
    made: list[Mounts] = []

    def make(root: Path | str) -> Mounts:
        made.append(Mounts(os.fsencode(root)))
        made[-1].refresh()
        return made[-1]

    yield make
    for each in made:
        each.close()


MountsOf = Callable[[Path | str], Mounts]


def test_a_plain_directory(tmp_path: Path, mounts_of: MountsOf) -> None:
    mounts = mounts_of(tmp_path)
    assert mounts.below == frozenset()
    assert not mounts.root_is_mount
    assert mounts.fstype


def test_nothing_is_known_before_the_first_look(tmp_path: Path) -> None:
    """Reading asks the storage about the root's path, which may hang: it is for the thread that looks."""
    mounts = Mounts(os.fsencode(tmp_path))
    assert (mounts.below, mounts.root_is_mount, mounts.fstype) == (frozenset(), False, "")
    mounts.refresh()
    assert mounts.fstype
    mounts.close()


def test_the_root_of_everything(mounts_of: MountsOf) -> None:
    mounts = mounts_of("/")
    assert mounts.root_is_mount
    assert b"proc" in mounts.below
    assert not any(point.startswith(b"/") for point in mounts.below)


def test_a_root_that_is_not_there(tmp_path: Path, mounts_of: MountsOf) -> None:
    mounts = mounts_of(tmp_path / "missing")
    assert mounts.below == frozenset()
    assert not mounts.root_is_mount


@needs_root
def test_tmpfs_and_bind_mounts_below(tmp_path: Path, mounts_of: MountsOf, mount: Mount) -> None:
    (tmp_path / "origin").mkdir()
    (tmp_path / "deep").mkdir()
    mounts = mounts_of(tmp_path)
    mount("none", tmp_path / "t", "tmpfs")
    mount(str(tmp_path / "origin"), tmp_path / "deep/bound", "")
    mounts.refresh()
    assert mounts.below == {b"t", b"deep/bound"}
    # The device number does not tell a bind mount: that is why the table is read.
    assert os.stat(tmp_path / "deep/bound").st_dev == os.stat(tmp_path).st_dev


@needs_root
def test_changes_are_noticed(tmp_path: Path, mounts_of: MountsOf, mount: Mount) -> None:
    mounts = mounts_of(tmp_path)
    mount("none", tmp_path / "t", "tmpfs")
    assert mounts.below == frozenset()
    mounts.refresh()
    assert mounts.below == {b"t"}
    ctypes.CDLL(None).umount2(os.fsencode(tmp_path / "t"), MNT_DETACH)
    mounts.refresh()
    assert mounts.below == frozenset()


@needs_root
@pytest.mark.parametrize("name", ["with space", "new\nline", "tab\t", "back\\slash", "#hash", "ünï"])
def test_any_name_of_a_mount_point(tmp_path: Path, mounts_of: MountsOf, mount: Mount, name: str) -> None:
    mount("none", tmp_path / name, "tmpfs")
    assert mounts_of(tmp_path).below == {os.fsencode(name)}


@needs_root
def test_the_root_is_a_mount_point(tmp_path: Path, mounts_of: MountsOf, mount: Mount) -> None:
    root = tmp_path / "root"
    mount("none", root, "tmpfs")
    mounts = mounts_of(root)
    assert mounts.root_is_mount
    assert mounts.fstype == "tmpfs"
    (root / "below").mkdir()
    below = mounts_of(root / "below")
    assert not below.root_is_mount
    assert below.fstype == "tmpfs"
    assert mounts_of(str(root) + "/").root_is_mount


@needs_root
def test_a_name_that_only_begins_like_the_root(tmp_path: Path, mounts_of: MountsOf, mount: Mount) -> None:
    (tmp_path / "root").mkdir()
    mount("none", tmp_path / "root2", "tmpfs")
    mounts = mounts_of(tmp_path / "root")
    assert mounts.below == frozenset()
    assert mounts.fstype != "tmpfs"


@needs_root
def test_a_root_behind_a_symbolic_link(tmp_path: Path, mounts_of: MountsOf, mount: Mount) -> None:
    mount("none", tmp_path / "real", "tmpfs")
    (tmp_path / "link").symlink_to("real")
    mounts = mounts_of(tmp_path / "link")
    assert mounts.root_is_mount
    mount("none", tmp_path / "real/t", "tmpfs")
    mounts.refresh()
    assert mounts.below == {b"t"}
