"""
Reads one long answer again and again, as a process of its own: ``python -m benchmarks.drain HOST PORT TARGET HEADERS``.

HEADERS is a JSON object. Prints a line with the number of bytes after each whole answer; ends when its input does.
"""

from __future__ import annotations

import json
import select
import subprocess
import sys
from collections.abc import Mapping

from benchmarks.checkout import CHECKOUT
from benchmarks.web import Connection


def start(address: tuple[str, int], target: str, headers: Mapping[str, str]) -> subprocess.Popen[str]:
    """A running reader; close its standard input to end it after the answer that it is reading."""
    command = [sys.executable, "-m", "benchmarks.drain", address[0], str(address[1]), target, json.dumps(dict(headers))]
    return subprocess.Popen(command, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def main(host: str, port: str, target: str, headers: str) -> None:
    """Read until the input ends."""
    with Connection((host, int(port)), json.loads(headers)) as connection:
        while not select.select([sys.stdin], [], [], 0)[0]:
            print(connection.download(target, count=False).size, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
