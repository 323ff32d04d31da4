"""The environment of a checkout: made, kept, renewed, or not, with an error that helps. pip is real."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

BIN = Path(__file__).resolve().parents[2] / "bin"

PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "tiny"
version = "1"
"""

#: A build backend without dependencies, so that nothing is downloaded.
BACKEND = """
import zipfile

def get_requires_for_build_editable(settings=None):
    return []

def build_editable(folder, settings=None, metadata=None):
    name = "tiny-1-py3-none-any.whl"
    with zipfile.ZipFile(f"{folder}/{name}", "w") as wheel:
        metadata = "Metadata-Version: 2.1\\nName: tiny\\nVersion: 1\\nProvides-Extra: dev\\n"
        wheel.writestr("tiny-1.dist-info/METADATA", metadata)
        wheel.writestr("tiny-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("tiny-1.dist-info/RECORD", "")
    return name
"""


@pytest.fixture(scope="module")
def module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("_environment", BIN / "_environment.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    (tmp_path / "backend.py").write_text(BACKEND)
    return tmp_path


def test_made_once_and_renewed_when_it_has_to_be(
    module: ModuleType, checkout: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = module.Environment(checkout, checkout / ".venv")
    environment.ensure()
    assert "first start: installing into" in capsys.readouterr().err
    assert os.access(environment.python, os.X_OK)

    environment.ensure()
    assert capsys.readouterr().err == ""

    environment.ensure(frozenset({"dev"}))
    assert "the dev tools are missing" in capsys.readouterr().err

    (checkout / "pyproject.toml").write_text(PYPROJECT + "# changed\n")
    environment.ensure()
    assert "pyproject.toml has changed" in capsys.readouterr().err
    stamp = checkout / ".venv" / "fustor-stamp.json"
    assert json.loads(stamp.read_text())["extras"] == "dev"  # what was there before stays

    stamp.unlink()  # as after an interrupted installation
    environment.ensure()
    assert "first start" in capsys.readouterr().err

    environment.python.unlink()  # as after the system's Python went away
    environment.ensure()
    assert "the Python of the environment has changed" in capsys.readouterr().err
    assert os.path.realpath(environment.python) == os.path.realpath(sys.executable)

    (checkout / "backend.py").write_text("raise SystemExit('the backend says no')")
    (checkout / "pyproject.toml").write_text(PYPROJECT + "# changed again\n")
    with pytest.raises(module.SetupError, match=r"(?s)pip failed:.*the backend says no.*pip\.log.*PIP_INDEX_URL"):
        environment.ensure()


def test_a_place_that_can_not_be_written(module: ModuleType, checkout: Path) -> None:
    (checkout / "file").touch()
    environment = module.Environment(checkout, checkout / "file" / ".venv")
    with pytest.raises(module.SetupError, match="FUSTOR_VENV"):
        environment.ensure()


def test_its_place_can_be_chosen(module: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("FUSTOR_VENV", raising=False)
    assert module.environment().folder == BIN.parent / ".venv"
    monkeypatch.setenv("FUSTOR_VENV", str(tmp_path))
    assert module.environment().folder == tmp_path
