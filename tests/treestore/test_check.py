"""Each kind of damage is found, and named."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import lmdb
import pytest

from fustor.treestore.check import check, check_snapshot
from fustor.treestore.environment import ids_name, source_key
from fustor.treestore.errors import StoreMissingError
from fustor.treestore.format import (
    BLANK,
    Head,
    child_key,
    chunk_key,
    encode_rows,
    head_key,
    pack_chunk,
    pack_id,
)
from fustor.treestore.writer import Writer
from tests.treestore.scenario import SOURCE, Feed, directory_row, file_row

TOP, A, DEEP = 1, 2, 3


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    made = Writer(str(tmp_path / "s"), [SOURCE], map_size=1 << 26)
    feed = Feed(made)
    feed.root()
    feed.listing(1, directory_row(b"a"), file_row(b"f"), ids=(2,))
    feed.listing(2, *[file_row(b"f%03d" % i, i) for i in range(150)], directory_row(b"deep"), ids=(3,))
    feed.listing(3, file_row(b"leaf", 7))
    feed.listing(9, file_row(b"limbo"))
    yield made
    made.environment.close()


def test_a_sound_store_has_no_faults(writer: Writer, tmp_path: Path) -> None:
    assert check_snapshot(writer.reader()) == []
    writer.environment.close()
    assert check(str(tmp_path / "s")) == []
    with pytest.raises(StoreMissingError):
        check(str(tmp_path / "nothing"))


Damage = Callable[["lmdb.Transaction[bytes]", "lmdb._Database"], object]


def head_changed(store_id: int, **changes: object) -> Damage:
    def damage(txn: lmdb.Transaction[bytes], files: lmdb._Database) -> None:
        head = Head.unpack(txn.get(head_key(store_id), b""))
        for name, value in changes.items():
            setattr(head, name, value)
        txn.put(head_key(store_id), head.pack())

    return damage


def chunk(store_id: int, lowest: bytes, *names: bytes, text: bytes = b"") -> Damage:
    rows = text or encode_rows([file_row(name, 0) for name in names])
    return lambda txn, files: txn.put(chunk_key(store_id, lowest), pack_chunk(rows), db=files)


LEAF = encode_rows([file_row(b"leaf", 7)])


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda txn, _: txn.put(b"\0" * 7 + b"\1\7what", b"x"), "none of this layout"),
        (lambda txn, _: txn.delete(head_key(DEEP)), "has files and no head"),
        (lambda txn, _: txn.delete(head_key(DEEP)), "linked from 2, has no head"),
        (lambda txn, _: txn.put(head_key(DEEP), b"x"), "head:"),
        (lambda txn, _: txn.put(head_key(DEEP), txn.get(head_key(DEEP), b"") + b"x"), "head:"),
        (lambda txn, _: txn.put(head_key(DEEP), txn.get(head_key(DEEP), b"")[:-1]), "head:"),
        (head_changed(DEEP, attributes=(0o100644, *BLANK[1:])), "its attributes are those of a file"),
        (head_changed(DEEP, attributes=(0o170000, *BLANK[1:])), "head:"),
        (head_changed(DEEP, unreadable=b"EIO"), "unreadable b'EIO'"),
        (head_changed(DEEP, flags=4), "unreadable b''"),
        (head_changed(DEEP, flags=2), "remembers a listing"),
        (head_changed(DEEP, name=b"other"), "linked as b'deep'"),
        (head_changed(DEEP, flags=16), "wrong about being UTF-8"),
        (head_changed(DEEP, parent=TOP), "its head says parent 1, the link comes from 2"),
        (head_changed(DEEP, files=9), "rollup"),
        (head_changed(A, directories=9), "rollup"),
        (head_changed(TOP, size=9), "rollup"),
        (head_changed(DEEP, generation=1 << 60), "changed later than 2"),
        (head_changed(DEEP, generation=1 << 60), "the store has"),
        (lambda txn, _: txn.delete(child_key(A, b"deep")), "has no place"),
        (lambda txn, _: txn.delete(child_key(A, b"deep")), "can't be reached"),
        (lambda txn, _: txn.put(child_key(TOP, b"twice"), pack_id(DEEP)), "linked twice"),
        (lambda txn, _: txn.put(child_key(DEEP, b"up"), pack_id(A)), "linked twice"),
        (lambda txn, _: txn.delete(head_key(TOP)), "there is no top"),
        (chunk(DEEP, b"", b"a"), "rollup"),
        (chunk(DEEP, b"m", b"n"), "rollup"),
        (chunk(DEEP, b"", b"b", b"a"), "out of place"),
        (chunk(DEEP, b"z", b"a"), "out of place"),
        (chunk(A, b"", b"zzz"), "out of place"),
        (chunk(A, b"", b"deep"), "is a file and a directory"),
        (chunk(DEEP, b"", *[b"n%03d" % i for i in range(101)]), "101 rows"),
        (chunk(DEEP, b"", text=encode_rows([directory_row(b"d")])), "is a directory"),
        (chunk(DEEP, b"", text=LEAF.replace(b"\x01", b"")), "has the path"),
        (chunk(DEEP, b"", text=LEAF.replace(b'/leaf"', b'/other"')), "has the path"),
        (chunk(DEEP, b"", text=LEAF.replace(b'"name":"leaf"', b'"name":"le\\u0061f"')), "is not found"),
        (chunk(DEEP, b"", text=LEAF.replace(b'"size":7', b'"size": 7')), "sizes are not found"),
        (chunk(DEEP, b"", text=LEAF[:-1]), "chunk"),
        (lambda txn, files: txn.put(chunk_key(DEEP, b""), b"\5", db=files), "codec"),
        (lambda txn, files: txn.delete(chunk_key(A, b""), db=files), "the first chunk begins with"),
    ],
)
def test_damage_of_the_tree(writer: Writer, damage: Damage, words: str) -> None:
    with writer.environment.env.begin(write=True, db=writer.environment.tree) as txn:
        damage(txn, writer.environment.files)
    faults = check_snapshot(writer.reader())
    assert any(words in fault for fault in faults), faults


@pytest.mark.parametrize(
    ("handle", "store_id", "words"),
    [
        (5, 99, "which does not exist"),
        (5, DEEP, "which says 3"),
        (3, A, "which says 2"),
        (9, None, "in limbo, and no source knows it"),
        (2, TOP, "which says 1"),
    ],
)
def test_damage_of_the_ids(writer: Writer, handle: int, store_id: int | None, words: str) -> None:
    ids = writer.environment.env.open_db(ids_name(0))
    with writer.environment.env.begin(write=True, db=ids) as txn:
        if store_id is None:
            txn.delete(pack_id(handle))
        else:
            txn.put(pack_id(handle), pack_id(store_id))
    faults = check_snapshot(writer.reader())
    assert any(words in fault for fault in faults), faults


def test_damage_of_the_records(writer: Writer) -> None:
    with writer.environment.env.begin(write=True, db=writer.environment.meta) as txn:
        txn.put(b"next-id", pack_id(2))
        txn.put(source_key(0), b"rubbish")
    faults = check_snapshot(writer.reader())
    assert any("the next id is 2" in fault for fault in faults)
    assert any("damaged record of a source" in fault for fault in faults)
