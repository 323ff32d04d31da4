"""The command line of ``bin/bench``."""

from __future__ import annotations

import argparse
import datetime
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table

import fustor
from benchmarks import document, result
from benchmarks.bench import FULL, NORMAL, QUICK, REPORTS, Measure, Scale
from benchmarks.checkout import CHECKOUT, RESULTS
from benchmarks.compare import compare, differences
from benchmarks.errors import CannotRunError
from benchmarks.figures import Spread, short
from benchmarks.machine import machine
from benchmarks.measures import MEASURES
from benchmarks.result import Result
from benchmarks.run import Plan, Progress, run
from benchmarks.sample import Series
from benchmarks.subjects import predecessor, subjects
from benchmarks.trees import SMALL_FILES

#: Exit codes: all right; a measure failed or something got slower; it can't be run as asked; interrupted.
OK, WORSE, CANNOT, INTERRUPTED = 0, 1, 2, 130
_APT = {"wrk": "wrk", "nginx": "nginx-light", "watchman": "watchman"}
_UNITS = {"k": 1000, "m": 1_000_000}


def files_of(text: str) -> int:
    """``100000``, ``100k`` or ``1m`` as a number. Raises ArgumentTypeError for anything else."""
    number, factor = (text[:-1], _UNITS[text[-1].lower()]) if text[-1:].lower() in _UNITS else (text, 1)
    if not number.isascii() or not number.isdigit() or int(number) * factor < SMALL_FILES:
        raise argparse.ArgumentTypeError(f"{text!r}: a number of at least {SMALL_FILES} is accepted, or as 100k or 1m")
    return int(number) * factor


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: a positive integer is accepted")
    return int(text)


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(
        prog="bench",
        description="Measure Fustor, and its peers where they are installed, side by side.",
        epilog="Exit code: 0; 1 when a measure failed or, with --compare, something got slower; "
        "2 when it can't be run as asked.",
        allow_abbrev=False,
    )
    made.add_argument("measures", nargs="*", metavar="MEASURE", help="take these only (see --list)")
    size = made.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="a tree of 20,000 files, short measures: some minutes")
    size.add_argument("--full", action="store_true", help="trees of 100,000 and 1,000,000 files, long measures: hours")
    made.add_argument(
        "--files",
        action="append",
        type=files_of,
        metavar="N",
        help="a tree of N files instead (also 100k, 10m); repeatable",
    )
    made.add_argument("--repeats", type=_positive, metavar="N", help="of everything (default 3)", default=3)
    made.add_argument("--seed", type=int, default=1, metavar="N", help="of the trees and of the chaos (default 1)")
    made.add_argument("--name", default="", help="of the result file (default: quick, normal or full)")
    made.add_argument("--only", action="append", metavar="SUBJECT", help="measure these systems only; repeatable")
    made.add_argument("--keep", action="store_true", help="keep the trees, and say where they are")
    made.add_argument("--compare", type=Path, metavar="RESULT.json", help="say what got slower since that result")
    made.add_argument(
        "--document",
        action="append",
        type=Path,
        metavar="RESULT.json",
        help="write docs/benchmarks.md from that result, and stop; repeatable, for trees of other sizes",
    )
    made.add_argument("--list", action="store_true", help="show measures and systems, and stop")
    made.add_argument(
        "--install-predecessor",
        action="store_true",
        help=f"install Fustor {predecessor.VERSION} from PyPI, apart, and stop",
    )
    return made


def main(arguments: Sequence[str]) -> int:
    """Do what is asked; returns the exit code."""
    options = parser().parse_args(arguments)
    out = Console()
    if not out.is_terminal:
        out.width = 120  # nobody's window: wide enough for the tables
    try:
        if options.list:
            _list(out)
            return OK
        if options.install_predecessor:
            predecessor.install()
            out.print(f"installed in {predecessor.place()}", markup=False, soft_wrap=True)
            return OK
        if options.document:
            whole = result.merge([result.load(path) for path in options.document])
            for path in document.write(whole, CHECKOUT / "docs"):
                out.print(f"wrote {path}", markup=False, soft_wrap=True)
            return OK
        return _measure(options, out)
    except CannotRunError as error:
        print(f"bench: {error}", file=sys.stderr)
        return CANNOT


def _list(out: Console) -> None:
    table = Table("measure", "what", box=None)
    for measure in MEASURES:
        table.add_row(measure.name, measure.title)
    out.print(table)
    table = Table("system", "", box=None)
    for subject in subjects():
        table.add_row(subject.name, subject.missing() or "ready")
    for command in ("wrk", "nginx"):
        table.add_row(command, "ready" if shutil.which(command) else "not installed")
    out.print(table)
    _say_how_to_install(out)


def _say_how_to_install(out: Console) -> None:
    missing = [package for command, package in _APT.items() if shutil.which(command) is None]
    if missing:
        out.print(f"not installed: apt-get install {' '.join(missing)}", markup=False, soft_wrap=True)


