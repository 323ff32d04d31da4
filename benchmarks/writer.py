"""
Creates files at a rate, as a process of its own: ``python -m benchmarks.writer FOLDER COUNT RATE``.

The files are spread over the scratch directories below FOLDER (see ``benchmarks.trees``). RATE is files a
second; 0: as fast as it goes. Prints one JSON object when done: ``created``, ``seconds``, and ``late``, by how many
seconds at most a file was created after its time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

from benchmarks.checkout import CHECKOUT
from benchmarks.trees import SCRATCH_WRITTEN


def start(folder: str, count: int, rate: float) -> subprocess.Popen[str]:
    """A running writer; its result is on its standard output."""
    command = [sys.executable, "-m", "benchmarks.writer", folder, str(count), str(rate)]
    return subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True)


def write(folder: str, count: int, rate: float) -> dict[str, float]:
    """Do it."""
    late = 0.0
    start = time.monotonic()
    for number in range(count):
        if rate:
            wait = start + number / rate - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            else:
                late = max(late, -wait)
        path = os.path.join(folder, SCRATCH_WRITTEN[number % len(SCRATCH_WRITTEN)], f"f{number:07d}")
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
    return {"created": count, "seconds": time.monotonic() - start, "late": late}


if __name__ == "__main__":
    print(json.dumps(write(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))))
