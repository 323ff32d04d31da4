"""Configurations pushed from afar: until the agent's payloads run them, or have left a bad one again."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.bench import Bench, Measure
from benchmarks.errors import WrongAnswerError
from benchmarks.sample import Sample, latencies
from benchmarks.subjects.base import Subject
from benchmarks.subjects.fustor import Fustor
from benchmarks.web import until
from fustor.admin.client import Client
from fustor.admin.state import State
from protocols.desired import Outcome
from tests.support.sides import running

#: Seconds between two looks, and that a push may take.
_LOOK, _PATIENCE = 0.005, 60.0
#: Limits of stand-ins for scanners (``tests/support/sides.py``) that no process survives.
_BAD: dict[str, dict[str, Any]] = {
    "crashes at once": {"native": "/"},
    "hangs in C": {"expression": "^(a+)+$", "names": ["a" * 64 + "b"]},
}
#: Pushes; each is on probation for a while, so they follow each other without waiting for its end.
_PUSHES = 20


def run(subject: Subject, bench: Bench) -> Iterator[Sample]:
    """Other patterns each time, on a complete tree."""
    assert isinstance(subject, Fustor)
    try:
        with bench.state() as folder:
            subject.start(bench.tree, folder)
            subject.wait_complete(bench.tree)
            assert subject.cluster is not None
            before = subject.pids()
            with Client(State(subject.cluster.state), 10.0) as client:
                yield from latencies([_push(client, bench.tree.root, turn) for turn in range(_PUSHES)])
            if subject.pids() != before:
                raise WrongAnswerError("a process was started again for a pattern")
            subject.stop()
    finally:
        subject.stop()
    for what, limits in _BAD.items():
        with bench.state() as folder:
            folder.mkdir()
            yield Sample("last known good again", _leave(folder, limits) * 1e3, "ms", "less", case=what)


def _leave(folder: Path, limits: dict[str, Any]) -> float:
    """Seconds from the push of a bad configuration until everything runs with the one before."""
    with running(folder, heartbeat=1.0) as sides:
        start = time.perf_counter()
        revision = sides.push(sides.document(**limits), reason="benchmark")

        def left() -> bool:
            told = sides.configuration()
            return (told.get("attempted"), told.get("outcome")) == (revision, Outcome.FAILED.value)

        until(left, "the bad configuration to be left", _PATIENCE, _LOOK)
        until(sides.all_running, "everything with the one before", _PATIENCE, _LOOK)
        return time.perf_counter() - start


def _push(client: Client, root: str, turn: int) -> float:
    """Seconds until Fusion knows that it runs."""
    lines = ("[[sources]]", 'name = "data"', f"root = {json.dumps(root)}", f'exclude = ["*.never{turn}"]')
    start = time.perf_counter()
    document = "\n".join(lines)
    revision = client.admin("config-push", agent="local", document=document, reason="benchmark")["number"]

    def runs() -> bool:
        (agent,) = client.admin("agents", agent="local")["agents"]
        told = agent["configuration"]
        return told["attempted"] == revision and told["outcome"] in (Outcome.RUNNING.value, Outcome.GOOD.value)

    until(runs, "a pushed configuration to run", _PATIENCE, _LOOK)
    return time.perf_counter() - start


MEASURE = Measure(
    "configuration",
    "Configurations from afar",
    "A configuration with another pattern is pushed for a running agent: until Fusion knows that every payload has "
    "accepted it and works by it, with the same processes. And bad ones, which stand-ins for the scanners accept and "
    "then crash by, or hang by (in C, with the interpreter's lock): until everything runs with the one before.",
    run,
    lambda subject: isinstance(subject, Fustor),
    "own",
)
