"""What every measure is given: the tree, how long to measure, and folders for the state of what it starts."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import attrs

from benchmarks.sample import Sample
from benchmarks.subjects.base import Subject
from benchmarks.trees import SCRATCH, Tree
from benchmarks.web import until


@attrs.frozen
class Scale:
    """
    How long things are measured.

    Attributes:
        load_seconds: of each request load.
        looks: events measured one by one, also pings and single questions.
        rates: creates a second of the sustained loads.
        rate_seconds: how long each of those lasts.
        burst: files created at once.
        idle_seconds: how long nothing happens.
        settle_seconds: how long lost events are waited for.
        agents: simulated ones.
        kills: of processes in the chaos, at least; 0: as many as it takes to kill everybody.
        upgrades: of each side, each with three bad ones.
    """

    load_seconds: float
    looks: int
    rates: tuple[int, ...]
    rate_seconds: float
    burst: int
    idle_seconds: float
    settle_seconds: float
    agents: int
    kills: int
    upgrades: int


QUICK = Scale(1.0, 60, (1000,), 2.0, 50_000, 3.0, 20.0, 200, 0, 1)
NORMAL = Scale(4.0, 300, (300, 1000, 3000), 8.0, 50_000, 10.0, 30.0, 2000, 200, 3)
FULL = Scale(8.0, 600, (300, 1000, 3000, 10_000), 20.0, 50_000, 30.0, 60.0, 2000, 1000, 7)


#: Below the folder of a run: what its measures leave for readers.
REPORTS = "reports"


@attrs.frozen
class Bench:
    """
    Attributes: tree, scale; folder: for state, removed in the end, outside of the tree; seed: of random choices.
    """

    tree: Tree
    scale: Scale
    folder: Path
    seed: int = 1

    def report(self, name: str, text: str) -> str:
        """Leave a file for readers, beside the result; its name, with a number where there is one already."""
        reports = self.folder / REPORTS
        reports.mkdir(exist_ok=True)
        stem, _, ending = name.rpartition(".")
        for number in itertools.count(1):
            path = reports / (f"{stem}-{number}.{ending}" if number > 1 else name)
            with contextlib.suppress(FileExistsError), path.open("x", encoding="utf-8") as file:
                file.write(text)
                return path.name
        raise AssertionError("unreachable")

    @property
    def shared(self) -> Path:
        """Where the system that several measures share keeps its state."""
        return self.folder / "state"

    @contextmanager
    def state(self) -> Iterator[Path]:
        """A folder for the state of one started system; it is removed, but not made."""
        made = Path(tempfile.mkdtemp(dir=self.folder))
        try:
            yield made / "s"
        finally:
            shutil.rmtree(made)

    @contextmanager
    def scratch(self, subject: Subject) -> Iterator[str]:
        """
        The directory for files of a measure, by its path below the root; in the end it is empty again, there as well.

        Raises:
            WrongAnswerError: ``subject`` still shows files in it.
        """
        try:
            yield SCRATCH
        finally:
            for folder, _, names in os.walk(os.path.join(self.tree.root, SCRATCH)):
                for name in names:
                    os.unlink(os.path.join(folder, name))
        patience = self.scale.settle_seconds
        until(lambda: subject.files_below(SCRATCH) == 0, "removed files to disappear", patience, 0.05)


#: Whether a measure finds the subject running, starts it and leaves it running, or runs a system of its own.
Kind = Literal["running", "starts", "own"]


@attrs.frozen
class Measure:
    """
    Attributes:
        name: as on the command line.
        title: as a heading.
        about: what is measured and how, for the reader of the results.
        run: yields what it found.
        applies: whether the subject can be asked for it.
        kind: see :data:`Kind`.
    """

    name: str
    title: str
    about: str
    run: Callable[[Subject, Bench], Iterator[Sample]]
    applies: Callable[[Subject], bool]
    kind: Kind = "running"
