"""``fustor up``: the whole system, for real, from nothing to an answer and back to nothing."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fustor.admin.processes import members
from fustor.admin.state import State

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def state(tmp_path: Path, run_fustor: Run) -> Iterator[State]:
    folder = State(tmp_path / "state")
    yield folder
    run_fustor("down", "--state", str(folder.folder))
    assert [members(side) for side in folder.sides] == [{}, {}]


def answer(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(url, timeout=60) as response:
        assert response.status == 200
        value = json.load(response)
    assert isinstance(value, dict)
    return value


def test_from_nothing_to_an_answer_and_back(state: State, data: str, run_fustor: Run, tmp_path: Path) -> None:
    (Path(data) / "hello").write_text("hello")
    where = ("--state", str(state.folder))
    first = run_fustor("up", data, "--detach", "--json", *where)
    assert first.returncode == 0, first.stderr
    up = json.loads(first.stdout)
    assert (up["root"], up["started"]) == (data, True)
    assert answer(up["url"])["state"] in ("empty", "building", "live")

    again = json.loads(run_fustor("up", data, "--detach", "--json", *where).stdout)
    assert again == {**up, "started": False}
    other = run_fustor("up", str(tmp_path), "--detach", *where)
    assert (other.returncode, f"is running for {data}" in other.stderr) == (2, True)
    moved = run_fustor("up", data, "--detach", "--http", "127.0.0.1:1", *where)
    assert (moved.returncode, "stop it first" in moved.stderr) == (2, True)

    down = run_fustor("down", *where)
    assert (down.returncode, down.stdout) == (0, "agent: stopped\nfusion: stopped\n")
    assert [members(side) for side in state.sides] == [{}, {}]
    assert [list(side.run.iterdir()) for side in state.sides] == [[], []]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_in_the_foreground_it_stops_when_told(state: State, data: str, number: signal.Signals) -> None:
    command = [sys.executable, "-P", "-m", "fustor.admin", "up", data, "--state", str(state.folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line == "Ctrl-C stops it\n":
                break
        process.send_signal(number)
        _, errors = process.communicate(timeout=100)
    assert len(lines) == 3, errors
    assert lines[0].startswith("answers at http://127.0.0.1:")
    assert lines[1].startswith("    curl ")
    assert (process.returncode, errors) == (0, "stopping …\nstopped\n")
    assert [members(side) for side in state.sides] == [{}, {}]


def test_a_port_asked_for_that_is_taken(state: State, data: str, run_fustor: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = run_fustor("up", data, "--http", address, "--state", str(state.folder))
    assert done.returncode == 2
    assert f"taken by process {os.getpid()} " in done.stderr


@pytest.mark.parametrize("what", ["missing", "file"])
def test_a_root_that_is_none(state: State, run_fustor: Run, tmp_path: Path, what: str) -> None:
    (tmp_path / "file").touch()
    done = run_fustor("up", str(tmp_path / what), "--state", str(state.folder))
    assert (done.returncode, done.stderr.startswith("fustor: DIR = ")) == (2, True)
    assert not state.folder.exists()


def test_a_side_that_does_not_start_leaves_nothing(state: State, data: str, run_fustor: Run) -> None:
    where = ("--state", str(state.folder))
    assert run_fustor("up", data, "--detach", *where).returncode == 0
    assert run_fustor("down", *where).returncode == 0
    text = state.agent.config.read_text()
    state.agent.config.write_text(text.replace("scanners = 2", "scanners = 0"))
    done = run_fustor("up", data, "--detach", *where)
    assert (done.returncode, "scanners" in done.stderr) == (1, True)
    assert [members(side) for side in state.sides] == [{}, {}]


#: An interrupt in a finalizer. In a process of its own: pytest's timeouts have the only timer of this one.
PASSED_OVER = """
import signal, sys
from fustor.admin import up
passed_over = []
sys.unraisablehook = lambda what: passed_over.append(what.exc_type)

class Interrupted:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)

try:
    with up._interruptible():
        Interrupted()
        assert passed_over == [KeyboardInterrupt]
        while True:
            signal.pause()
except KeyboardInterrupt:
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    print("heard")
"""


def test_an_interrupt_that_python_passes_over_comes_again() -> None:
    done = subprocess.run([sys.executable, "-c", PASSED_OVER], capture_output=True, text=True, check=False)
    assert done.stdout == "heard\n", done.stderr
