"""Result files: what is written can be read again, nothing is overwritten, and what is no result is said to be none."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from benchmarks.errors import CannotRunError
from benchmarks.result import Failure, Made, Result, Round, load, merge, save
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


def test_results_of_one_machine_become_one(result: Result) -> None:
    larger = attrs.evolve(result, name="large", repeats=3, trees=[Made(9000, 9100, 100)], skipped={}, series={})
    larger.machine, larger.software = {**result.machine, "load_1m_before": 0.5}, "fustor 2"
    larger.add(9000, "scan", "fustor", Sample("rate", 7.0, "1/s", "more"))
    larger.add(1000, "scan", "find", Sample("rate", 6.0, "1/s", "more"))
    whole = merge([result, larger])
    assert (whole.name, whole.repeats, whole.skipped) == ("quick and large", 3, result.skipped)
    assert whole.software == "fustor 1 and fustor 2"
    assert [made.files for made in whole.trees] == [1000, 9000]
    assert whole.series[Key(9000, "scan", "", "fustor", "rate")].values == (7.0,)
    assert whole.series[Key(1000, "scan", "", "find", "rate")].values == (5.0, 6.0)
    assert merge([result]) == result
    assert len(result.trees) == 1
    with pytest.raises(CannotRunError, match="another machine"):
        merge([result, attrs.evolve(larger, machine={"cores": 4})])
