"""All of Fusion killed at once: how soon the last tree is answered again, and the time in which nobody listened."""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks.bench import Bench, Measure
from benchmarks.chaos.lives import Lives
from benchmarks.errors import WrongAnswerError
from benchmarks.sample import Sample
from benchmarks.subjects.base import Subject
from benchmarks.subjects.fustor import Fustor
from benchmarks.web import until
from fustor.admin.daemons import Daemon
from fustor.admin.state import State

#: Seconds between two questions, and that all may take.
_LOOK, _PATIENCE = 0.002, 120.0
#: Times that it is killed, in one round.
_KILLS = 3


def run(subject: Subject, bench: Bench) -> Iterator[Sample]:
    """With a complete tree; the agent lives on."""
    assert isinstance(subject, Fustor)
    with bench.state() as folder:
        try:
            subject.start(bench.tree, folder)
            subject.wait_complete(bench.tree)
            assert subject.cluster is not None
            state = State(subject.cluster.state)
            for _ in range(_KILLS):
                Lives(state).kill_whole("fusion", _PATIENCE)
                start = time.perf_counter()
                daemon = Daemon(state.fusion)
                node = until(lambda: _node(subject), "an answer", _PATIENCE, _LOOK)
                yield Sample("process started → first 200", time.perf_counter() - start, "s", "less")
                daemon.close()
                if node["rollup"]["files"] != bench.tree.files:
                    raise WrongAnswerError(f"the first answer has {node['rollup']}, not {bench.tree.files} files")
                subject.wait_complete(bench.tree)
                yield Sample("process started → live and complete", time.perf_counter() - start, "s", "less")
        finally:
            subject.stop()


def _node(subject: Fustor) -> dict[str, object]:
    """The root with all that is known below it; nothing while nobody answers."""
    assert subject.web is not None
    try:
        with subject.web.connect() as connection:
            return connection.node(subject.web.target("", max_depth=0))
    except OSError:
        return {}


MEASURE = Measure(
    "back",
    "Fusion killed whole",
    "Every process of Fusion is killed at once (kill -9), with a complete tree and an agent that lives on; then Fusion "
    "is started. From the start of its process to the first answer, which must be a 200 that has the whole last tree, "
    "and until the tree is live and complete again. Without a socket unit nobody listens before that.",
    run,
    lambda subject: isinstance(subject, Fustor),
    "own",
)
