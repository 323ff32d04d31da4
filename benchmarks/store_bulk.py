"""
How fast the tree store takes rows: bulk build, the same again, single names, reading it whole. CPU time, no sockets.

Prints one JSON object. ``reference`` is the least that any store of this kind does for a row, taken in the same rounds:
decode it from msgpack, encode it as JSON, compress its directory, nothing else.

    python -m benchmarks.store_bulk [--rows 1000000] [--per-directory 20] [--directory DIR]

What this module does not do: reading directories from a disk, and rendering (see ``query_load``).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

from benchmarks.machine import machine
from fustor.treestore.check import check
from fustor.treestore.environment import data_file
from fustor.treestore.format import encode_rows, pack_chunk, unpack_chunk
from fustor.treestore.wire import decode_page, split_pages
from fustor.treestore.writer import SourceSpec, Writer
from protocols import codec
from protocols.data import Item, Listing, Names, Operation, Root, Row, Watermark

_WORDS = (
    "report", "IMG", "invoice", "model", "sample", "backup", "track", "scene", "log", "draft", "final", "raw",
    "export", "contract", "étude", "thumbnail", "checkpoint"
)  # fmt: skip
_ENDINGS = (
    ".jpg", ".csv", ".json", ".txt", ".parquet", ".log", ".tar.gz", ".mp4", ".bin", ".pdf", ".h5", ".py", ""
)  # fmt: skip
#: Rows a transaction, about what 30 ms are enough for; directories an item, as a watcher sends them.
ROWS_PER_COMMIT, DIRECTORIES_PER_ITEM = 10_000, 32
#: Of the burst: directories that files are made in, and names an operation.
BURST_DIRECTORIES, BURST_NAMES = 50, 2

Encoded = tuple[bytes, bytes]


def file_row(rng: random.Random, ino: int, moment: int) -> Row:
    """A plausible file: its times are its own, those of a directory within weeks."""
    name = f"{rng.choice(_WORDS)}_{rng.randrange(10**8):08d}{rng.choice(_ENDINGS)}".encode()
    mtime = moment + rng.randrange(10**15)
    return (name, 0o100644, int(rng.lognormvariate(10, 3)) % (1 << 40), mtime, mtime + 77_000, ino, 1000, 1000, 1)


def directory_row(number: int, name: bytes) -> Row:
    """A plausible directory."""
    moment = 1_706_000_000_123_456_789 + number * 1_000_003
    return (name, 0o040755, 4096, moment, moment, number + 5_000_000, 1000, 1000, 2)


def listings(directories: int, per_directory: int) -> Iterator[tuple[Listing, list[Row]]]:
    """A tree with 20 subdirectories a directory, breadth first, each with about ``per_directory`` files."""
    rng = random.Random(1)
    ino = 9000
    for number in range(directories):
        below = range(number * 20 + 1, min(number * 20 + 21, directories))
        moment = rng.randrange(1_420_000_000, 1_735_000_000) * 10**9 + rng.randrange(10**9)
        files = max(0, round(rng.gauss(per_directory, per_directory / 4)))
        rows = [file_row(rng, ino + at, moment) for at in range(files)]
        ino += files
        rows += [directory_row(at, b"dir%06d" % at) for at in below]
        yield Listing(number + 1, b"", None, directory_row(number, b""), tuple(at + 1 for at in below)), rows


def encoded(number: int, ops: list[Operation], pages: list[list[Row]]) -> Encoded:
    """An item as it travels."""
    return codec.encode(Item.of(1, number, ops)), codec.pack(pages)


def items(directories: int, per_directory: int) -> tuple[list[Encoded], int]:
    """The items of a walk, and how many rows they have."""
    made: list[Encoded] = []
    rows = 0
    ops: list[Operation] = []
    pages: list[list[Row]] = []
    for op, page in listings(directories, per_directory):
        ops.append(op)
        pages.append(page)
        rows += len(page)
        if len(ops) == DIRECTORIES_PER_ITEM:
            made.append(encoded(1, ops, pages))
            ops, pages = [], []
    if ops:
        made.append(encoded(1, ops, pages))
    return made, rows


def burst(names: int) -> list[Encoded]:
    """Files made one after the other in some directories at once: single names, with their directory's own row."""
    rng = random.Random(7)
    made = []
    for at in range(0, names, 32 * BURST_NAMES):
        ops: list[Operation] = []
        pages = []
        for turn in range(at, min(at + 32 * BURST_NAMES, names), BURST_NAMES):
            handle = turn // BURST_NAMES % BURST_DIRECTORIES + 1
            ops.append(Names(handle, directory_row(turn, b"")))
            pages.append([(b"new%08d" % n, *file_row(rng, n, 10**18)[1:]) for n in range(turn, turn + BURST_NAMES)])
        made.append(encoded(1, ops, pages))
    return made


