"""Result files: what is written can be read again, nothing is overwritten, and what is no result is said to be none."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.errors import CannotRunError
from benchmarks.result import Failure, Made, Result, Round, load, save
from benchmarks.sample import Key, Sample


@pytest.fixture
def result() -> Result:
    made = Result("quick", "2026-01-02", "fustor 1", "quick", 1, 2, {"cores": 2}, {"watchman": "not installed"})
    made.trees.append(Made(1000, 1050, 50))
    made.rounds.append(Round(1000, 1, 0.1, 2.5, 60.0))
    made.failures.append(Failure(1000, 1, "burst", "fustor", "too late"))
    made.add(1000, "scan", "fustor", Sample("rate", 1000.5, "1/s", "more"))
    made.add(1000, "scan", "fustor", Sample("rate", 1001.5, "1/s", "more"))
    made.add(1000, "scan", "fustor", Sample("rate", 5.0, "1/s", "more", subject="find"))
    return made


def test_samples_become_series(result: Result) -> None:
    assert {key.subject: one.values for key, one in result.series.items()} == {
        "fustor": (1000.5, 1001.5),
        "find": (5.0,),
    }
    assert result.series[Key(1000, "scan", "", "fustor", "rate")].better == "more"


def test_it_survives_its_file(result: Result, tmp_path: Path) -> None:
    path = save(result, tmp_path / "results")
    assert path.name == "2026-01-02-quick.json"
    assert load(path) == result


def test_a_file_that_is_there_is_kept(result: Result, tmp_path: Path) -> None:
    first = save(result, tmp_path)
    text = first.read_text()
    assert save(result, tmp_path).name == "2026-01-02-quick-2.json"
    assert save(result, tmp_path).name == "2026-01-02-quick-3.json"
    assert first.read_text() == text


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2}', '{"format": 1, "series": []}'])
def test_what_is_no_result_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(CannotRunError, match=r"x\.json"):
        load(path)


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(CannotRunError, match=r"none\.json: No such file"):
        load(tmp_path / "none.json")
