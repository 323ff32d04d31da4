"""The page and its plots."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from benchmarks.document import write
from benchmarks.figures import Spread
from benchmarks.plot import Bar, bars
from benchmarks.result import Failure, Made, Result, Round
from benchmarks.sample import Sample


@pytest.fixture
def result() -> Result:
    machine = {"processor": "P", "cores": 2, "memory_gib": 8.0, "kernel": "6", "file_system": "ext4", "python": "3.11"}
    made = Result("quick", "2026-01-02", "fustor 1", "quick", 1, 3, {**machine, "libraries": {"trio": "1"}})
    made.trees.append(Made(1000, 1050, 50))
    made.rounds.append(Round(1000, 1, 0.25, 2.5, 60.0))
    for value in (10.0, 30.0, 20.0):
        made.add(1000, "scan", "fustor", Sample("rate", value, "entries/s", "more"))
    made.add(1000, "scan", "find", Sample("rate", 5.0, "entries/s", "more"))
    made.failures.append(Failure(1000, 2, "burst", "watchman", "a|b <c>\nmore"))
    return made


def test_the_page_has_medians_and_spreads(result: Result, tmp_path: Path) -> None:
    write(result, tmp_path)
    page = (tmp_path / "benchmarks.md").read_text()
    assert "| 1,000 files | fustor | find |" in page
    assert "| rate, entries/s | 20.0 (10.0 – 30.0) | 5.00 |" in page
    assert "25%" in page
    assert r"burst of watchman, 1,000 files, round 2: a\|b \<c\>" in page
    assert "## Memory" not in page  # nothing was measured of it


def test_every_plot_that_is_shown_is_there(result: Result, tmp_path: Path) -> None:
    stale = tmp_path / "benchmarks" / "whole.svg"
    stale.parent.mkdir()
    stale.write_text("of an earlier result")
    write(result, tmp_path)
    shown = re.findall(r"\((benchmarks/[^)]+\.svg)\)", (tmp_path / "benchmarks.md").read_text())
    assert shown == ["benchmarks/scan.svg"]
    assert [path.name for path in stale.parent.iterdir()] == ["scan.svg"]


def test_bars_are_as_long_as_their_values() -> None:
    svg = bars("A < B", "1/s", [Bar("x & y", Spread(50, 40, 100), 0), Bar("z", Spread(25, 25, 25), 1)])
    root = ET.fromstring(svg)
    first, second = (float(one.attrib["width"]) for one in root.findall("{*}rect"))
    assert first == pytest.approx(2 * second)
    assert [one.text for one in root.findall("{*}text")][:2] == ["A < B (1/s)", "x & y"]


def test_bars_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        bars("t", "u", [])
