"""
Train the zstd dictionary of ``fustor/treestore/dictionary.py`` and print it as lines for that file.

The samples are chunks of one to forty seeded rows, as plausible directories have them. Another dictionary is another
format of the store: raise ``FORMAT`` with it.

    python -m benchmarks.train_dictionary
"""

from __future__ import annotations

import base64
import random
import sys

import zstandard

from fustor.treestore.format import encode_rows
from protocols.data import Row

BYTES, SAMPLES = 2048, 3000
_WORDS = (
    "report", "IMG", "invoice", "model", "sample", "backup", "track", "scene", "log", "draft", "final", "raw",
    "export", "contract", "thumbnail", "checkpoint", "minutes", "README", "render", "survey", "patient", "batch",
    "index", "main", "test", "setup", "config", "data", "utils", "img", "part", "frame", "chapter", "session"
)  # fmt: skip
_ENDINGS = (
    ".jpg", ".png", ".csv", ".json", ".txt", ".parquet", ".log", ".tar.gz", ".mp4", ".bin", ".pdf", ".h5", ".py",
    ".c", ".h", ".html", ".xml", ".so", ".zip", ".docx", ".xlsx", ".md"
)  # fmt: skip


def _row(rng: random.Random, ino: int, moment: int) -> Row:
    name = rng.choice(_WORDS)
    if rng.random() < 0.8:
        name += rng.choice("_-") + f"{rng.randrange(10 ** rng.randrange(2, 9)):04d}"
    name += rng.choice(_ENDINGS) if rng.random() < 0.9 else ""
    mtime = moment + rng.randrange(10**14)
    ctime = mtime if rng.random() < 0.4 else moment + 10**14 + ino * 10**5
    user = rng.choice((0, 1000, 1000, 33, rng.randrange(70_000)))
    if rng.random() < 0.03:
        target = f"../{rng.choice(_WORDS)}/{name}".encode()
        return (name.encode(), 0o120777, len(target), mtime, ctime, ino, user, user, 1, target)
    mode = rng.choice((0o100644, 0o100644, 0o100600, 0o100755, 0o100664))
    return (name.encode(), mode, int(rng.lognormvariate(10, 3)) % (1 << 40), mtime, ctime, ino, user, user, 1)


def _sample(rng: random.Random) -> bytes:
    moment = rng.randrange(1_420_000_000, 1_830_000_000) * 10**9 + rng.randrange(10**9)
    ino = rng.randrange(10 ** rng.randrange(3, 11))
    rows = {row[0]: row for row in (_row(rng, ino + at, moment) for at in range(rng.choice((1, 2, 3, 5, 8, 20, 40))))}
    return encode_rows([rows[name] for name in sorted(rows)])


def main() -> int:
    """Run it."""
    rng = random.Random(1)
    trained = zstandard.train_dictionary(BYTES, [_sample(rng) for _ in range(SAMPLES)], level=1).as_bytes()
    text = base64.b85encode(trained).decode()
    for at in range(0, len(text), 110):
        sys.stdout.write(f'    "{text[at : at + 110]}"\n')
    return 0


if __name__ == "__main__":
    sys.exit(main())
