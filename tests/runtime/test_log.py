from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = str(Path(__file__).parents[2])


def run(code: str, level: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable,
            "-c",
            f"from fustor.runtime.log import setup_logging\nlog = setup_logging('view.main')\n{code}",
        ],
        env={**os.environ, "PYTHONPATH": ROOT, "FUSTOR_LOG": level},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_line_per_record() -> None:
    done = run("log.info('two\\nlines', extra={'rows': 7, 'why': 'a b', 'empty': ''})\nlog.debug('not seen')", "INFO")
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    time, rest = line.split(" ", 1)
    assert len(time) == len("2026-01-31T12:00:00.123Z")
    assert time.endswith("Z")
    assert rest == 'INFO view.main two\\nlines rows=7 why="a b" empty=""'


def test_a_traceback_is_indented() -> None:
    done = run("try: 1/0\nexcept ZeroDivisionError: log.exception('bad')", "debug")
    first, *others = done.stderr.splitlines()
    assert first.endswith("ERROR view.main bad")
    assert others[-1] == "  ZeroDivisionError: division by zero"
    assert all(line.startswith("  ") for line in others)


def test_the_level_is_checked() -> None:
    done = run("", "LOUD")
    assert done.returncode != 0
    assert "FUSTOR_LOG = 'LOUD': one of DEBUG, INFO, WARNING, ERROR is accepted" in done.stderr


@pytest.mark.parametrize(("level", "seen"), [("WARNING", 1), ("DEBUG", 3)])
def test_the_level_is_heeded(level: str, seen: int) -> None:
    done = run("log.debug('x'); log.info('x'); log.warning('x')", level)
    assert len(done.stderr.splitlines()) == seen
