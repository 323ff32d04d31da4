"""The measure of notes runs, and lists what it claims to list."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.notes import main


def test_it_measures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--files", "60", "--per-directory", "20", "--rounds", "1", "--directory", str(tmp_path)]
    assert main(arguments) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["files"] == 60
    assert min(told["with_notes_ns"], told["part_ns"], told["begin_ns"]) > 0
    assert list(tmp_path.iterdir()) == []
