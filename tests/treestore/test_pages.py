"""Chunks of one directory against a dictionary, in a real environment."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import lmdb
import pytest

from fustor.treestore.format import MAX_ROWS, chunk_key, name_key, row_name, row_sizes, split_rows, unpack_chunk
from fustor.treestore.pages import Pages, key_range
from tests.treestore.scenario import file_row

Files = dict[bytes, int]


class Store:
    def __init__(self, env: lmdb.Environment) -> None:
        self.files = env.open_db(b"files")
        self.txn = env.begin(write=True, db=self.files)
        # Neighbours, that must never be touched.
        self.txn.put(chunk_key(6, b"z"), b"before")
        self.txn.put(chunk_key(8, b""), b"after")
        self.pages = Pages(self.txn, self.files)

    def chunks(self) -> list[tuple[bytes, bytes]]:
        self.pages.flush()
        with self.txn.cursor() as cursor:
            return [(key[8:], unpack_chunk(value)) for key, value in cursor if key[:8] == chunk_key(7, b"")]

    def verify(self, files: Files) -> None:
        """The chunks are ``files``, and as chunks must be."""
        chunks = self.chunks()
        found: Files = {}
        bounds = [lowest for lowest, _ in chunks]
        assert bounds[:1] in ([], [b""])
        for at, (lowest, text) in enumerate(chunks):
            names = [row_name(row) for row in split_rows(text)]
            keys = [name_key(name) for name in names]
            assert 1 <= len(names) <= MAX_ROWS
            assert keys == sorted(keys)
            assert keys[0] >= lowest
            assert at + 1 == len(bounds) or keys[-1] < bounds[at + 1]
            found.update(zip(names, row_sizes(text), strict=True))
        assert found == files
        assert self.txn.get(chunk_key(6, b"z")) == b"before"
        assert self.txn.get(chunk_key(8, b"")) == b"after"

    def listing(self, files: Files, lo: bytes = b"", hi: bytes | None = None, ignore: set[bytes] | None = None) -> bool:
        rows = [file_row(name, size) for name, size in files.items()]
        return self.pages.replace(7, lo, hi, rows, ignore or set()).changed


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    env = lmdb.open(str(tmp_path), map_size=1 << 28, max_dbs=2)
    made = Store(env)
    yield made
    made.txn.abort()
    env.close()


def numbered(*numbers: int) -> Files:
    return {b"n%05d" % number: number for number in numbers}


def test_a_big_directory_is_split_evenly(store: Store) -> None:
    assert store.listing(numbered(*range(250)))
    store.verify(numbered(*range(250)))
    assert [text.count(b'{"name"') for _, text in store.chunks()] == [84, 84, 82]


def test_what_is_the_same_is_not_written(store: Store) -> None:
    store.listing(numbered(*range(250)))
    for extra in range(60):
        store.pages.update(7, [file_row(b"n00100-%d" % extra)], ())
    everything = {
        row_name(row): size for _, t in store.chunks() for row, size in zip(split_rows(t), row_sizes(t), strict=True)
    }
    before = store.chunks()
    assert not store.listing(everything)
    assert not store.pages.update(7, [file_row(b"n00007", 7)], [b"absent"]).changed
    assert store.chunks() == before


def test_only_changed_chunks_are_written(store: Store) -> None:
    store.listing(numbered(*range(1000)))
    before = dict(store.chunks())
    store.listing(numbered(*range(1000)) | {b"n00500": 1})
    after = dict(store.chunks())
    assert before.keys() == after.keys()
    assert sum(before[key] != after[key] for key in before) == 1


def test_emptying_the_front_keeps_the_first_key(store: Store) -> None:
    store.listing(numbered(*range(300)))
    store.listing({}, hi=b"n00150")
    store.verify(numbered(*range(150, 300)))
    store.pages.update(7, (), [b"n%05d" % number for number in range(150, 299)])
    store.verify(numbered(299))
    store.pages.update(7, (), [b"n00299"])
    store.verify({})


def test_growing_at_the_end_one_by_one_keeps_chunks_sane(store: Store) -> None:
    for number in range(1000):
        store.pages.update(7, [file_row(b"n%05d" % number, number)], ())
    store.verify(numbered(*range(1000)))
    assert len(store.chunks()) <= 20


def test_many_single_removals_leave_no_tiny_chunks(store: Store) -> None:
    store.listing(numbered(*range(1000)))
    left = set(range(1000))
    for number in random.Random(4).sample(range(1000), 900):
        store.pages.update(7, (), [b"n%05d" % number])
        left.discard(number)
    store.verify(numbered(*left))
    assert len(store.chunks()) <= 7


def test_deltas_add_up(store: Store) -> None:
    chance = random.Random(5)
    files, size = 0, 0
    for _ in range(100):
        wanted = numbered(*chance.sample(range(400), chance.randrange(300)))
        rows = [file_row(name, size) for name, size in sorted(wanted.items())]
        delta = store.pages.replace(7, b"", None, rows)
        files, size = files + delta.files, size + delta.size
        assert (files, size) == (len(wanted), sum(wanted.values()))


LONG = [b"L" * length + tail for length in (298, 299, 300, 301, 399, 400, 401, 600) for tail in (b"", b"a", b"\xff")]


@pytest.mark.parametrize("seed", range(4))
def test_random_ranges_and_names_equal_a_dictionary(store: Store, seed: int) -> None:
    chance = random.Random(seed)
    names = [b"n%03d" % number for number in range(500)] + LONG
    files: Files = {}
    for step in range(150):
        some = chance.sample(names, chance.choice((1, 1, 3, 40, 300)))
        if chance.random() < 0.5:
            upserts = {name: chance.randrange(100) for name in some if chance.random() < 0.6}
            gone = set(some) - upserts.keys()
            store.pages.update(7, [file_row(name, size) for name, size in upserts.items()], gone)
            files = {name: size for name, size in files.items() if name not in gone} | upserts
        else:
            lo = chance.choice(names) if chance.random() < 0.6 else b""
            hi = chance.choice(names) if chance.random() < 0.6 else None
            ignore = set(chance.sample(names, 10)) if chance.random() < 0.5 else set()
            inside = {name for name in names if lo <= name and (hi is None or name < hi)} - ignore
            new = {name: chance.randrange(100) for name in some if name in inside}
            store.listing(new, lo, hi, ignore)
            files = {name: size for name, size in files.items() if name not in inside} | new
        if step % 10 == 0:
            store.verify(files)
    store.verify(files)


def test_key_ranges_hold_every_name_of_the_range() -> None:
    for lo in (b"", *LONG):
        for hi in (None, *LONG):
            low, high = key_range(lo, hi)
            for name in LONG:
                if lo <= name and (hi is None or name < hi):
                    assert low <= name_key(name)
                    assert high is None or name_key(name) < high
