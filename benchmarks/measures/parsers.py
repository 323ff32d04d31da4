"""Parsers: what attributes of paths cost, when they are there, and what a parser that hangs costs everybody else."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from actors.parser.cache import Cache
from actors.parser.listing import Place
from actors.parser.rule import Rule, compile_rule
from actors.parser.worker import Worker
from benchmarks.bench import Bench, Measure
from benchmarks.sample import Sample, latencies
from benchmarks.subjects.base import Subject
from benchmarks.subjects.fustor import Fustor
from benchmarks.visible import seconds_until
from benchmarks.web import until
from fustor.runtime.actor import Host
from fustor.runtime.handling import Handling
from fustor.runtime.source import ParserConfig
from fustor.selection.forbidden import Forbidden
from protocols.codec import encode
from protocols.parsing import Parsed, ParserDir
from tests.support.plugins import WORDS, install

#: Says something of every path.
_PATH = r"(?:(?P<above>[^/]+)/)?(?P<stem>[^/.]+)[^/]*$"
#: Files of the sample, seconds until a parser has seen all of a tree, files a second (its patience).
_MOST_FILES, _LOOK, _RATE = 200_000, 0.05, 2000
_RULES = """
[[sources.parsers]]
name = "words"
path = '\\.words$'
format = "words"
"""
_ALL = f"""
[[sources.parsers]]
name = "path"
path = '{_PATH}'
"""


def run(subject: Subject, bench: Bench) -> Iterator[Sample]:
    """In one process without sockets; then a whole system with a parser that says something of every file."""
    assert isinstance(subject, Fustor)
    with bench.state() as folder:
        folder.mkdir()
        yield from _in_process(bench, folder)
    with bench.state() as folder:
        yield Sample("every file has attributes", _everything(subject, bench, folder), "1/s", "more")
    for case in ("no parser", "a parser hangs"):
        with bench.state() as folder:
            yield from _beside(subject, bench, folder, case)


def _in_process(bench: Bench, folder: Path) -> Iterator[Sample]:
    rule = compile_rule(ParserConfig(name="path", path=_PATH))
    root = os.fsencode(bench.tree.root)
    dirs: list[ParserDir] = []
    paths: list[bytes] = []
    for number, (above, _, names) in enumerate(os.walk(root)):
        dirs.append(ParserDir(number + 1, os.path.relpath(above, root).removeprefix(b"."), None))
        paths += [os.path.relpath(os.path.join(above, name), root) for name in names]
        if len(paths) >= _MOST_FILES:
            break
    start = time.process_time()
    for path in paths:
        rule.named(path)
    yield Sample("paths", len(paths) / (time.process_time() - start), "1/s", "more")
    yield Sample("CPU", _listed(rule, root, dirs, folder), "µs a file", "less", case="listed, and as messages")


def _listed(rule: Rule, root: bytes, dirs: list[ParserDir], folder: Path) -> float:
    """CPU of the whole way of a parser, but for its sockets."""
    log = logging.getLogger("benchmark")
    host = Host("parser.data.path", {}, log, lambda: None)
    cache = Cache(str(folder / "cache"), rule.digest, 1 << 30, log)
    worker = Worker("path", rule, Place(root, None, None), cache, Handling(), Forbidden(), host, 256)
    start = time.process_time()
    for one in dirs:
        parts = tuple(worker.look(one))
        encode(Parsed(parser="path", incarnation="", epoch=1, number=1, parts=parts, last=False))
    seconds = time.process_time() - start
    cache.close()
    return seconds * 1e6 / host.counters["files"]


def _everything(subject: Fustor, bench: Bench, folder: Path) -> float:
    """Files a second, from the complete tree until its parser has seen every file, and the last one says so."""
    try:
        subject.start_with(bench.tree, folder, limits=_ALL)
        subject.wait_complete(bench.tree)
        cluster = subject.cluster
        assert cluster is not None
        start = time.perf_counter()

        def done() -> bool:
            counters = {one["name"]: one["counters"] for one in cluster.agent()["payloads"]}
            seen, told = counters["parser.data.path"].get("files", 0), counters["watcher.data"].get("parsed", 0)
            return bool(min(seen, told) >= bench.tree.files)

        until(done, "every file to be seen by its parser", 60 + bench.tree.files / _RATE, _LOOK)
        return bench.tree.files / (time.perf_counter() - start)
    finally:
        subject.stop()


def _beside(subject: Fustor, bench: Bench, folder: Path, case: str) -> Iterator[Sample]:
    """Creations of files until they are visible, while a parser of the same source hangs by a file of its own."""
    hangs = case != "no parser"
    site, before = folder.parent / "site", os.environ.get("PYTHONPATH", "")
    install(site, "words", WORDS)
    os.environ["PYTHONPATH"] = f"{site}{os.pathsep}{before}"
    deadly = Path(bench.tree.root) / "deadly.words"
    try:
        limits = (_RULES if hangs else "") + "\n[limits.quarantine]\ndeaths = 100\n"
        subject.start_with(bench.tree, folder, limits=limits)
        subject.wait_complete(bench.tree)
        cluster = subject.cluster
        assert cluster is not None
        if hangs:
            deadly.write_text("hang")
            until(lambda: _busy(subject), "the parser to hang", 60, _LOOK)
        with bench.scratch(subject) as scratch, subject.looker() as look:
            created = []
            for number in range(bench.scale.looks):
                path = f"{scratch}/look {number}"
                file = os.path.join(bench.tree.root, path)
                os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
                created.append(seconds_until(look, path, True, bench.scale.settle_seconds))
            yield from latencies(created, case=f"create → visible, {case}")
        if hangs:
            assert "attrs" not in cluster.get(f"/fs/tree?path={quote('/deadly.words')}").json
    finally:
        deadly.unlink(missing_ok=True)
        subject.stop()
        os.environ["PYTHONPATH"] = before


def _busy(subject: Fustor) -> bool:
    """The parser has a file in hand, or died by it."""
    assert subject.cluster is not None
    payloads = {one["name"]: one for one in subject.cluster.agent()["payloads"]}
    parser = payloads["parser.data.words"]
    return bool(parser["restarts"] or parser["counters"].get("read", 0))


MEASURE = Measure(
    "parsers",
    "Parsers",
    "A rule of named groups over the path of every file: paths a second in one process; CPU of listing, matching and "
    "encoding a file; and in a whole system, from the complete tree until every file has been seen. Then files are "
    "created one after the other until they are visible, without a parser and beside one that hangs by a file all the "
    "time, and is ended and started again for it.",
    run,
    lambda subject: isinstance(subject, Fustor),
    "own",
)
