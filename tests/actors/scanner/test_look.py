"""Looking at real directories of every kind."""

from __future__ import annotations

import ctypes
import errno
import itertools
import json
import os
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from actors.scanner.look import PART, Looker, Part, Place
from actors.scanner.mounts import Mounts
from fustor.runtime.handling import SIZE, Handling, take
from fustor.selection.forbidden import Forbidden
from protocols import data
from protocols.data import FAILED, LOST, OK, SAME, Row, Task
from tests.support.actors import ROOT as CHECKOUT

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@attrs.define
class Site:
    """A directory tree, a looker, what the looker asked to be watched, and where it writes what it handles."""

    root: Path
    looker: Looker
    watched: list[int]
    page: bytearray

    def task(self, path: str = "", **fields: Any) -> Task:
        status = os.stat(self.root / path)
        return Task(dir=7, path=os.fsencode(path), dev=status.st_dev, ino=status.st_ino, **fields)

    def look(self, path: str = "", **fields: Any) -> list[Part]:
        return list(self.looker.look(self.task(path, **fields)))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    root = tmp_path / "root"
    root.mkdir()
    mounts = Mounts(os.fsencode(root))
    watched: list[int] = []

    def add_watch(fd: int) -> int:
        watched.append(os.fstat(fd).st_ino)
        return len(watched)

    page = bytearray(SIZE)
    place = Place(note=Handling(page))
    looker = Looker(
        root=os.fsencode(root), takes=None, one_filesystem=True, mounts=mounts, add_watch=add_watch, place=place
    )
    yield Site(root, looker, watched, page)
    mounts.close()


def noted(site: Site) -> tuple[bytes, bytes] | None:
    """What whoever survives would read."""
    path = site.root.parent / "note"
    path.write_bytes(site.page)
    return take(str(path))


def test_what_is_looked_at_is_written_down_before(site: Site) -> None:
    (site.root / "d").mkdir()
    (site.root / "d" / "f").touch()
    seen: list[tuple[bytes, bytes] | None] = []

    def takes(path: bytes, is_directory: bool) -> bool:
        seen.append(noted(site))
        return True

    site.looker = attrs.evolve(site.looker, takes=takes)
    site.look("d")
    site.look("d", names=(b"f",))
    site.look("")
    assert seen == [(b"/d/", b"f"), (b"/d/", b"f"), (b"/", b"d")]
    assert noted(site) is None, "nothing is handled any more"


def test_a_long_listing_is_written_down_again_after_an_interruption(site: Site) -> None:
    for number in range(PART + 1):
        (site.root / f"{number:05}").touch()
    parts = site.looker.look(site.task(""))
    next(parts)
    site.looker.place.note.end()  # by the names that are looked at in between
    seen: list[tuple[bytes, bytes] | None] = []
    site.looker.place.note.begin(b"/other/")
    site.looker.place.note.end()
    for _ in parts:
        seen.append(noted(site))
    assert seen == [(b"/", b"")]


def test_what_is_quarantined_is_not_touched(site: Site) -> None:
    for name in ("bad", "mixed"):
        (site.root / name).mkdir()
    for name in ("bad", "good"):
        (site.root / "mixed" / name).touch()
    site.looker = attrs.evolve(site.looker, forbidden=Forbidden.of(["/bad/", "/mixed/bad"]))
    wanted: dict[str, Any]
    for wanted in ({}, {"names": (b"x",)}):
        result, rows = one(site.look("bad", **wanted))
        assert (result.status, result.errno, rows) == (FAILED, data.QUARANTINED, {})
    for wanted in ({}, {"names": (b"bad", b"good")}):
        result, rows = one(site.look("mixed", **wanted))
        assert (result.status, result.errno, result.unreadable) == (OK, data.QUARANTINED, (b"bad",))
        assert set(rows) == {b"good"}
    result, rows = one(site.look(""))
    assert set(rows) == {b"bad", b"mixed"}, "its own row comes from above"


def one(parts: list[Part]) -> tuple[data.Result, dict[bytes, Row]]:
    assert len(parts) == 1
    result, rows = parts[0]
    assert result.last
    return result, {row[data.NAME]: row for row in rows}


