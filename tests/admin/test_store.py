"""``fustor store check``, over real stores."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from fustor.admin.prepare import prepare
from fustor.admin.state import State
from fustor.treestore.writer import SourceSpec, Writer

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def state(tmp_path: Path, data: str) -> State:
    made = State(tmp_path / "state")
    prepare(made, data)
    return made


def test_a_store_that_is_well(state: State, run_fustor: Run) -> None:
    folder = state.fusion.folder / "views" / "main" / "front"
    folder.mkdir(parents=True)
    Writer(str(folder), [SourceSpec(0, "local", "data", "/")]).close()
    done = run_fustor("store", "check", "--state", str(state.folder))
    assert (done.returncode, done.stdout) == (0, "main: every invariant holds\n"), done.stderr
    assert json.loads(run_fustor("store", "check", "--json", "--state", str(state.folder)).stdout) == {"main": []}


def test_a_store_that_is_not_one(state: State, run_fustor: Run) -> None:
    folder = state.fusion.folder / "views" / "main" / "front"
    folder.mkdir(parents=True)
    (folder / "data.mdb").write_bytes(b"not LMDB" * 2000)
    done = run_fustor("store", "check", "--state", str(state.folder))
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert "data.mdb" in done.stderr or str(folder) in done.stderr


def test_what_is_not_there(state: State, run_fustor: Run) -> None:
    missing = run_fustor("store", "check", "--state", str(state.folder))
    assert (missing.returncode, "made when Fusion runs" in missing.stderr) == (4, True)
    unknown = run_fustor("store", "check", "--view", "x", "--state", str(state.folder))
    assert (unknown.returncode, "configured are: main" in unknown.stderr) == (4, True)
