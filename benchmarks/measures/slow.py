"""A storage that takes 5 ms for every stat, and one directory of it that does not answer at all."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import attrs

from benchmarks.beats import Beats
from benchmarks.bench import Bench, Measure
from benchmarks.errors import WrongAnswerError
from benchmarks.eye import Eye
from benchmarks.sample import Sample
from benchmarks.subjects.base import Subject
from benchmarks.subjects.fustor import Fustor
from benchmarks.web import until
from fustor.admin.state import State
from tests.support.fuse import HangingStorage, unavailable

#: What a stat takes, the scanners that wait for it at the same time, and how often what is there is looked at.
_DELAY_MS, _SCANNERS, _LOOK = 5, 16, 0.1
#: Files of a directory, and directories of one above them.
_FILES, _DIRECTORIES = 20, 100
_HANGS = "hangs"
#: Times the least that it can take: beyond that it is given up.
_PATIENCE = 10.0


def run(subject: Subject, bench: Bench) -> Iterator[Sample]:
    """All that can be seen is seen, nobody is ended for waiting, and what hung is there once it answers."""
    assert isinstance(subject, Fustor)
    directories = max(1, bench.tree.files // _FILES)
    files = directories * _FILES
    least = files * _DELAY_MS / 1000 / _SCANNERS
    with bench.state() as folder, ExitStack() as stack:
        storage = HangingStorage(folder.parent / "mount", _tree(directories), _DELAY_MS)
        try:
            storage.hang(_HANGS)
            start = time.perf_counter()
            tree = attrs.evolve(bench.tree, root=str(storage.root))
            subject.start_with(tree, folder, source=f"scanners = {_SCANNERS}")
            assert subject.cluster is not None
            eye = Eye(State(subject.cluster.state))
            eye.wait_agent()
            before = subject.pids()
            beats = stack.enter_context(Beats(eye.state))
            at = time.monotonic()
            until(lambda: subject.files_below("") == files, "all that answers", 60 + least * _PATIENCE, _LOOK)
            seconds = time.perf_counter() - start
            node = subject.cluster.tree(max_depth=0)
            if node["complete"] or not any("does not answer" in why for why in node["sources"][0]["reasons"]):
                raise WrongAnswerError(f"a directory hangs, and nothing is said of it: {node['sources']}")
            _nobody_was_hit(subject, eye, before)
            storage.release()
            until(lambda: subject.files_below("") == files + 1, "what hung", 60 + least, _LOOK)
            _nobody_was_hit(subject, eye, before)
            silence, interval = beats.longest(at), eye.ask("status")["heartbeat_ms"] / 1e3
            eye.close()
        finally:
            storage.release()
            subject.stop()
            storage.close()
    yield Sample("everything else visible", seconds, "s", "less")
    yield Sample("beside the delays alone", seconds / least, "times", "less")
    yield Sample("longest silence", silence / interval, "intervals", "less")


def _tree(directories: int) -> dict[str, Any]:
    """Files of some directories each, and one that is to hang."""
    made: dict[str, Any] = {"alone": {_HANGS: {"file": 1}}}
    for number in range(directories):
        above = made.setdefault(f"group{number // _DIRECTORIES:05d}", {})
        above[f"dir{number:06d}"] = {f"file{number:06d}_{file:02d}": file for file in range(_FILES)}
    return made


def _nobody_was_hit(subject: Fustor, eye: Eye, before: dict[str, int]) -> None:
    assert subject.cluster is not None
    after = subject.pids()
    if ended := {name for name, pid in before.items() if after.get(name) != pid}:
        raise WrongAnswerError(f"ended: {', '.join(sorted(ended))}")
    if eye.link()["losses"]:
        raise WrongAnswerError("the agent was lost meanwhile")
    listed = json.loads(subject.cluster.command("quarantine", "list", "--json").stdout)
    if listed != {"cases": [], "missing": {}}:
        raise WrongAnswerError(f"quarantined, or not known: {listed}")


MEASURE = Measure(
    "slow",
    "Slow storage",
    "A file system in memory (FUSE, one process of Python) that answers every question about attributes of a file "
    "after 5 ms, and never about one of its directories; what was said holds for 3 s (directories: 30), as with NFS. "
    "16 scanners. From `fustor up` until all that answers is visible, beside the delays alone, shared by the "
    "scanners; the longest time without a heartbeat of the agent, in dictated intervals. Nobody may be ended, and "
    "nothing quarantined; in the end the directory answers, and is there.",
    run,
    lambda subject: isinstance(subject, Fustor) and not unavailable(),
    "own",
)