def expected(path: Path) -> Row:
    status = os.lstat(path)
    row: Row = (
        os.fsencode(path.name),
        status.st_mode,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
        status.st_ino,
        status.st_uid,
        status.st_gid,
        status.st_nlink,
    )
    return (*row, os.readlink(os.fsencode(path))) if stat.S_ISLNK(status.st_mode) else row


def make_everything(root: Path) -> None:
    (root / "file").write_bytes(b"12345")
    (root / "dir").mkdir()
    (root / "link").symlink_to("nowhere/at/all")
    (root / "loop").symlink_to(".")
    os.link(root / "file", root / "second")
    os.mkfifo(root / "fifo")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(root / "socket"))
    if os.geteuid() == 0:
        os.mknod(root / "char", stat.S_IFCHR | 0o600, os.makedev(1, 3))
        os.mknod(root / "block", stat.S_IFBLK | 0o600, os.makedev(7, 250))


def test_a_listing_has_a_row_of_every_kind(site: Site) -> None:
    make_everything(site.root)
    result, rows = one(site.look())
    assert rows == {os.fsencode(p.name): expected(p) for p in site.root.iterdir()}
    assert (result.dir, result.status, result.errno, result.wd, result.listed) == (7, OK, 0, 1, True)
    assert (result.lo, result.hi) == (b"", None)
    status = os.stat(site.root / "dir")
    assert result.dirs == ((b"dir", status.st_dev, status.st_ino),)
    ino = os.stat(site.root / "file").st_ino
    assert set(result.links) == {(b"file", ino), (b"second", ino)}
    assert (result.gone, result.crossed, result.unreadable) == ((), (), ())
    assert result.own[1:] == expected(site.root)[1:]
    assert result.own[0] == b""


def test_the_watch_is_there_before_the_listing(site: Site) -> None:
    """What is made in the moment of watching is listed: nothing falls between."""

    def add_watch(fd: int) -> int:
        (site.root / "in-between").touch()
        return 1

    looker = attrs.evolve(site.looker, add_watch=add_watch)
    result, rows = one(list(looker.look(site.task())))
    assert b"in-between" in rows
    assert result.own[1:] == expected(site.root)[1:]


def test_names_are_looked_at_one_by_one(site: Site) -> None:
    make_everything(site.root)
    wanted = tuple(os.fsencode(p.name) for p in site.root.iterdir())
    result, rows = one(site.look(names=(*wanted, b"missing")))
    assert rows == {os.fsencode(p.name): expected(p) for p in site.root.iterdir()} | {b"missing": (b"missing",)}
    assert (result.listed, result.wd, result.gone) == (False, 0, (b"missing",))
    assert site.watched == []


def test_no_names_ask_for_the_own_row(site: Site) -> None:
    (site.root / "file").touch()
    result, rows = one(site.look(names=()))
    assert rows == {}
    assert result.own[1:] == expected(site.root)[1:]


@pytest.mark.parametrize("names", [None, (b"bad", b"good")])
def test_names_to_be_skipped_are_not_touched(site: Site, names: tuple[bytes, ...] | None) -> None:
    (site.root / "bad").touch()
    (site.root / "good").touch()
    result, rows = one(site.look(names=names, skip=(b"bad",)))
    assert rows.keys() == {b"good"}
    assert result.gone == ()


def test_a_directory_that_has_not_changed_is_not_listed(site: Site) -> None:
    (site.root / "file").touch()
    status = os.stat(site.root)
    result, rows = one(site.look(known=(status.st_mtime_ns, status.st_ctime_ns)))
    assert (result.status, rows, site.watched) == (SAME, {}, [])
    result, rows = one(site.look(known=(status.st_mtime_ns, status.st_ctime_ns - 1)))
    assert (result.status, set(rows)) == (OK, {b"file"})


def test_another_directory_at_the_same_path_is_lost(site: Site) -> None:
    (site.root / "d").mkdir()
    task = site.task("d")
    (site.root / "d").rename(site.root / "elsewhere")
    (site.root / "d").mkdir()
    (site.root / "d/file").touch()
    result, rows = one(list(site.looker.look(task)))
    assert (result.status, result.errno, rows, site.watched) == (LOST, 0, {}, [])


