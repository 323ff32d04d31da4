"""The door of every command, with Pythons that are too old where there are any."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def runs(python: str) -> bool:
    return subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0


#: Old Pythons that are installed on this host: in the PATH, or by pyenv.
OLD = [
    found
    for minor in range(6, 11)
    for found in (
        shutil.which(f"python3.{minor}"),
        *map(str, Path.home().glob(f".pyenv/versions/3.{minor}.*/bin/python3.{minor}")),
    )
    if found and runs(found)
]


@pytest.mark.parametrize("python", OLD)
def test_an_old_python_is_told_so(python: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [python, ROOT / "bin" / "fustor", "--help"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "fustor: Python 3.11 or newer is needed" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("python", OLD[:1])
def test_an_old_python_hands_over_to_a_new_one(python: str, tmp_path: Path) -> None:
    (tmp_path / "python3.11").symlink_to(sys.executable)
    done = subprocess.run(
        [python, ROOT / "bin" / "test", "--list"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("ruff ")


def test_the_oldest_python_is_said_once() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == ">=3.11"
    assert "OLDEST = (3, 11)" in (ROOT / "bin" / "_bootstrap.py").read_text()


@pytest.mark.parametrize("name", ["fustor", "fustor-fusion", "fustor-agent", "test"])
def test_every_command_can_be_started(name: str) -> None:
    assert os.access(ROOT / "bin" / name, os.X_OK)
