"""docs/benchmarks.md and its plots, written from a result: whoever changes them by hand loses it with the next run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import attrs

from benchmarks.bench import Measure
from benchmarks.figures import Spread, short
from benchmarks.measures import MEASURES
from benchmarks.plot import Bar, bars
from benchmarks.result import Result
from benchmarks.sample import Key, Series


@attrs.frozen
class _Plot:
    """Attributes: file name; measure, metric and beginning of the case that it shows; title."""

    file: str
    measure: str
    metric: str
    case: str
    title: str


_PLOTS = (
    _Plot("scan.svg", "scan", "rate", "", "Start to complete"),
    _Plot("small-16.svg", "small", "requests", "16 clients", "A directory of 20 files, 16 clients"),
    _Plot("whole.svg", "whole", "entries", "", "The whole tree in one answer"),
    _Plot("meanwhile.svg", "meanwhile", "worst", "", "Slowest small question during two whole reads"),
    _Plot("events.svg", "events", "p99", "create, idle", "Create to visible, p99"),
    _Plot("memory.svg", "memory", "anonymous", "all", "Anonymous memory of all processes"),
    _Plot("heartbeat.svg", "heartbeat", "p99", "during the walk", "Control round trip during the walk, p99"),
)


def write(result: Result, docs: Path) -> list[Path]:
    """Write ``benchmarks.md`` and ``benchmarks/*.svg`` into ``docs``; plots without data go. Returns the files."""
    folder = docs / "benchmarks"
    folder.mkdir(exist_ok=True)
    subjects = list(dict.fromkeys(key.subject for key in result.series))
    written = []
    for plot in _PLOTS:
        path = folder / plot.file
        chosen = _chosen(result, plot)
        if not chosen:
            path.unlink(missing_ok=True)
            continue
        rows = [Bar(_label(one.key), Spread.of(one.values), subjects.index(one.key.subject)) for one in chosen]
        path.write_text(bars(plot.title, chosen[0].unit, rows), encoding="utf-8")
        written.append(path)
    page = docs / "benchmarks.md"
    page.write_text(text(result, {path.name for path in written}), encoding="utf-8")
    return [page, *written]


def text(result: Result, plots: set[str]) -> str:
    """The page; ``plots`` are those that it may show."""
    lines = [
        "# Benchmarks",
        "",
        f"Written by `bin/bench --document` from `{result.date}-{result.name}` ({result.software}). "
        "How to take them again: [benchmarks/README.md](../benchmarks/README.md).",
        "",
        *_conditions(result),
        "",
        "Each cell is the median of the repeats, with the lowest and the highest in brackets. Everything runs with "
        "shipped settings, and every answer is checked: a measure whose answers are wrong has no figure here, but "
        "an entry under failures.",
        "",
    ]
    for measure in MEASURES:
        lines += _section(result, measure, plots)
    if result.failures:
        lines += ["## Failures", "", "Measures that ended early, and why.", ""]
        lines += [
            f"- {one.measure} of {one.subject}, {one.files:,} files, round {one.round}: {_plain(one.reason)}"
            for one in result.failures
        ]
        lines.append("")
    return "\n".join(lines)


def _conditions(result: Result) -> list[str]:
    machine = result.machine
    libraries = ", ".join(f"{name} {version}" for name, version in machine["libraries"].items())
    lines = [
        f"- Machine: {machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, "
        f"Linux {machine['kernel']}, {machine['file_system']}; Python {machine['python']}, {libraries}.",
        f"- Scale `{result.scale}`, seed {result.seed}, {result.repeats} repeats, taken in turn with the peers'.",
    ]
    lines += [f"- Tree: {one.files:,} files in {one.directories:,} directories." for one in result.trees]
    if result.rounds:
        shares = [one.others_before for one in result.rounds]
        lines.append(
            f"- Others used {min(shares):.0%} to {max(shares):.0%} of the cores just before the rounds. On a machine "
            "that is shared, compare columns with each other, not with figures from elsewhere."
        )
    lines += [f"- Not measured: {name}: {why}." for name, why in result.skipped.items()]
    return lines


def _section(result: Result, measure: Measure, plots: set[str]) -> list[str]:
    mine = [one for one in result.series.values() if one.key.measure == measure.name]
    if not mine:
        return []
    lines = [f"## {measure.title}", "", measure.about, ""]
    for plot in _PLOTS:
        if plot.measure == measure.name and plot.file in plots:
            lines += [f"![{plot.title}](benchmarks/{plot.file})", ""]
    for files in dict.fromkeys(one.key.files for one in mine):
        lines += _table([one for one in mine if one.key.files == files], files)
    return lines


def _table(series: Sequence[Series], files: int) -> list[str]:
    subjects = list(dict.fromkeys(one.key.subject for one in series))
    rows: dict[tuple[str, str, str], dict[str, Series]] = {}
    for one in series:
        rows.setdefault((one.key.case, one.key.metric, one.unit), {})[one.key.subject] = one
    lines = [
        "| " + " | ".join([f"{files:,} files", *subjects]) + " |",
        "|---|" + "---|" * len(subjects),
    ]
    for (case, metric, unit), found in rows.items():
        name = f"{case}: {metric}" if case else metric
        cells = [_cell(found[subject]) if subject in found else "" for subject in subjects]
        lines.append("| " + " | ".join([f"{name}, {unit}" if unit else name, *cells]) + " |")
    return [*lines, ""]


def _cell(series: Series) -> str:
    spread = Spread.of(series.values)
    if len(series.values) < 2:
        return short(spread.median)
    return f"{short(spread.median)} ({short(spread.low)} – {short(spread.high)})"


def _chosen(result: Result, plot: _Plot) -> list[Series]:
    return [
        one
        for one in result.series.values()
        if one.key.measure == plot.measure
        and one.key.metric == plot.metric
        and (one.key.case == plot.case or one.key.case.startswith(f"{plot.case},"))
        and one.unit != "bytes/entry"
    ]


def _label(key: Key) -> str:
    return f"{key.subject}, {key.files:,} files"


def _plain(reason: str) -> str:
    """One line, and nothing that Markdown would take for its own."""
    line = reason.strip().splitlines()[0] if reason.strip() else "no reason given"
    return "".join("\\" + letter if letter in "\\`*_[]<>|" else letter for letter in line[:300])
