"""Snapshots of real stores."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from fustor.treestore.environment import inode_of, source_key
from fustor.treestore.errors import StoreMissingError, StoreUnusableError
from fustor.treestore.format import Head, head_key, head_name, row_name, split_rows, unpack_chunk
from fustor.treestore.reader import Found, Reader, SourceStatus, pack_source, unpack_source
from fustor.treestore.writer import Writer
from protocols.data import Watermark
from tests.treestore.scenario import SOURCE, Feed, directory_row, file_row

LONG = b"L" * 450


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    """/a/{x, y/deep, 250 files}, /b (not listed), /top, and names that are longer than keys keep."""
    made = Writer(str(tmp_path / "store"), [SOURCE], map_size=1 << 28)
    feed = Feed(made)
    feed.root()
    feed.listing(1, directory_row(b"b"), directory_row(b"a"), file_row(b"top"), file_row(LONG + b"f"), ids=(3, 2))
    files = [file_row(b"f%03d" % i, i) for i in range(250)]
    feed.listing(2, *files, directory_row(b"y"), directory_row(b"x"), directory_row(LONG), ids=(5, 4, 7))
    feed.listing(4)
    feed.listing(5, directory_row(b"deep"), ids=(6,))
    feed.listing(6, file_row(b"leaf"))
    yield made
    made.close()


@pytest.fixture
def reader(writer: Writer) -> Reader:
    return writer.reader()


def test_paths_are_resolved(reader: Reader) -> None:
    with reader.snapshot() as snapshot:
        a, b = snapshot.child(1, b"a"), snapshot.child(1, b"b")
        y = snapshot.child(a, b"y")
        assert snapshot.resolve(()) == Found(1, 0, None, True)
        assert snapshot.resolve((b"a", b"y")) == Found(y, 2, None, True)
        assert snapshot.resolve((b"a", b"no")) == Found(a, 1, None, True)
        assert snapshot.resolve((b"a", b"no", b"further")) == Found(a, 1, None, True)
        assert snapshot.resolve((b"b", b"no")) == Found(b, 1, None, False)
        assert snapshot.resolve((b"a", LONG)).matched == 2
        found = snapshot.resolve((b"a", b"f249"))
        assert (found.id, found.matched, found.known) == (a, 1, True)
        assert found.row is not None
        assert b'"size":249,' in found.row
        assert snapshot.resolve((b"top", b"below")) == Found(1, 0, None, True)
        assert snapshot.parent(y) == a
        assert snapshot.parent(1) == 0


def test_every_row_is_found_by_name(reader: Reader) -> None:
    with reader.snapshot() as snapshot:
        a = snapshot.child(1, b"a")
        for i in range(250):
            row = snapshot.row(a, b"f%03d" % i)
            assert row is not None
            assert row_name(row) == b"f%03d" % i
        assert snapshot.row(a, b"") is None
        assert snapshot.row(a, b"f0001") is None
        assert snapshot.row(a, b"zzz") is None
        assert snapshot.row(1, LONG + b"f") is not None
        assert snapshot.row(1, LONG + b"g") is None
        assert snapshot.row(snapshot.child(a, b"x"), b"f001") is None
        assert snapshot.row(999, b"f001") is None


def names(chunks: list[bytes]) -> list[bytes]:
    return [row_name(row) for chunk in chunks for row in split_rows(unpack_chunk(chunk))]


def test_chunks_from_a_name_on(reader: Reader) -> None:
    with reader.snapshot() as snapshot:
        a = snapshot.child(1, b"a")
        chunks = list(snapshot.chunks(a))
        assert names(chunks) == [b"f%03d" % i for i in range(250)]
        assert len(chunks) == 3
        for lowest, first in ((b"f000", 0), (b"f083", 0), (b"f084", 1), (b"f100", 1), (b"zz", 2), (b"a", 0)):
            assert list(snapshot.chunks(a, lowest)) == chunks[first:]
        x = snapshot.child(a, b"x")
        assert list(snapshot.chunks(x)) == list(snapshot.chunks(x, b"f")) == []


def test_children_in_order(reader: Reader) -> None:
    with reader.snapshot() as snapshot:
        a = snapshot.child(1, b"a")
        assert [name for name, _ in snapshot.children(a)] == [LONG, b"x", b"y"]
        assert dict(snapshot.children(a))[b"y"] == snapshot.child(a, b"y")
        assert list(snapshot.children(snapshot.child(a, b"x"))) == []


def test_a_walk_is_depth_first_and_as_deep_as_asked(reader: Reader) -> None:
    with reader.snapshot() as snapshot:
        a = snapshot.child(1, b"a")

        def walked(depth: int | None) -> list[tuple[int, bytes, int]]:
            return [(at, head_name(head), len(names(chunks))) for at, _, head, chunks in snapshot.walk(a, depth)]

        assert walked(None) == [(0, b"a", 250), (1, LONG, 0), (1, b"x", 0), (1, b"y", 0), (2, b"deep", 1)]
        assert walked(1) == [(0, b"a", 250), (1, LONG, 0), (1, b"x", 0), (1, b"y", 0)]
        assert walked(2)[-1] == (2, b"deep", 0)
        assert walked(0) == [(0, b"a", 0)]
        with pytest.raises(StoreUnusableError):
            list(snapshot.walk(999))


def test_a_walk_reads_large_directories_in_parts(writer: Writer, reader: Reader) -> None:
    feed = Feed(writer)
    feed.root()
    below = [directory_row(b"d%04d" % n) for n in range(600)]
    handles = tuple(range(2, 602))
    feed.listing(1, *[file_row(b"f%05d" % n) for n in range(7000)], *below, ids=handles)
    for handle in handles[::50]:
        feed.listing(handle, file_row(b"in %d" % handle))
    with reader.snapshot() as snapshot:
        records = list(snapshot.walk(1))
        assert [(depth, at) for depth, at, _, _ in records if at == 1] == [(0, 1)] * 3
        assert [bool(head) for _, at, head, _ in records if at == 1] == [True, False, False]
        assert names([chunk for _, at, _, chunks in records if at == 1 for chunk in chunks]) == [
            b"f%05d" % n for n in range(7000)
        ]
        assert [(depth, head_name(head), len(names(chunks))) for depth, at, head, chunks in records[3:]] == [
            (1, b"d%04d" % n, 1 if n % 50 == 0 else 0) for n in range(600)
        ]


def test_a_snapshot_stays_as_it_was(writer: Writer, reader: Reader) -> None:
    feed = Feed(writer)
    with reader.snapshot() as before:
        generation = before.generation()
        feed.root()
        feed.listing(1, file_row(b"new"))
        assert before.child(1, b"a")
        assert before.row(1, b"new") is None
        assert before.generation() == generation
        with reader.snapshot() as after:
            assert not after.child(1, b"a")
            assert after.row(1, b"new") is not None
            assert after.generation() > generation
            value = after.head(1)
            assert value is not None
            assert Head.unpack(value).generation == after.generation()


def test_status(writer: Writer, reader: Reader) -> None:
    with reader.snapshot() as snapshot:
        first = snapshot.status()
        assert snapshot.status() is first  # nothing changed: nothing is parsed
    assert first.uuid == writer.uuid == reader.uuid
    assert first.sources == (SourceStatus(0, "agent", "data", "/", 1, 1, 6),)
    feed = Feed(writer)
    feed.epoch, feed.number = 1, 6
    assert not feed(Watermark(5, "degraded", False, ("a gap",), {"watches": 3}))
    with reader.snapshot() as snapshot:
        second = snapshot.status()
    assert second.generation == first.generation
    (source,) = second.sources
    assert source.arrived_ns > 0
    assert attrs.evolve(source, arrived_ns=0) == SourceStatus(
        0, "agent", "data", "/", 1, 1, 7, "degraded", 5, False, ("a gap",), {"watches": 3}
    )


def test_a_watermark_of_another_boot_never_arrived() -> None:
    status = SourceStatus(0, "a", "s", "/", 1, 2, 3, "live", 4, True, (), {}, arrived_ns=99)
    assert unpack_source(pack_source(status, "one"), "one") == status
    assert unpack_source(pack_source(status, "one"), "two") == attrs.evolve(status, arrived_ns=0)


@pytest.mark.parametrize("value", [b"", b"\x80", b"\x05", b"\xc1"])
def test_a_damaged_record_is_damage(value: bytes) -> None:
    with pytest.raises(StoreUnusableError):
        unpack_source(value, "boot")


def test_damage_is_told_as_such(writer: Writer, reader: Reader) -> None:
    with writer.environment.env.begin(write=True, db=writer.environment.tree) as txn:
        txn.delete(head_key(1))
    with reader.snapshot() as snapshot:
        assert snapshot.head(1) is None
        with pytest.raises(StoreUnusableError):
            snapshot.resolve((b"no",))
    with writer.environment.env.begin(write=True, db=writer.environment.meta) as txn:
        txn.put(source_key(0), b"rubbish")
    with reader.snapshot() as snapshot, pytest.raises(StoreUnusableError):
        snapshot.status()
    with writer.environment.env.begin(write=True, db=writer.environment.meta) as txn:
        txn.delete(source_key(0))


WRITE = """
import sys
from fustor.treestore.writer import SourceSpec, Writer
writer = Writer(sys.argv[1], [SourceSpec(0, "agent", "data", "/")], map_size=int(sys.argv[2]))
print(writer.uuid)
writer.close()
"""


def written(path: Path, size: int = 1 << 26) -> str:
    """The uuid of a store that another process wrote."""
    command = [sys.executable, "-c", WRITE, str(path), str(size)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.strip()


def test_another_process_and_another_store(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with pytest.raises(StoreMissingError):
        Reader(str(path))
    uuid = written(path)
    reader = Reader(str(path))
    assert (reader.uuid, reader.path) == (uuid, str(path))
    inode = reader.environment.inode
    with reader.snapshot() as snapshot:
        assert snapshot.status().sources[0].state == "empty"
    assert written(path) == uuid
    assert inode_of(str(path)) == inode
    assert reader.reclaim() == 0
    path.rename(tmp_path / "aside")
    assert inode_of(str(path)) is None
    assert written(path) != uuid
    assert inode_of(str(path)) not in (None, inode)
    with reader.snapshot() as snapshot:  # the old one goes on
        assert snapshot.status().uuid == uuid
    reader.close()
