"""
Runs measures: for each tree, each repeat, each subject in turn.

The order of the subjects moves on by one with every repeat, so that none is always the first. A measure that fails is
written down, its subject is started anew for the next one, and the run goes on.
"""

from __future__ import annotations

import http.client
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs

from benchmarks.bench import Bench, Measure, Scale
from benchmarks.errors import BenchError, CannotRunError
from benchmarks.machine import busy_share
from benchmarks.result import Failure, Made, Result, Round
from benchmarks.subjects.base import Subject
from benchmarks.trees import Tree, make_tree
from protocols.errors import FustorError

#: Seconds before each round in which it is measured what others use.
_BACKGROUND_SECONDS = 1.0
#: What a measure may end with: a wrong answer, a broken connection, a failed command, a condition that was not met.
FAILURES = (BenchError, FustorError, AssertionError, OSError, http.client.HTTPException, subprocess.SubprocessError)


@attrs.frozen
class Plan:
    """
    What is to be done.

    Attributes:
        files: sizes of the trees.
        repeats: of everything.
        seed: of the trees and of other random choices.
        scale: how long is measured.
        measures, subjects: which; every pair that applies.
    """

    files: Sequence[int]
    repeats: int
    seed: int
    scale: Scale
    measures: Sequence[Measure]
    subjects: Sequence[Subject]

    @property
    def pairs(self) -> list[tuple[Subject, Measure]]:
        """What one round consists of."""
        return [(one, measure) for one in self.subjects for measure in self.measures if measure.applies(one)]

    @property
    def steps(self) -> int:
        """How many measures are taken in all."""
        return len(self.files) * self.repeats * len(self.pairs)


@attrs.frozen
class Progress:
    """
    Who is told.

    Attributes:
        making: so many files of a tree have been made since the last time, of how many.
        begins: a measure, in words.
        ended: it; why it failed, or nothing.
    """

    making: Callable[[int, int], None]
    begins: Callable[[str], None]
    ended: Callable[[str], None]


def run(plan: Plan, result: Result, folder: Path, progress: Progress) -> None:
    """
    Take all measures into ``result``.

    Args:
        plan: what.
        result: is added to as figures come, so that an interrupted run has those it took.
        folder: for trees and states; what is made in it is removed again, trees stay.
        progress: is told.

    Raises:
        CannotRunError: a tree can't be made.
    """
    for files in plan.files:
        root = folder / f"tree-{files}"
        try:
            tree = make_tree(str(root), files, plan.seed, lambda made, files=files: progress.making(made, files))  # type: ignore[misc]
        except OSError as error:
            raise CannotRunError(
                f"{root}: {error.strerror} ({error.filename}); set TMPDIR to a place with room"
            ) from None
        result.trees.append(Made(files, tree.entries, tree.directories))
        for number in range(1, plan.repeats + 1):
            started = time.monotonic()
            others = busy_share(_BACKGROUND_SECONDS)
            _round(plan, tree, files, number, result, folder, progress)
            load = round(os.getloadavg()[0], 2)
            result.rounds.append(Round(files, number, round(others, 3), load, round(time.monotonic() - started, 1)))


def _round(plan: Plan, tree: Tree, files: int, number: int, result: Result, folder: Path, progress: Progress) -> None:
    turn = (number - 1) % len(plan.subjects)
    for subject in (*plan.subjects[turn:], *plan.subjects[:turn]):
        host = _Host(subject, Bench(tree, plan.scale, folder, plan.seed))
        try:
            for measure in plan.measures:
                if not measure.applies(subject):
                    continue
                progress.begins(f"{files:,} files, round {number} of {plan.repeats}, {subject.name}: {measure.name}")
                reason = ""
                try:
                    host.prepare(measure)
                    for sample in measure.run(subject, host.bench):
                        result.add(files, measure.name, subject.name, sample)
                except FAILURES as error:
                    reason = f"{type(error).__name__}: {error}"
                    result.failures.append(Failure(files, number, measure.name, subject.name, reason))
                    host.stop()
                progress.ended(reason)
        finally:
            host.stop()


class _Host:
    """Starts and stops a subject as measures need it."""

    def __init__(self, subject: Subject, bench: Bench) -> None:
        self.bench = bench
        self._subject = subject
        self._running = False

    def prepare(self, measure: Measure) -> None:
        """Make it run, or not, as ``measure`` wants it."""
        if measure.kind != "running":
            self.stop()
        elif not self._running:
            self._running = True
            self._subject.start(self.bench.tree, self.bench.shared)
            self._subject.wait_complete(self.bench.tree)
        if measure.kind == "starts":
            self._running = True

    def stop(self) -> None:
        """Stop it if it runs, and forget its state."""
        if self._running:
            self._subject.stop()
            self._running = False
        if self.bench.shared.exists():
            shutil.rmtree(self.bench.shared)
