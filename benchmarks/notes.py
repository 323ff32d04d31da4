"""
What it costs a scanner to write down what it handles: listings of a cached tree with notes in a file, and without any.

Prints one JSON object: CPU time an entry of both, in turn, and their difference; and of the two calls alone.

    python -m benchmarks.notes [--files 20000] [--per-directory 20] [--rounds 9] [--directory DIR]

What this module does not do: messages, watches, or a disk that has to be read.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable

from actors.scanner.look import Looker, Place
from actors.scanner.mounts import Mounts
from benchmarks.machine import machine
from fustor.runtime.handling import Handling
from protocols.data import Task

#: Calls in one round of the calls alone.
CALLS = 10_000


class Silent(Handling):
    """Writes nothing."""

    def begin(self, thing: bytes) -> None:
        """Nothing."""

    def part(self, name: bytes) -> None:
        """Nothing."""

    def end(self) -> None:
        """Nothing."""


def make(root: str, files: int, per_directory: int) -> list[Task]:
    """A tree, and a task for each of its directories."""
    tasks = []
    for number in range(max(1, files // per_directory)):
        name = f"directory-{number:06}"
        os.mkdir(os.path.join(root, name))
        for file in range(per_directory):
            with open(os.path.join(root, name, f"file-{file:04}.txt"), "wb"):
                pass
        tasks.append(Task(dir=1, path=name.encode(), dev=0, ino=0))
    return tasks


def cpu_ns(act: Callable[[], int]) -> float:
    """CPU nanoseconds of one of the things that ``act`` does; it returns how many they were."""
    since = time.process_time_ns()
    count = act()
    return (time.process_time_ns() - since) / count


def lister(root: str, note: Handling, tasks: list[Task]) -> Callable[[], int]:
    """Lists everything; returns the number of entries."""
    path = os.fsencode(root)
    mounts = Mounts(path)
    looker = Looker(
        root=path, takes=None, one_filesystem=True, mounts=mounts, add_watch=lambda fd: 1, place=Place(note=note)
    )
    return lambda: sum(len(rows) for task in tasks for _, rows in looker.look(task))


def calls(act: Callable[[bytes], None], value: bytes) -> int:
    """Call ``act`` again and again; returns how often."""
    for _ in range(CALLS):
        act(value)
    return CALLS


def main(arguments: list[str]) -> int:
    """Measure and print; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--per-directory", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--directory", help="where the tree is made, and removed  [default: $TMPDIR]")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=options.directory) as folder:
        root = os.path.join(folder, "root")
        os.mkdir(root)
        tasks = make(root, options.files, options.per_directory)
        note = Handling.at(os.path.join(folder, "note"))
        acts = {
            "with_notes": lister(root, note, tasks),
            "without": lister(root, Silent(), tasks),
            "part": lambda: calls(note.part, b"a name of a file.txt"),
            "begin": lambda: calls(note.begin, b"/some/directory/"),
        }
        taken: dict[str, list[float]] = {name: [] for name in acts}
        for _ in range(options.rounds):
            for name, act in acts.items():
                taken[name].append(cpu_ns(act))
        host = machine(folder)
    medians = {f"{name}_ns": round(statistics.median(values)) for name, values in taken.items()}
    extra = statistics.median([a - b for a, b in zip(taken["with_notes"], taken["without"], strict=True)])
    print(json.dumps({"machine": host, "files": options.files, **medians, "notes_per_entry_ns": round(extra)}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
