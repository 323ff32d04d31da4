"""``fustor stacks``: asked of real processes, and never of one that would die of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fustor.admin.stacks import catches, dump
from fustor.admin.state import Side

DIES = """
import signal
print(flush=True)
while True:
    signal.pause()
"""
WRITES = "import faulthandler, signal; faulthandler.register(signal.SIGUSR1)" + DIES


@pytest.fixture
def side(tmp_path: Path) -> Side:
    for folder in ("run", "log"):
        (tmp_path / folder).mkdir()
    return Side("fusion", tmp_path, tmp_path / "fusion.toml")


@pytest.fixture(params=[WRITES, DIES], ids=["writes", "dies"])
def payload(side: Side, request: pytest.FixtureRequest) -> Iterator[tuple[int, bool]]:
    """Pid of a process, and whether it writes stacks."""
    log = side.log / "view.main.log"
    log.write_text("before\n")
    with (
        log.open("ab") as out,
        subprocess.Popen(
            [sys.executable, "-c", request.param], cwd=side.run, stdout=subprocess.PIPE, stderr=out
        ) as process,
    ):
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid, request.param == WRITES
        assert process.poll() is None
        process.kill()


def test_stacks_are_shown_or_left_alone(side: Side, payload: tuple[int, bool]) -> None:
    pid, writes = payload
    assert catches(pid, signal.SIGUSR1) == writes
    text = dump(side, pid, "view.main")
    if writes:
        assert text is not None
        assert text.startswith("Current thread")
        assert 'File "<string>", line' in text
    else:
        assert text is None


def test_who_is_gone_has_no_stacks(side: Side) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert not catches(gone.pid, signal.SIGUSR1)
    assert dump(side, gone.pid, "view.main") is None
    assert dump(side, os.getpid(), "without.a.log") is None