@pytest.mark.parametrize("names", [None, (b"x",)])
@pytest.mark.parametrize("instead", ["nothing", "file", "symlink"])
def test_no_directory_at_the_path_is_lost(site: Site, instead: str, names: tuple[bytes, ...] | None) -> None:
    (site.root / "d").mkdir()
    task = site.task("d", names=names)
    (site.root / "d").rename(site.root / "elsewhere")
    if instead == "file":
        (site.root / "d").touch()
    elif instead == "symlink":
        (site.root / "d").symlink_to("elsewhere")  # to the right one, and still not followed
    result, rows = one(list(site.looker.look(task)))
    assert (result.status, rows) == (LOST, {})


def test_a_way_through_a_symlink_to_something_else_is_lost(site: Site) -> None:
    (site.root / "a/b").mkdir(parents=True)
    (site.root / "other/b").mkdir(parents=True)
    task = site.task("a/b")
    (site.root / "a").rename(site.root / "away")
    (site.root / "a").symlink_to("other")
    assert one(list(site.looker.look(task)))[0].status == LOST


def test_the_root_may_be_a_symlink_and_may_be_unknown(site: Site, tmp_path: Path) -> None:
    (site.root / "file").touch()
    (tmp_path / "link").symlink_to("root")
    looker = attrs.evolve(site.looker, root=os.fsencode(tmp_path / "link"))
    result, rows = one(list(looker.look(Task(dir=1, path=b"", dev=0, ino=0))))
    assert (result.status, set(rows)) == (OK, {b"file"})
    assert result.dev == os.stat(site.root).st_dev
    assert result.own[data.INO] == os.stat(site.root).st_ino
    assert result.fstype


@pytest.mark.parametrize(
    "name", [b"\xff\xfe", b"new\nline", b"\x01\x02\x1f\x7f", b" ", b"\\", b'"', "ünï".encode(), b"x" * 255, b"-rf"]
)
def test_names_are_bytes(site: Site, name: bytes) -> None:
    root = os.fsencode(site.root)
    os.mkdir(root + b"/" + name)
    os.symlink(name, root + b"/" + name + b"/" + name)
    result, rows = one(site.look())
    assert rows.keys() == {name}
    assert result.dirs[0][0] == name
    status = os.stat(root + b"/" + name)
    below = Task(dir=8, path=name, dev=status.st_dev, ino=status.st_ino)
    _, rows = one(list(site.looker.look(below)))
    assert rows[name][data.TARGET] == name
    _, rows = one(list(site.looker.look(Task(dir=8, path=name, dev=status.st_dev, ino=status.st_ino, names=(name,)))))
    assert rows[name][data.TARGET] == name


def test_paths_longer_than_any_path_may_be(site: Site) -> None:
    """Sixty names of 255 bytes: four times PATH_MAX."""
    name = "d" * 255
    fd = os.open(site.root, os.O_RDONLY)
    for _ in range(60):
        os.mkdir(name, dir_fd=fd)
        below = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    status = os.fstat(fd)
    os.close(fd)
    path = b"/".join([name.encode()] * 60)
    before = set(os.listdir("/proc/self/fd"))
    for names in (None, (b"file",)):
        task = Task(dir=1, path=path, dev=status.st_dev, ino=status.st_ino, names=names)
        result, rows = one(list(site.looker.look(task)))
        assert (result.status, set(rows)) == (OK, {b"file"})
    missing = Task(dir=1, path=path + b"/missing", dev=1, ino=1)
    assert one(list(site.looker.look(missing)))[0].status == LOST
    assert set(os.listdir("/proc/self/fd")) == before


