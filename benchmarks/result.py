"""The result of a run, and its file: JSON in ``benchmarks/results``."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from benchmarks.errors import CannotRunError
from benchmarks.sample import Key, Sample, Series

FORMAT = 1
#: What is said of a machine and is not the same at each run.
_CHANGES = {"load_1m_before": None}


@attrs.frozen
class Made:
    """Attributes: files asked for; entries and directories of the tree that was made."""

    files: int
    entries: int
    directories: int


@attrs.frozen
class Round:
    """
    One repeat of everything.

    Attributes:
        files: of the tree.
        number: from 1.
        others_before: share of all cores that others used just before, 0 to 1.
        load_after: load average of the last minute at the end; what was measured is part of it.
        seconds: how long it took.
    """

    files: int
    number: int
    others_before: float
    load_after: float
    seconds: float


@attrs.frozen
class Failure:
    """Attributes: files, round, measure, subject: where; reason: why there is no figure, or fewer."""

    files: int
    round: int
    measure: str
    subject: str
    reason: str


@attrs.define
class Result:
    """
    Attributes:
        name, date: of the run; the date as YYYY-MM-DD.
        software: version and revision.
        scale: how long was measured: "quick", "normal" or "full".
        seed, repeats: as asked for.
        machine: see :mod:`benchmarks.machine`.
        skipped: subject → why it was not measured.
        trees, rounds, failures, series: what was found.
    """

    name: str
    date: str
    software: str
    scale: str
    seed: int
    repeats: int
    machine: dict[str, Any]
    skipped: dict[str, str] = attrs.field(factory=dict)
    trees: list[Made] = attrs.field(factory=list)
    rounds: list[Round] = attrs.field(factory=list)
    failures: list[Failure] = attrs.field(factory=list)
    series: dict[Key, Series] = attrs.field(factory=dict)

    def add(self, files: int, measure: str, subject: str, sample: Sample) -> None:
        """One more value."""
        key = Key(files, measure, sample.case, sample.subject or subject, sample.metric)
        before = self.series[key].values if key in self.series else ()
        self.series[key] = Series(key, sample.unit, sample.better, (*before, sample.value))


def merge(results: Sequence[Result]) -> Result:
    """
    One result of several that were taken on one machine, with trees of other sizes or other measures.

    Raises:
        CannotRunError: they are of different machines.
    """
    first, *others = results
    whole = attrs.evolve(
        first,
        name=" and ".join(one.name for one in results),
        trees=list(first.trees),
        rounds=list(first.rounds),
        failures=list(first.failures),
        series=dict(first.series),
    )
    for one in others:
        if {**one.machine, **_CHANGES} != {**first.machine, **_CHANGES}:
            raise CannotRunError(f"{one.name} is of another machine than {first.name}")
        if one.software not in whole.software:
            whole.software += f" and {one.software}"
        if one.scale not in whole.scale:
            whole.scale += f" and {one.scale}"
        whole.repeats = max(whole.repeats, one.repeats)
        whole.skipped = {**whole.skipped, **one.skipped}
        whole.trees += [tree for tree in one.trees if tree not in whole.trees]
        whole.rounds += one.rounds
        whole.failures += one.failures
        for key, series in one.series.items():
            before = whole.series[key].values if key in whole.series else ()
            whole.series[key] = attrs.evolve(series, values=(*before, *series.values))
    return whole


def save(result: Result, folder: Path) -> Path:
    """Write ``<date>-<name>.json``, with a number appended when there is one already; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    data = attrs.asdict(attrs.evolve(result, series={}))
    data["format"] = FORMAT
    data["series"] = [
        {**attrs.asdict(one.key), "unit": one.unit, "better": one.better, "values": [round(v, 6) for v in one.values]}
        for one in result.series.values()
    ]
    number = 1
    while True:
        path = folder / (f"{result.date}-{result.name}" + (f"-{number}" if number > 1 else "") + ".json")
        try:
            with path.open("x", encoding="utf-8") as file:
                json.dump(data, file, indent=1, ensure_ascii=False)
                file.write("\n")
        except FileExistsError:
            number += 1
            continue
        return path


def keep_reports(folder: Path, path: Path) -> list[Path]:
    """Move what measures have left in ``folder``, if anything, into a folder beside the result at ``path``."""
    if not folder.exists():
        return []
    beside = path.with_suffix("")
    beside.mkdir()
    return [Path(shutil.move(one, beside)) for one in sorted(folder.iterdir())]


def load(path: Path) -> Result:
    """
    Read it.

    Raises:
        CannotRunError: there is no such file, or it is none of these.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data.pop("format") != FORMAT:
            raise CannotRunError(f"{path}: another format than {FORMAT}; take the measures again")
        names = [field.name for field in attrs.fields(Key)]
        series = {}
        for row in data["series"]:
            key = Key(**{name: row[name] for name in names})
            series[key] = Series(key, row["unit"], row["better"], tuple(row["values"]))
        return Result(
            **{
                **data,
                "series": series,
                "trees": [Made(**one) for one in data["trees"]],
                "rounds": [Round(**one) for one in data["rounds"]],
                "failures": [Failure(**one) for one in data["failures"]],
            }
        )
    except OSError as error:
        raise CannotRunError(f"{path}: {error.strerror}; name a file of {path.parent}/*.json") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CannotRunError(f"{path}: no result of bin/bench: {error!r}") from None
