"""Which files a parser sees: those of the source, never through a symbolic link."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

from actors.parser.listing import Place, identity_of, open_file
from fustor.runtime.deny import DataDeny
from fustor.selection.denied import denied


def names(place: Place, path: bytes, only: tuple[bytes, ...] | None = None) -> list[bytes]:
    fd = place.open(path)
    try:
        return [name for name, _ in place.files(fd, path, only)]
    finally:
        os.close(fd)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root/a/b").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").touch()
    for name in ("z", "y", "x"):
        (tmp_path / "root/a/b" / name).write_text(name)
    (tmp_path / "root/a/b/link").symlink_to(tmp_path / "outside/secret")
    (tmp_path / "root/a/out").symlink_to(tmp_path / "outside")
    os.mkfifo(tmp_path / "root/a/b/fifo")
    with open(os.fsencode(tmp_path / "root/a/b") + b"/\xff", "wb"):
        pass
    return tmp_path / "root"


def test_regular_files_in_order(root: Path) -> None:
    place = Place(os.fsencode(root), None, None)
    assert names(place, b"a/b") == [b"x", b"y", b"z", b"\xff"]
    assert names(place, b"") == []
    assert names(place, b"a/b", (b"z", b"link", b"gone", b"fifo", b"x")) == [b"x", b"z"]


@pytest.mark.parametrize("path", [b"a/out", b"a/b/link", b"a/gone", b"a/b/x"])
def test_what_is_no_directory_of_the_source_is_not_entered(root: Path, path: bytes) -> None:
    with pytest.raises(OSError, match=r"\w"):
        Place(os.fsencode(root), None, None).open(path)


def test_a_link_is_not_opened_as_a_file(root: Path) -> None:
    place = Place(os.fsencode(root), None, None)
    fd = place.open(b"a/b")
    with pytest.raises(OSError, match=r"\w"):
        open_file(fd, b"link")
    opened = open_file(fd, b"x")
    assert identity_of(os.fstat(opened)) == identity_of((root / "a/b/x").stat())
    os.close(opened)
    os.close(fd)


def test_patterns_and_the_host_leave_files_out(root: Path) -> None:
    assert names(Place(os.fsencode(root), lambda path, _: path != b"a/b/y", None), b"a/b") == [b"x", b"z", b"\xff"]
    left_out = denied(DataDeny(file_bytes=1), os.fsencode(root))
    (root / "a/b/y").write_text("more")
    assert b"y" not in names(Place(os.fsencode(root), None, left_out), b"a/b")
    left_out = denied(DataDeny(directories=(str(root / "a/b"),)), os.fsencode(root))
    with pytest.raises(PermissionError):
        Place(os.fsencode(root), None, left_out).open(b"a/b")


def test_no_descriptor_is_left(root: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    place = Place(os.fsencode(root), None, None)
    for path in (b"a/b", b"a/out", b"gone"):
        with contextlib.suppress(OSError):
            os.close(place.open(path))
    assert len(os.listdir("/proc/self/fd")) == before