def test_a_big_directory_comes_in_parts(site: Site) -> None:
    names = {b"%05d" % i for i in range(10_000)}
    for name in names:
        os.close(os.open(os.fsencode(site.root) + b"/" + name, os.O_CREAT | os.O_WRONLY))
    (site.root / "05000.d").mkdir()
    parts = site.look()
    assert len(parts) == -(-10_001 // PART)
    assert parts[0][0].lo == b""
    assert parts[-1][0].hi is None
    for (before, _), (after, _) in itertools.pairwise(parts):
        assert before.hi == after.lo
    found: list[bytes] = []
    for result, rows in parts:
        here = [row[data.NAME] for row in rows]
        assert all(result.lo <= name and (result.hi is None or name < result.hi) for name in here)
        found += here
        assert result.last == (result.hi is None)
        assert bool(result.own) == (not result.lo)
        assert bool(result.wd) == (not result.lo)
    assert set(found) == names | {b"05000.d"}
    assert len(found) == 10_001
    assert [name for result, _ in parts for name, _, _ in result.dirs] == [b"05000.d"]


def test_entries_that_go_under_way_are_not_there(site: Site) -> None:
    """Removed after the directory was read and before they were looked at."""
    for i in range(10):
        (site.root / f"f{i}").touch()
        (site.root / f"d{i}").mkdir()

    def takes(path: bytes, is_directory: bool) -> bool:
        for entry in list(site.root.iterdir()):
            if os.fsencode(entry.name) != path:
                entry.rmdir() if entry.is_dir() else entry.unlink()
        return True

    looker = attrs.evolve(site.looker, takes=takes)
    result, rows = one(list(looker.look(site.task())))
    assert result.status == OK
    assert len(rows) == 1
    assert (result.gone, result.unreadable) == ((), ())


@pytest.mark.parametrize("names", [None, (b"link",)])
@pytest.mark.parametrize("instead", ["nothing", "file", "directory"])
def test_a_symlink_replaced_under_way_is_not_said_to_be_gone(
    site: Site, instead: str, names: tuple[bytes, ...] | None
) -> None:
    """Between lstat and readlink; the event of it is on its way, and only lstat may say "gone"."""
    link = site.root / "link"
    link.symlink_to("target")

    def takes(path: bytes, is_directory: bool) -> bool:
        link.unlink()
        if instead == "file":
            link.touch()
        elif instead == "directory":
            link.mkdir()
        return True

    looker = attrs.evolve(site.looker, takes=takes)
    result, rows = one(list(looker.look(site.task(names=names))))
    assert (rows, result.gone, result.unreadable) == ({}, (), (b"link",))
    assert result.dirs == ()


def test_what_does_not_belong_is_not_there(site: Site) -> None:
    (site.root / "in").touch()
    (site.root / "out").touch()
    (site.root / "outdir").mkdir()
    asked: list[tuple[bytes, bool]] = []

    def takes(path: bytes, is_directory: bool) -> bool:
        asked.append((path, is_directory))
        return not path.endswith((b"out", b"outdir"))

    looker = attrs.evolve(site.looker, takes=takes)
    result, rows = one(list(looker.look(site.task())))
    assert rows.keys() == {b"in"}
    assert result.dirs == ()
    assert set(asked) == {(b"in", False), (b"out", False), (b"outdir", True)}
    result, rows = one(list(looker.look(site.task(names=(b"in", b"out", b"outdir")))))
    assert result.gone == (b"out", b"outdir")
    (site.root / "sub").mkdir()
    (site.root / "sub/f").touch()
    asked.clear()
    list(looker.look(site.task("sub")))
    assert asked == [(b"sub/f", False)]


@needs_root
def test_other_file_systems_are_seen_and_not_entered(site: Site) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    for name in ("tmpfs", "bound", "plain", "origin"):
        (site.root / name).mkdir()
    points = [os.fsencode(site.root / name) for name in ("tmpfs", "bound")]
    assert libc.mount(b"none", points[0], b"tmpfs", 0, None) == 0
    assert libc.mount(os.fsencode(site.root / "origin"), points[1], None, 4096, None) == 0
    try:
        result, rows = one(site.look())
        assert rows.keys() == {b"tmpfs", b"bound", b"plain", b"origin"}
        assert set(result.crossed) == {b"tmpfs", b"bound"}
        result, _ = one(site.look(names=(b"tmpfs", b"bound", b"plain")))
        assert set(result.crossed) == {b"tmpfs", b"bound"}
        everything = attrs.evolve(site.looker, one_filesystem=False)
        assert one(list(everything.look(site.task())))[0].crossed == ()
        mounted_root = attrs.evolve(site.looker, root=points[0], mounts=Mounts(points[0]))
        result, _ = one(list(mounted_root.look(Task(dir=1, path=b"", dev=0, ino=0))))
        assert (result.mount, result.fstype) == (True, "tmpfs")
        mounted_root.mounts.close()
    finally:
        for point in points:
            libc.umount2(point, 2)


_AS_NOBODY = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
root = sys.argv[2].encode()
from actors.scanner.look import Looker, Place
from actors.scanner.mounts import Mounts
from protocols.data import Task
os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
looker = Looker(root=root, takes=None, one_filesystem=True, mounts=Mounts(root), add_watch=lambda fd: 1, place=Place())
said = []
for path, names in json.loads(sys.argv[3]):
    status = os.stat(root + b"/" + path.encode())
    task = Task(dir=1, path=path.encode(), dev=status.st_dev, ino=status.st_ino,
                names=None if names is None else tuple(n.encode() for n in names))
    for result, rows in looker.look(task):
        said.append([result.status, result.errno, sorted(row[0].decode() for row in rows),
                     sorted(n.decode() for n in result.unreadable), sorted(n.decode() for n in result.gone)])
print(json.dumps(said))
"""


def as_nobody(root: Path, tasks: list[tuple[str, list[str] | None]]) -> list[list[Any]]:
    done = subprocess.run(
        [sys.executable, "-c", _AS_NOBODY, str(CHECKOUT), str(root), json.dumps(tasks)],
        capture_output=True,
        text=True,
        check=True,
    )
    said: list[list[Any]] = json.loads(done.stdout)
    return said


@needs_root
def test_what_may_not_be_read() -> None:
    """
    As a user without rights: what can't be read is said to be so, and nothing is said to be gone. Not in the folder of
    the test, which others may not enter.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        root.chmod(0o755)
        for name, mode in (("closed", 0o000), ("blind", 0o111), ("dumb", 0o444), ("open", 0o755)):
            (root / name).mkdir()
            (root / name / "inside").touch()
            (root / name).chmod(mode)
        said = as_nobody(
            root,
            [
                ("", None),
                ("closed", None),
                ("closed", ["inside"]),
                ("blind", None),
                ("blind", ["inside", "missing"]),
                ("dumb", None),
                ("dumb", ["inside"]),
                ("open", None),
            ],
        )
        for name in ("closed", "blind", "dumb"):
            (root / name).chmod(0o755)
    denied = errno.EACCES
    assert said == [
        [OK, 0, ["blind", "closed", "dumb", "open"], [], []],
        [FAILED, denied, [], [], []],
        [OK, denied, [], ["inside"], []],  # O_PATH may open it; nothing in it can be asked about
        [FAILED, denied, [], [], []],
        [OK, denied, ["inside", "missing"], [], ["missing"]],  # a listing would fail
        [OK, denied, [], ["inside"], []],  # names without attributes
        [OK, denied, [], ["inside"], []],
        [OK, 0, ["inside"], [], []],
    ]


def test_the_place_names_what_is_touched(site: Site) -> None:
    (site.root / "file").touch()
    seen: list[tuple[int, bytes]] = []
    place = site.looker.place

    def takes(path: bytes, is_directory: bool) -> bool:
        seen.append((place.dir, place.name))
        return True

    before = place.count
    list(attrs.evolve(site.looker, takes=takes).look(site.task()))
    assert seen == [(7, b"file")]
    assert place.count > before + 1


def test_no_descriptor_is_left_open(site: Site) -> None:
    (site.root / "d").mkdir()
    (site.root / "file").touch()
    site.look()
    before = set(os.listdir("/proc/self/fd"))
    site.look()
    site.look("d")
    site.look(names=(b"file",))
    list(site.looker.look(Task(dir=1, path=b"missing", dev=1, ino=1)))
    list(site.looker.look(Task(dir=1, path=b"file", dev=1, ino=1)))
    assert set(os.listdir("/proc/self/fd")) == before
