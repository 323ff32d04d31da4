"""Trees to measure with: seeded, with realistic names, sizes, times and fan-out."""

from __future__ import annotations

import os
import random

_WORDS = [
    "report",
    "IMG",
    "invoice",
    "model",
    "sample",
    "backup",
    "track",
    "scene",
    "log",
    "draft",
    "final",
    "raw",
    "export",
]
_ENDINGS = [".jpg", ".csv", ".json", ".txt", ".parquet", ".log", ".tar.gz", ".mp4", ".bin", ""]


def make_tree(root: str, files: int, *, seed: int = 1, per_directory: int = 20) -> int:
    """
    Make about ``files`` files below ``root``, which must not exist; sparse, so that they take no room.

    Returns:
        The number of entries made, directories included (the root not).
    """
    rng = random.Random(seed)
    os.mkdir(root)
    made = 0
    left = files
    shelf = 0
    while left > 0:
        top = os.path.join(root, f"{rng.choice(_WORDS)}_{shelf:04d}")
        os.mkdir(top)
        made += 1
        shelf += 1
        for number in range(20):
            if left <= 0:
                break
            folder = os.path.join(top, f"{rng.choice(_WORDS)}-{number:03d}")
            os.mkdir(folder)
            made += 1
            for _ in range(min(left, max(1, int(rng.gauss(per_directory, per_directory / 4))))):
                name = f"{rng.choice(_WORDS)}_{rng.randrange(10**8):08d}{rng.choice(_ENDINGS)}"
                fd = os.open(os.path.join(folder, name), os.O_WRONLY | os.O_CREAT)
                os.ftruncate(fd, int(rng.lognormvariate(10, 3)) % (1 << 40))
                when = 1_500_000_000 * 10**9 + rng.randrange(260_000_000 * 10**9)
                os.utime(fd, ns=(when, when))
                os.close(fd)
                made += 1
                left -= 1
    return made
