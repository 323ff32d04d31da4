"""The kernel's records, from a real inotify."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from inotify_simple import INotify

from actors.watcher import inotify
from actors.watcher.inotify import MASK, Event, parse


@pytest.fixture
def watching() -> Iterator[INotify]:
    made = INotify(nonblocking=True)
    yield made
    made.close()


def read(instance: INotify) -> list[Event]:
    try:
        return list(parse(os.read(instance.fileno(), 1 << 16)))
    except BlockingIOError:
        return []


def test_nothing_in_nothing() -> None:
    assert list(parse(b"")) == []


def test_a_record_is_taken_apart() -> None:
    """Names are padded with NULs by the kernel; the next record begins after the padding."""
    data = struct.pack("iIII16s", 3, inotify.MOVED_TO, 77, 16, b"name") + struct.pack("iIII", 4, inotify.IGNORED, 0, 0)
    assert list(parse(data)) == [(3, inotify.MOVED_TO, 77, b"name"), (4, inotify.IGNORED, 0, b"")]


def test_overflow_has_no_directory() -> None:
    assert list(parse(struct.pack("iIII", -1, inotify.OVERFLOW, 0, 0))) == [(-1, inotify.OVERFLOW, 0, b"")]


@pytest.mark.parametrize("name", [b"a", b"x" * 255, b"\xff\xfe", b"new\nline", b" ", b"\x01", b"x" * 16, b"x" * 15])
def test_names_are_bytes(tmp_path: Path, watching: INotify, name: bytes) -> None:
    wd = watching.add_watch(tmp_path, MASK)
    os.close(os.open(os.fsencode(tmp_path) + b"/" + name, os.O_CREAT | os.O_WRONLY))
    assert [(event[0], event[3]) for event in read(watching)] == [(wd, name)]


def test_a_rename_has_one_cookie(tmp_path: Path, watching: INotify) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "a/d").mkdir()
    for folder in ("a", "b"):
        watching.add_watch(tmp_path / folder, MASK)
    (tmp_path / "a/d").rename(tmp_path / "b/e")
    out, into = read(watching)
    assert out[1] == inotify.MOVED_FROM | inotify.ISDIR
    assert into[1] == inotify.MOVED_TO | inotify.ISDIR
    assert out[2] == into[2] != 0
    assert (out[3], into[3]) == (b"d", b"e")


def test_reading_makes_no_events(tmp_path: Path, watching: INotify) -> None:
    """Neither listing, nor opening, nor reading a file: our own looking must not keep us busy."""
    (tmp_path / "f").write_bytes(b"content")
    (tmp_path / "d").mkdir()
    watching.add_watch(tmp_path, MASK)
    os.listdir(tmp_path)
    os.listdir(tmp_path / "d")
    (tmp_path / "f").read_bytes()
    os.stat(tmp_path / "f")
    assert read(watching) == []


@pytest.mark.parametrize("change", ["write", "append", "truncate", "chmod", "utime", "unlink", "link", "symlink"])
def test_changes_make_events(tmp_path: Path, watching: INotify, change: str) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"content")
    watching.add_watch(tmp_path, MASK)
    match change:
        case "write":
            file.write_bytes(b"x")
        case "append":
            with file.open("ab") as opened:
                opened.write(b"x")
        case "truncate":
            os.truncate(file, 3)
        case "chmod":
            file.chmod(0o600)
        case "utime":
            os.utime(file, (1, 1))
        case "unlink":
            file.unlink()
        case "link":
            os.link(file, tmp_path / "g")
        case "symlink":
            (tmp_path / "g").symlink_to("f")
    names = {event[3] for event in read(watching)}
    assert names & {b"f", b"g"}


def test_only_directories_are_watched(tmp_path: Path, watching: INotify) -> None:
    (tmp_path / "f").touch()
    with pytest.raises(NotADirectoryError):
        watching.add_watch(tmp_path / "f", MASK)


def test_a_removed_directory_says_so_last(tmp_path: Path, watching: INotify) -> None:
    (tmp_path / "d").mkdir()
    wd = watching.add_watch(tmp_path / "d", MASK)
    (tmp_path / "d").rmdir()
    events = read(watching)
    assert [event[0] for event in events] == [wd] * len(events)
    assert events[-2][1] & inotify.DELETE_SELF
    assert events[-1][1] & inotify.IGNORED
