"""The command line: what is accepted, and one small measure from end to end."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.app import CANNOT, OK, files_of, main, parser
from benchmarks.checkout import CHECKOUT
from benchmarks.measures import MEASURES


@pytest.mark.parametrize(
    ("text", "files"), [("100000", 100_000), ("100k", 100_000), ("10m", 10_000_000), ("1M", 10**6)]
)
def test_sizes_of_trees(text: str, files: int) -> None:
    assert files_of(text) == files


@pytest.mark.parametrize("text", ["", "k", "1g", "-5", "1.5m", "19", "²0000"])
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="at least 20 is accepted"):
        files_of(text)


def test_quick_and_full_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["--quick", "--full"])
    assert "not allowed with" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--quick", "nonsense"], "MEASURE: nonsense: accepted are scan,"),
        (["--quick", "--only", "nobody"], "--only: nobody: accepted are fustor,"),
        (["--quick", "--only", "watchman", "up"], "none of these systems"),
        (["--compare", "/nowhere/x.json"], "/nowhere/x.json: No such file"),
    ],
)
def test_what_can_not_be_run_is_said(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == CANNOT
    assert words in capsys.readouterr().err


def test_the_list_names_every_measure(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == OK
    shown = capsys.readouterr().out
    assert all(measure.title in shown for measure in MEASURES)


def test_measures_have_names_of_their_own() -> None:
    assert len({measure.name for measure in MEASURES}) == len(MEASURES)


def test_a_run_leaves_its_result_and_no_trees(tmp_path: Path) -> None:
    """In a process of its own, for the folders for results and for temporary files are its own, too."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]); from benchmarks import app;"
        "app.RESULTS = Path(sys.argv[2]);"
        "sys.exit(app.main(['--quick', '--files', '200', '--repeats', '2', '--only', 'fustor', 'scan', 'disk']))"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, str(CHECKOUT), str(tmp_path / "results")],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "TMPDIR": str(temporary), "HOME": str(tmp_path)},
        timeout=100,
    )
    assert done.returncode == OK, done.stdout + done.stderr
    (path,) = (tmp_path / "results").iterdir()
    found = json.loads(path.read_text())
    assert [tree["files"] for tree in found["trees"]] == [200]
    assert len(found["rounds"]) == 2
    assert found["failures"] == []
    values = {(row["measure"], row["subject"], row["metric"]): row["values"] for row in found["series"]}
    assert len(values["scan", "fustor", "complete"]) == 2
    assert len(values["scan", "find -printf", "rate"]) == 2
    assert all(value > 0 for value in values["disk", "fustor", "store"])
    assert list(temporary.glob("fustor-bench-*")) == []
