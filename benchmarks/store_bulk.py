"""
How fast the tree store takes rows: bulk build, the same again unchanged, single updates, and reading it whole.

Prints one JSON object. Decoding the rows is part of every figure, getting them from a disk or a socket is not.

    python benchmarks/store_bulk.py [--rows 1000000] [--per-directory 20] [--directory DIR]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator

from fustor.treestore.environment import data_file
from fustor.treestore.writer import SourceSpec, Writer
from protocols import codec
from protocols.data import Item, Listing, Names, Root, Row, Watermark

BASE = 1_706_000_000_123_456_789
#: Rows a transaction, about what 30 ms are enough for.
ROWS_PER_COMMIT = 20_000


def file_row(number: int) -> Row:
    """A plausible file."""
    moment = BASE + number * 1_000_003_019
    return (
        b"file%08d.dat" % number,
        0o100644,
        number * 977 % 5_000_000,
        moment,
        moment + 77,
        number + 9000,
        1000,
        1000,
        1,
    )


def directory_row(number: int, name: bytes) -> Row:
    """A plausible directory."""
    moment = BASE + number * 1_000_003
    return (name, 0o040755, 4096, moment, moment, number + 5_000_000, 1000, 1000, 2)


def listings(directories: int, per_directory: int) -> Iterator[tuple[int, tuple[int, ...], list[Row]]]:
    """(id, ids of subdirectories, rows) of a tree with 20 subdirectories a directory, breadth first."""
    for number in range(directories):
        below = range(number * 20 + 1, min(number * 20 + 21, directories))
        rows = [file_row(number * per_directory + at) for at in range(per_directory)]
        rows += [directory_row(at, b"dir%06d" % at) for at in below]
        yield number + 1, tuple(at + 1 for at in below), rows


def items(directories: int, per_directory: int, first: int) -> list[tuple[Item, bytes, int]]:
    """Items of 32 directories each, as a watcher sends them."""
    made: list[tuple[Item, bytes, int]] = []
    ops: list[Listing] = []
    pages: list[list[Row]] = []

    def flush() -> None:
        if ops:
            made.append((Item.of(1, first + len(made), list(ops)), codec.pack(pages), sum(len(page) for page in pages)))
            ops.clear()
            pages.clear()

    for handle, ids, rows in listings(directories, per_directory):
        ops.append(Listing(handle, b"", None, directory_row(handle, b""), ids))
        pages.append(rows)
        if len(ops) == 32:
            flush()
    flush()
    return made


def feed(writer: Writer, batch: list[tuple[Item, bytes, int]]) -> float:
    """Apply all; CPU seconds of this process."""
    since = time.process_time()
    pending = 0
    for item, frame, rows in batch:
        writer.apply(0, item, frame)
        pending += rows
        if pending >= ROWS_PER_COMMIT:
            writer.commit()
            pending = 0
    writer.commit()
    return time.process_time() - since


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--per-directory", type=int, default=20)
    parser.add_argument("--updates", type=int, default=50_000)
    parser.add_argument("--directory", default=None, help="where the store is made (default: a temporary folder)")
    options = parser.parse_args()
    directories = options.rows // options.per_directory
    with tempfile.TemporaryDirectory(dir=options.directory) as folder:
        writer = Writer(folder + "/store", [SourceSpec(0, "a", "s", "/")])
        writer.apply(0, Item.of(1, 1, [Root(1)]), b"")
        batch = items(directories, options.per_directory, 2)
        rows = sum(count for _, _, count in batch)
        build = feed(writer, batch)
        size = os.stat(data_file(folder + "/store")).st_blocks * 512
        again = feed(writer, batch)

        source = random.Random(7)
        updates: list[tuple[Item, bytes, int]] = []
        for at in range(options.updates):
            number = source.randrange(options.rows)
            row = file_row(number)
            changed = (row[0], row[1], row[2] + 1, *row[3:])
            handle = number // options.per_directory + 1
            updates.append((Item.of(1, len(batch) + 2 + at, [Names(handle, ())]), codec.pack([[changed]]), 1))
        single = time.process_time()
        for at, (item, frame, _) in enumerate(updates):
            writer.apply(0, item, frame)
            if at % 1000 == 999:
                writer.commit()
        writer.commit()
        single = time.process_time() - single
        commits = time.process_time()
        for at in range(1000):
            writer.apply(0, Item.of(1, 10**9 + at, [Watermark(at, "live", True)]), b"")
            writer.commit()
        commits = time.process_time() - commits

        reader = writer.reader()
        walk = time.process_time()
        with reader.snapshot() as snapshot:
            copied = sum(len(head) + sum(map(len, chunks)) for _, _, head, chunks in snapshot.walk(1))
        walk = time.process_time() - walk
        resolve = time.process_time()
        for _ in range(20_000):
            with reader.snapshot() as snapshot:
                found = snapshot.resolve((b"dir000001", b"dir000021"))
                snapshot.status()
                snapshot.head(found.id)
                list(snapshot.chunks(found.id))
        resolve = time.process_time() - resolve
        writer.close()
    json.dump(
        {
            "rows": rows,
            "per_directory": options.per_directory,
            "build_rows_per_cpu_second": round(rows / build),
            "build_us_per_row": round(build / rows * 1e6, 3),
            "unchanged_us_per_row": round(again / rows * 1e6, 3),
            "bytes_per_row": round(size / rows, 1),
            "single_updates_per_cpu_second": round(options.updates / single),
            "watermark_commit_us": round(commits / 1000 * 1e6, 1),
            "walk_rows_per_cpu_second": round(rows / walk),
            "walk_bytes": copied,
            "resolve_and_read_us": round(resolve / 20_000 * 1e6, 2),
        },
        sys.stdout,
        indent=2,
    )
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