def _measure(options: argparse.Namespace, out: Console) -> int:
    before = result.load(options.compare) if options.compare else None
    word, scale = _scale(options)
    default = {"quick": [20_000], "normal": [100_000], "full": [100_000, 1_000_000]}[word]
    there = [one for one in subjects() if not options.only or one.name in _known(options.only)]
    plan = Plan(
        files=options.files or default,
        repeats=options.repeats,
        seed=options.seed,
        scale=scale,
        measures=_chosen(options.measures),
        subjects=[one for one in there if not one.missing()],
    )
    if not plan.pairs:
        raise CannotRunError("none of these systems can be asked for any of these measures; see --list")
    folder = Path(tempfile.mkdtemp(prefix="fustor-bench-"))
    found = Result(
        name=options.name or word,
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        software=f"fustor {fustor.__version__}, {_revision()}",
        scale=word,
        seed=options.seed,
        repeats=options.repeats,
        machine=machine(str(folder)),
        skipped={one.name: one.missing() for one in there if one.missing()},
    )
    _say_how_to_install(out)
    for name, why in found.skipped.items():
        out.print(f"{name}: {why}", markup=False, soft_wrap=True)
    interrupted = False
    try:
        try:
            _run(plan, found, folder, out)
        except KeyboardInterrupt:
            interrupted = True
        if found.series:
            path = result.save(found, RESULTS)
            for one in (path, *result.keep_reports(folder / REPORTS, path)):
                out.print(f"wrote {one}", markup=False, soft_wrap=True)
    finally:
        if options.keep:
            out.print(f"kept {folder}", markup=False, soft_wrap=True)
        else:
            shutil.rmtree(folder)
    _show(found, out)
    worse = _compare(before, found, out) if before else False
    if interrupted:
        out.print("interrupted: what was taken until then is in the result", markup=False)
        return INTERRUPTED
    return WORSE if found.failures or worse else OK


def _scale(options: argparse.Namespace) -> tuple[str, Scale]:
    if options.quick:
        return "quick", QUICK
    return ("full", FULL) if options.full else ("normal", NORMAL)


def _chosen(names: Sequence[str]) -> list[Measure]:
    known = {measure.name: measure for measure in MEASURES}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise CannotRunError(f"MEASURE: {', '.join(unknown)}: accepted are {', '.join(known)}")
    return [measure for measure in MEASURES if not names or measure.name in names]


def _known(names: Sequence[str]) -> Sequence[str]:
    known = [one.name for one in subjects()]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise CannotRunError(f"--only: {', '.join(unknown)}: accepted are {', '.join(known)}")
    return names


def _run(plan: Plan, found: Result, folder: Path, out: Console) -> None:
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bars(*columns, console=out, transient=True) as bars:
        measuring = bars.add_task("measuring", total=plan.steps)
        making = bars.add_task("making the tree", total=None, visible=False)

        def made(count: int, total: int) -> None:
            finished = bars.tasks[making].finished
            if finished or bars.tasks[making].total != total:
                bars.reset(making, total=total, visible=True)
            bars.advance(making, count)
            if bars.tasks[making].completed >= total:
                bars.update(making, visible=False)

        def begins(what: str) -> None:
            bars.update(measuring, description=what)
            if not out.is_terminal:
                out.print(what, markup=False, highlight=False, soft_wrap=True)

        def ended(reason: str) -> None:
            bars.advance(measuring)
            if reason:
                what = bars.tasks[measuring].description
                out.print(f"failed: {what}: {reason}", style="red", markup=False, highlight=False, soft_wrap=True)

        run(plan, found, folder, Progress(made, begins, ended))


def _show(found: Result, out: Console) -> None:
    """Medians: a table for each measure and tree, a column for each system."""
    tables: dict[tuple[int, str], list[Series]] = {}
    for one in found.series.values():
        tables.setdefault((one.key.files, one.key.measure), []).append(one)
    for (files, measure), series in tables.items():
        names = list(dict.fromkeys(one.key.subject for one in series))
        rows: dict[tuple[str, str, str], dict[str, str]] = {}
        for one in series:
            median = short(Spread.of(one.values).median)
            rows.setdefault((one.key.case, one.key.metric, one.unit), {})[one.key.subject] = median
        table = Table(box=None, title=f"{measure}, {files:,} files", title_justify="left")
        for heading in ("", "", "", *names):
            table.add_column(heading, justify="right" if heading else "left")
        for labels, cells in rows.items():
            table.add_row(*labels, *(cells.get(name, "") for name in names))
        out.print(table, "")


def _compare(before: Result, found: Result, out: Console) -> bool:
    """Show what changed; returns whether something got worse."""
    for line in differences(before, found):
        out.print(f"not the same: {line}", style="yellow", markup=False, soft_wrap=True)
    changes = compare(before, found)
    if not changes:
        out.print("nothing changed beyond the spread", markup=False)
    for change in changes:
        word = "worse" if change.worse else "better"
        out.print(
            f"{word}: {change.key}: {short(change.before.median)} → {short(change.after.median)} {change.unit} "
            f"(×{change.ratio:.2f})",
            style="red" if change.worse else "green",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    return any(change.worse for change in changes)


def _revision() -> str:
    """Of the checkout, as git tells it."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"})
    except FileNotFoundError:
        return "unknown revision"
    return f"revision {done.stdout.strip()}" if done.returncode == 0 else "unknown revision"
