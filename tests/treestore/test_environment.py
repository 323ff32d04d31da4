"""What is opened and what is refused."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import lmdb
import pytest

from fustor.treestore.environment import (
    Environment,
    boot_id,
    boottime_ns,
    close_cleanly,
    data_file,
    open_for_reading,
    open_for_writing,
)
from fustor.treestore.errors import StoreFullError, StoreMissingError, StoreUnusableError
from fustor.treestore.format import pack_id
from protocols.errors import MachineError
from tests.support.kernel import cannot_mount, mount, mounts, umount

SIZE = 1 << 24


def write(path: Path) -> Environment:
    return open_for_writing(str(path), map_size=SIZE)


def meta_of(path: Path, change: Callable[[lmdb.Transaction[bytes]], object]) -> None:
    env = lmdb.open(str(path), map_size=SIZE, max_dbs=4)
    with env.begin(write=True, db=env.open_db(b"meta")) as txn:
        change(txn)
    env.close()


def test_a_store_keeps_its_identity(tmp_path: Path) -> None:
    first = write(tmp_path / "s")
    assert os.stat(tmp_path / "s").st_mode & 0o777 == 0o700
    assert os.stat(data_file(str(tmp_path / "s"))).st_mode & 0o777 == 0o600
    first.close()
    reading = open_for_reading(str(tmp_path / "s"))
    assert (reading.uuid, reading.inode) == (first.uuid, first.inode)
    reading.close()
    again = write(tmp_path / "s")
    assert again.uuid == first.uuid
    again.close()
    other = write(tmp_path / "other")
    assert other.uuid != first.uuid
    other.close()


def test_a_later_store_begins_above_the_generations_of_an_earlier_one(tmp_path: Path) -> None:
    generations = []
    for name in ("one", "two"):
        environment = write(tmp_path / name)
        with environment.env.begin(db=environment.meta) as txn:
            generations.append(txn.get(b"generation", b""))
        environment.close()
    assert generations[0] < generations[1]


def test_nothing_there(tmp_path: Path) -> None:
    for path in (tmp_path / "no", tmp_path):
        with pytest.raises(StoreMissingError):
            open_for_reading(str(path))
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreMissingError):
        open_for_reading(str(tmp_path / "file"))
    lmdb.open(str(tmp_path / "made"), map_size=SIZE).close()
    with pytest.raises(StoreMissingError, match="yet"):
        open_for_reading(str(tmp_path / "made"))


def test_something_else_there(tmp_path: Path) -> None:
    (tmp_path / "data.mdb").write_bytes(b"no database" * 1000)
    lmdb.open(str(tmp_path / "foreign"), map_size=SIZE, max_dbs=1).close()
    env = lmdb.open(str(tmp_path / "foreign"), map_size=SIZE, max_dbs=1)
    with env.begin(write=True) as txn:
        txn.put(b"theirs", b"data")
    env.close()
    for path in (tmp_path, tmp_path / "foreign"):
        with pytest.raises(StoreUnusableError, match="not a tree store"):
            open_for_reading(str(path))
        with pytest.raises(StoreUnusableError, match="not a tree store"):
            open_for_writing(str(path), map_size=SIZE)


def test_a_newer_format_is_refused_by_number(tmp_path: Path) -> None:
    write(tmp_path / "s").close()
    meta_of(tmp_path / "s", lambda txn: txn.put(b"format", pack_id(99)))
    for opener in (open_for_reading, open_for_writing):
        with pytest.raises(StoreUnusableError, match="format 99, this program reads 2"):
            opener(str(tmp_path / "s"), map_size=SIZE)


def test_after_a_reboot_only_what_was_closed_cleanly_is_written_to(tmp_path: Path) -> None:
    path = tmp_path / "s"
    write(path).close()
    write(path).close()  # killed in this boot: nothing is lost
    meta_of(path, lambda txn: txn.put(b"boot", b"earlier"))
    with pytest.raises(StoreUnusableError, match="torn"):
        write(path)
    open_for_reading(str(path)).close()

    clean = write(tmp_path / "clean")
    close_cleanly(clean)
    meta_of(tmp_path / "clean", lambda txn: txn.put(b"boot", b"earlier"))
    again = write(tmp_path / "clean")
    assert again.uuid == clean.uuid
    with again.env.begin(db=again.meta) as txn:
        assert txn.get(b"boot") == boot_id().encode()
        assert txn.get(b"clean") is None
    again.close()


def test_no_room(tmp_path: Path) -> None:
    with pytest.raises(StoreFullError):
        open_for_writing(str(tmp_path / "s"), map_size=4096 * 3)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match="can't be made"):
        write(tmp_path / "file" / "s")


def test_boottime_goes_on() -> None:
    assert 0 < boottime_ns() <= boottime_ns()


def test_a_store_without_its_file_is_not_continued(tmp_path: Path) -> None:
    """A reader has it open, and could open another one at the same place only in another folder."""
    close_cleanly(write(tmp_path / "s"))
    Path(data_file(str(tmp_path / "s"))).unlink()
    with pytest.raises(StoreUnusableError, match="lost its file"):
        write(tmp_path / "s")


@pytest.mark.skipif(bool(cannot_mount()), reason=cannot_mount() or "can mount")
def test_a_disk_that_is_full_is_said_and_kills_nobody(tmp_path: Path) -> None:
    """LMDB writes to its lock file through a map: without room that was a SIGBUS."""
    with mounts() as stack:
        mount("-t", "tmpfs", "-o", "size=256k", "test", str(tmp_path))
        stack.callback(umount, tmp_path)
        filler = (tmp_path / "filler").open("wb", buffering=0)
        stack.callback(filler.close)
        (tmp_path / "s").mkdir()
        with contextlib.suppress(OSError):
            while True:
                filler.write(bytes(4096))
        for _ in range(2):
            with pytest.raises(StoreFullError, match="no room"):
                write(tmp_path / "s")
        filler.truncate(0)
        close_cleanly(write(tmp_path / "s"))
