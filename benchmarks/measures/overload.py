"""Small questions while a crowd behaves badly."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack

import attrs

from benchmarks import crowd
from benchmarks.bench import Bench, Measure
from benchmarks.errors import WrongAnswerError
from benchmarks.processes import memory
from benchmarks.sample import Sample, latencies
from benchmarks.subjects.base import Subject, Web
from benchmarks.subjects.fustor import Fustor
from benchmarks.trees import SMALL, SMALL_FILES
from benchmarks.web import NODE, Connection

_PATIENCE = 60.0


@attrs.frozen
class _Crowd:
    """Attributes: kind, count: of the clients; whole: they ask for the whole tree, and not for a small directory."""

    kind: str
    count: int
    whole: bool = False


def _crowds(bench: Bench) -> dict[str, _Crowd]:
    """By the name of the case; a tenth of them where things have to be quick."""
    part = 1 if bench.scale.load_seconds > 1 else 10
    return {
        "idle connections": _Crowd("idle", 10_000 // part),
        "slow headers": _Crowd("headers", 2_000 // part),
        "slow readers of the whole tree": _Crowd("readers", 100 // part, whole=True),
        "pipelines of 64": _Crowd("pipeline", 16),
        "more connections than are kept": _Crowd("idle", 22_000) if part == 1 else _Crowd("idle", 1_000),
    }


def run(subject: Subject, bench: Bench) -> Iterator[Sample]:
    """For each crowd: its own growth of memory, who was refused, and the questions of one who behaves."""
    assert isinstance(subject, Fustor)
    assert subject.web is not None
    web = subject.web
    small = web.target(SMALL, max_depth=1)
    yield from (attrs.evolve(sample, case="nobody else") for sample in _ask(web, small, bench.scale.load_seconds))
    for case, one in _crowds(bench).items():
        workers = [pid for name, pid in subject.pids().items() if name.startswith("query.")]
        before = sum(memory(pid).uss for pid in workers)
        with ExitStack() as stack:
            clients = crowd.start(web.address, web.target("") if one.whole else small, one.kind, one.count)
            stack.callback(clients.wait, _PATIENCE)
            assert clients.stdin is not None
            stack.callback(clients.stdin.close)
            there = crowd.heard(clients)
            yield from (attrs.evolve(sample, case=case) for sample in _ask(web, small, bench.scale.load_seconds))
            grown = sum(memory(pid).uss for pid in workers) - before
            clients.stdin.close()
            after = crowd.heard(clients)
        if [pid for name, pid in subject.pids().items() if name.startswith("query.")] != workers:
            raise WrongAnswerError(f"{case}: a query worker died")
        yield Sample("connected", float(there["connected"]), "", case=case)
        yield Sample("refused", float(after["refused"]), "", "less", case)
        yield Sample("ended by the server", float(after["ended"]), "", case=case)
        yield Sample("private memory of the workers", grown, "MiB more", "less", case)


def _ask(web: Web, target: str, seconds: float) -> Iterator[Sample]:
    """One question after the other, the connection made anew for every tenth of them."""
    durations: list[float] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.perf_counter()
        with Connection(web.address, web.headers) as connection:
            for _ in range(10):
                answer = connection.ask(target)
                if answer.status != 200 or answer.body.count(NODE) != SMALL_FILES + 1:
                    raise WrongAnswerError(f"{target}: {answer.status} {answer.body[:100]!r}")
                durations.append(time.perf_counter() - began)
                time.sleep(0.001)
                began = time.perf_counter()
    yield from latencies(durations)


MEASURE = Measure(
    "overload",
    "Small questions while a crowd behaves badly",
    "One client asks for a directory of 20 files, with a new connection for every tenth question, while many others "
    "hold connections, send headers slowly, read the whole tree slowly, or ask 64 questions at once again and again. "
    "They share this machine's cores. A worker keeps 10,000 connections; above that it closes the one that has been "
    "idle for longest. The crowd of the last case is larger than what two workers keep, but with --quick.",
    run,
    lambda subject: isinstance(subject, Fustor),
)
