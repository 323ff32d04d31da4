"""One directory of 20 files, asked for again and again."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator

from benchmarks.bench import Bench, Measure
from benchmarks.constant import Constant
from benchmarks.errors import WrongAnswerError
from benchmarks.load import Load, run_load
from benchmarks.processes import cpu_seconds
from benchmarks.sample import Sample, latencies
from benchmarks.subjects.base import Subject
from benchmarks.subjects.fustor import Fustor
from benchmarks.subjects.nginx import Nginx
from benchmarks.trees import SMALL, SMALL_FILES

#: Numbers of clients.
_CLIENTS = (1, 16)


def samples(load: Load, case: str, subject: str = "") -> Iterator[Sample]:
    """What a load found."""
    yield Sample("requests", load.rate, "1/s", "more", case, subject)
    yield Sample("p50", load.p50 * 1e3, "ms", "less", case, subject)
    yield Sample("p99", load.p99 * 1e3, "ms", "less", case, subject)


def run(subject: Subject, bench: Bench) -> Iterator[Sample]:
    """Over HTTP, or one question after the other over what the subject has instead."""
    _check(subject)
    seconds = bench.scale.load_seconds
    if subject.web is None:
        durations = []
        end = time.perf_counter() + seconds
        while (start := time.perf_counter()) < end:
            if subject.directory(SMALL) != SMALL_FILES:
                raise WrongAnswerError(f"{SMALL}: not {SMALL_FILES} children")
            durations.append(time.perf_counter() - start)
        yield Sample("requests", len(durations) / sum(durations), "1/s", "more", "1 client")
        yield from latencies(durations, case="1 client", worst=False)
        return
    web = subject.web
    target = web.target(SMALL, max_depth=1)
    workers = worker_pids(subject)
    for clients in _CLIENTS:
        case = f"{clients} client{'s' if clients > 1 else ''}"
        before = sum(map(cpu_seconds, workers))
        load = run_load(web.address, [target], clients=clients, seconds=seconds, headers=web.headers)
        yield from samples(load, f"{case}, {load.tool}")
        if workers:
            yield cpu_sample(sum(map(cpu_seconds, workers)) - before, load, f"{case}, {load.tool}")
    _check(subject)
    if not isinstance(subject, Fustor):
        return
    with web.connect() as connection:
        body = connection.ask(target).body
    with Constant(body) as constant:
        yield from _beside(constant.address, target, seconds, "its HTTP layer, a constant body", constant.pid)
    if shutil.which("nginx"):
        with bench.state() as folder, Nginx(folder, body) as nginx:
            yield from _beside(nginx.address, nginx.target, seconds, "nginx, a static file")


def _beside(
    address: tuple[str, int], target: str, seconds: float, subject: str, pid: int | None = None
) -> Iterator[Sample]:
    """The same load on something that serves the same bytes."""
    for clients in _CLIENTS:
        case = f"{clients} client{'s' if clients > 1 else ''}"
        before = cpu_seconds(pid) if pid is not None else 0.0
        load = run_load(address, [target], clients=clients, seconds=seconds, headers={})
        yield from samples(load, f"{case}, {load.tool}", subject)
        if pid is not None:
            yield cpu_sample(cpu_seconds(pid) - before, load, f"{case}, {load.tool}", subject)


def worker_pids(subject: Subject) -> list[int]:
    """The processes that do nothing but answer; none where others share them."""
    return [pid for name, pid in subject.pids().items() if isinstance(subject, Fustor) and name.startswith("query.")]


def cpu_sample(seconds: float, load: Load, case: str, subject: str = "") -> Sample:
    """CPU time of the answering processes for each answer of a load."""
    return Sample("CPU", seconds / load.answers * 1e6, "µs/request", "less", case, subject)


def _check(subject: Subject) -> None:
    found = subject.directory(SMALL)
    if found != SMALL_FILES:
        raise WrongAnswerError(f"{SMALL}: {found} children, not {SMALL_FILES}")


MEASURE = Measure(
    "small",
    "A small directory",
    "One directory of 20 files with all attributes, keep-alive, each client asking again as soon as it has its "
    "answer. Watchman: over its unix socket, one client, our own loop. Beside it with the same body, one process each: "
    "the query actor's own HTTP layer with an answer that is made once, and nginx with a static file. CPU: of all "
    "processes that answer.",
    run,
    lambda subject: True,
)
