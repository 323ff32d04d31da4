"""``bin/test``: what it accepts, and that a gate that fails fails the whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "bin" / "test", *arguments], capture_output=True, text=True, check=False, timeout=100
    )


def test_the_gates_are_listed() -> None:
    done = run("--list")
    assert [line.split()[0] for line in done.stdout.splitlines()] == [
        "ruff",
        "format",
        "mypy",
        "imports",
        "pytest",
        "guests",
    ]


@pytest.mark.parametrize("arguments", [("--only", "nothing"), ("--only", "ruff", "-k", "x")])
def test_wrong_usage(arguments: tuple[str, ...]) -> None:
    # Refused before anything is installed or run: the environment is the one that runs this test.
    assert run(*arguments).returncode == 2


def test_every_script_is_checked() -> None:
    listed = run("--list").stdout
    scripts = [path for path in (ROOT / "bin").iterdir() if path.is_file() and not path.suffix]
    assert len(scripts) == 5
    assert [script.name for script in scripts if f"bin/{script.name}" not in listed] == []
