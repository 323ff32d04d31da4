"""What measures are given."""

from __future__ import annotations

from pathlib import Path

from benchmarks.bench import QUICK, REPORTS, Bench
from benchmarks.result import keep_reports
from benchmarks.trees import Tree


def test_reports_lie_beside_the_result_and_none_takes_the_place_of_another(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    bench = Bench(Tree("/nowhere", 0, 0, 0, ()), QUICK, tmp_path / "run")
    assert [bench.report("a.svg", text) for text in ("1", "2", "3")] == ["a.svg", "a-2.svg", "a-3.svg"]
    kept = keep_reports(bench.folder / REPORTS, tmp_path / "2026-01-02-quick.json")
    assert [path.relative_to(tmp_path).as_posix() for path in kept] == [
        f"2026-01-02-quick/{name}" for name in ("a-2.svg", "a-3.svg", "a.svg")
    ]
    assert kept[-1].read_text() == "1"
    assert keep_reports(tmp_path / "nothing", tmp_path / "x.json") == []
