"""One directory of 20 files, asked for again and again."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator

from benchmarks.bench import Bench, Measure
from benchmarks.errors import WrongAnswerError
from benchmarks.load import Load, run_load
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
    for clients in _CLIENTS:
        case = f"{clients} client{'s' if clients > 1 else ''}"
        load = run_load(web.address, [target], clients=clients, seconds=seconds, headers=web.headers)
        yield from samples(load, f"{case}, {load.tool}")
    _check(subject)
    if isinstance(subject, Fustor) and shutil.which("nginx"):
        with web.connect() as connection:
            body = connection.ask(target).body
        with bench.state() as folder, Nginx(folder, body) as nginx:
            for clients in _CLIENTS:
                case = f"{clients} client{'s' if clients > 1 else ''}"
                load = run_load(nginx.address, [nginx.target], clients=clients, seconds=seconds, headers={})
                yield from samples(load, f"{case}, {load.tool}", "nginx, a static file")


def _check(subject: Subject) -> None:
    found = subject.directory(SMALL)
    if found != SMALL_FILES:
        raise WrongAnswerError(f"{SMALL}: {found} children, not {SMALL_FILES}")


MEASURE = Measure(
    "small",
    "A small directory",
    "One directory of 20 files with all attributes, keep-alive, each client asking again as soon as it has its "
    "answer. Watchman: over its unix socket, one client, our own loop. nginx: serves the same body as a static "
    "file, one worker.",
    run,
    lambda subject: True,
)