def cpu(work: Callable[[], object]) -> float:
    """CPU seconds of this process."""
    since = time.process_time()
    work()
    return time.process_time() - since


def feed(writer: Writer, batch: list[Encoded]) -> None:
    """Decode and apply all, committed every ROWS_PER_COMMIT rows."""
    pending = 0
    for message, frame in batch:
        pending += writer.apply(0, codec.decode(message, Item, limits=codec.DATA_LIMITS), frame)
        if pending >= ROWS_PER_COMMIT:
            writer.commit()
            pending = 0
    writer.commit()


def reference(batch: list[Encoded]) -> float:
    """CPU seconds to decode, encode and compress the rows of ``batch``, without keeping anything."""
    return cpu(
        lambda: [pack_chunk(encode_rows(decode_page(page))) for _, frame in batch for page, _ in split_pages(frame)]
    )


def anonymous_mib() -> float:
    """Memory of this process that is no file's (RssAnon, proc_pid_status(5)); pages of the map are the page cache's."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("RssAnon:")) / 1024


def measure(folder: str, batch: list[Encoded], rows: int, updates: int) -> dict[str, float]:
    """One round: a new store, and everything done to it."""
    path = folder + "/store"
    figures: dict[str, float] = {"reference_us_per_row": reference(batch) / rows * 1e6}
    writer = Writer(path, [SourceSpec(0, "a", "s", "/")])
    writer.apply(0, Item.of(1, 1, [Root(1)]), b"")
    before = anonymous_mib()
    figures["build_us_per_row"] = cpu(lambda: feed(writer, batch)) / rows * 1e6
    figures["memory_mib_more"] = anonymous_mib() - before
    figures["bytes_per_row"] = os.stat(data_file(path)).st_blocks * 512 / rows
    figures["again_us_per_row"] = cpu(lambda: feed(writer, batch)) / rows * 1e6
    names = burst(updates)
    figures["burst_us_per_name"] = cpu(lambda: feed(writer, names)) / updates * 1e6

    def watermarks() -> None:
        for at in range(1000):
            writer.apply(0, Item.of(1, 1, [Watermark(at, "live", True)]), b"")
            writer.commit()

    figures["watermark_commit_us"] = cpu(watermarks) / 1000 * 1e6
    reader = writer.reader()

    def walk() -> None:
        with reader.snapshot() as snapshot:
            for _, _, _, chunks in snapshot.walk(1):
                for chunk in chunks:
                    unpack_chunk(chunk)

    figures["walk_us_per_row"] = cpu(walk) / rows * 1e6

    def look() -> None:
        for _ in range(5000):
            with reader.snapshot() as snapshot:
                found = snapshot.resolve((b"dir000001", b"dir000021"))
                snapshot.status()
                snapshot.head(found.id)
                list(snapshot.chunks(found.id))

    figures["resolve_and_read_us"] = cpu(look) / 5000 * 1e6
    writer.close()
    return figures


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--per-directory", type=int, default=20)
    parser.add_argument("--updates", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--check", action="store_true", help="verify each store afterwards")
    parser.add_argument("--directory", default=None, help="where the stores are made (default: a temporary folder)")
    options = parser.parse_args()
    batch, rows = items(options.rows // (options.per_directory + 1), options.per_directory)
    rounds = []
    with tempfile.TemporaryDirectory(dir=options.directory) as folder:
        said = machine(folder)
        for number in range(options.rounds):
            place = f"{folder}/{number}"
            rounds.append(measure(place, batch, rows, options.updates))
            if options.check and (faults := check(place + "/store")):
                print("\n".join(faults[:20]), file=sys.stderr)
                return 1
    medians = {name: round(statistics.median(each[name] for each in rounds), 3) for name in rounds[0]}
    rates = {
        "build_rows_per_second": round(1e6 / medians["build_us_per_row"]),
        "burst_names_per_second": round(1e6 / medians["burst_us_per_name"]),
        "walk_rows_per_second": round(1e6 / medians["walk_us_per_row"]),
    }
    answer = {"machine": said, "rows": rows, "per_directory": options.per_directory, **medians, **rates}
    json.dump({**answer, "rounds": rounds}, sys.stdout, indent=2)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
