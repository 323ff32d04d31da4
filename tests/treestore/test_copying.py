"""Copies that are whole or not there, of a store that is being written and read."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from fustor.treestore.check import check
from fustor.treestore.copying import TRAILER_BYTES, CancelledError, Copying, generation_of, unpack_copy
from fustor.treestore.environment import data_file
from fustor.treestore.errors import StoreFullError, StoreMissingError, StoreUnusableError
from fustor.treestore.restoring import unpack_store
from fustor.treestore.writer import Writer
from protocols.errors import MachineError
from tests.support.kernel import cannot_mount, mount, mounts, umount
from tests.support.waiting import until
from tests.treestore.scenario import SOURCE, Feed, Model, file_row, tree_of


def store(path: Path, files: int) -> Feed:
    writer = Writer(str(path), [SOURCE], map_size=1 << 30)
    feed = Feed(writer)
    feed.root()
    feed.listing(1, *[file_row(b"f%d" % n, n * 7919, n * 104_729) for n in range(files)])
    return feed


def test_a_copy_is_the_store_as_of_one_commit(tmp_path: Path) -> None:
    feed = store(tmp_path / "s", 5_000)
    copy = str(tmp_path / "copy")
    before = tree_of(feed.writer)
    made = Copying(feed.writer.environment, 77, copy).run()
    assert made.bytes == os.stat(copy).st_size - TRAILER_BYTES
    assert made.bytes < feed.writer.used_bytes()
    assert generation_of(copy) == 77
    assert os.stat(copy).st_mode & 0o777 == 0o600
    feed.listing(1)
    unpack_store(copy, str(tmp_path / "t"))
    assert check(str(tmp_path / "t")) == []
    again = Writer(str(tmp_path / "t"), [SOURCE], map_size=1 << 30)
    assert tree_of(again) == before
    assert again.uuid == feed.writer.uuid
    again.close()
    feed.writer.close()
    assert sorted(os.listdir(tmp_path)) == ["copy", "s", "t"]


def test_it_is_consistent_whatever_is_written_meanwhile(tmp_path: Path) -> None:
    writer = Writer(str(tmp_path / "s"), [SOURCE], map_size=1 << 30)
    model = Model(1, Feed(writer), [b"n%d" % n for n in range(40)])
    model.new_epoch()
    faults: list[object] = []
    stop = threading.Event()
    made = 0

    def copies() -> None:
        nonlocal made
        while not stop.is_set():
            copy, folder = str(tmp_path / f"copy{made}"), str(tmp_path / f"t{made}")
            Copying(writer.environment, 1, copy).run()
            unpack_store(copy, folder)
            faults.extend(check(folder))
            made += 1

    thread = threading.Thread(target=copies)
    thread.start()
    steps = 0
    while made < 5:
        assert thread.is_alive()
        model.step()
        steps += 1
    stop.set()
    thread.join()
    assert faults == []
    assert steps > 50
    writer.close()


@pytest.mark.parametrize("when", ["before", "begun"])
def test_one_that_is_cancelled_leaves_the_store_and_nothing_behind(tmp_path: Path, when: str) -> None:
    feed = store(tmp_path / "s", 1_000)
    copy = str(tmp_path / "copy")
    Copying(feed.writer.environment, 1, copy).run()
    feed.listing(1, *[file_row(os.urandom(100).hex().encode(), n) for n in range(20_000)])
    copying = Copying(feed.writer.environment, 2, copy)
    outcome: list[BaseException] = []

    def run() -> None:
        try:
            copying.run()
        except MachineError as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    if when == "before":
        copying.cancel("enough")
        thread.start()
    else:
        thread.start()
        # It may have been done between two looks.
        until(
            lambda: any(path.name.endswith(".tmp") for path in tmp_path.iterdir()) or not thread.is_alive(),
            "a copy to be begun",
        )
        copying.cancel("enough")
    assert copying.released.wait(60)
    feed.writer.close()
    thread.join()
    # Whoever comes too late has changed nothing either: then the copy is the new one.
    assert [str(error) for error in outcome] == ["enough"] or (when == "begun" and generation_of(copy) == 2)
    assert all(isinstance(error, CancelledError) for error in outcome)
    assert sorted(os.listdir(tmp_path)) == ["copy", "s"]


@pytest.mark.skipif(bool(cannot_mount()), reason=cannot_mount() or "can mount")
def test_without_room_the_copy_before_stays(tmp_path: Path) -> None:
    feed = store(tmp_path / "s", 20_000)
    small = tmp_path / "small"
    small.mkdir()
    with mounts() as stack:
        mount("-t", "tmpfs", "-o", "size=256k", "test", str(small))
        stack.callback(umount, small)
        (small / "copy").write_text("before")
        with pytest.raises(StoreFullError, match="No space"):
            Copying(feed.writer.environment, 1, str(small / "copy")).run()
        assert [(path.name, path.read_text()) for path in small.iterdir()] == [("copy", "before")]
        # Nor is there room for a store to be made of one.
        Copying(feed.writer.environment, 1, str(tmp_path / "copy")).run()
        (small / "t").mkdir()
        with pytest.raises(StoreFullError, match="No space"):
            unpack_copy(str(tmp_path / "copy"), str(small / "t"))
    feed.listing(1)
    feed.writer.close()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    feed = store(tmp_path / "s", 1)
    copying = Copying(feed.writer.environment, 1, str(tmp_path / "no/copy"))
    with pytest.raises(MachineError, match="No such file"):
        copying.run()
    assert copying.released.wait(60)
    feed.writer.close()


def test_a_copy_that_was_changed_is_found_out(tmp_path: Path) -> None:
    feed = store(tmp_path / "s", 300)
    copy = tmp_path / "copy"
    Copying(feed.writer.environment, 9, str(copy)).run()
    feed.writer.close()
    content = copy.read_bytes()
    for number, at in enumerate({0, 1, 5000, len(content) // 2, *range(len(content) - TRAILER_BYTES, len(content), 5)}):
        changed = bytearray(content)
        changed[at] ^= 0x10
        copy.write_bytes(changed)
        folder = tmp_path / f"t{number}"
        folder.mkdir()
        with pytest.raises(StoreUnusableError, match="copy"):
            unpack_copy(str(copy), str(folder))
    for length in (0, 10, TRAILER_BYTES, 4096, len(content) - 1):
        copy.write_bytes(content[:length])
        assert generation_of(str(copy)) == 0
        folder = tmp_path / f"l{length}"
        folder.mkdir()
        with pytest.raises(StoreUnusableError, match="cut off"):
            unpack_copy(str(copy), str(folder))
        assert Path(data_file(str(folder))).exists()


def test_there_is_no_copy(tmp_path: Path) -> None:
    assert generation_of(str(tmp_path / "copy")) == 0
    with pytest.raises(StoreMissingError):
        unpack_copy(str(tmp_path / "copy"), str(tmp_path))
