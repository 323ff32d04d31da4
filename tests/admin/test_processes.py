"""Finding and stopping processes from outside, with real ones that look like a side."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fustor.admin.processes import STOPPING, Held, Stopped, clear_run, guardian, members, stop, wait_guardian
from fustor.admin.state import Side
from protocols.errors import MachineError

#: Says that it is ready, then waits; ``stubborn`` ones ignore SIGTERM.
PROGRAM = """
import signal, sys
if sys.argv[2] == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
signal.pause()
"""

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def side(tmp_path: Path) -> Side:
    (tmp_path / "run").mkdir()
    return Side("fusion", tmp_path, tmp_path / "fusion.toml")


@pytest.fixture
def start(side: Side) -> Iterator[Start]:
    started: list[subprocess.Popen[bytes]] = []

    def start_one(name: str, kind: str = "meek", cwd: Path | None = None) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, "fustor/guardian/main.py" if name == "guardian" else "payload", kind],
            cwd=cwd or side.run,
            env={**os.environ, "FUSTOR_NAME": name},
            stdout=subprocess.PIPE,
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        return process

    yield start_one
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_members_are_known_by_their_folder(side: Side, start: Start, tmp_path: Path) -> None:
    keeper, view = start("guardian"), start("view.main")
    start("view.main", cwd=tmp_path)
    assert members(side) == {keeper.pid: "guardian", view.pid: "view.main"}


def test_a_guardian_is_believed_only_when_it_is_one(side: Side, start: Start, tmp_path: Path) -> None:
    note = side.run / "guardian.pid"
    assert guardian(side) is None
    for content in ("", "no number", "4194304", str(os.getpid())):
        note.write_text(content)
        assert guardian(side) is None
    note.write_text(str(start("guardian", cwd=tmp_path).pid))
    assert guardian(side) is None
    ours = start("guardian")
    note.write_text(f"{ours.pid}\n")
    found = guardian(side)
    assert found is not None
    with found:
        assert found.pid == ours.pid
        assert not found.wait(0)
        ours.terminate()
        assert found.wait(20)
        assert guardian(side) is None


def test_a_meek_side_is_stopped_and_swept(side: Side, start: Start) -> None:
    keeper = start("guardian")
    (side.run / "guardian.pid").write_text(str(keeper.pid))
    (side.run / "lifeline").touch()
    # Reaped by its parent, as init would: until then it is still listed.
    assert stop(side, 20) == Stopped(ran=True)
    assert keeper.wait() == -signal.SIGTERM
    assert list(side.run.iterdir()) == []


def test_stubborn_and_orphaned_ones_are_killed_and_named(side: Side, start: Start) -> None:
    keeper, view = start("guardian", "stubborn"), start("view.main", "stubborn")
    (side.run / "guardian.pid").write_text(str(keeper.pid))
    assert stop(side, 0.1) == Stopped(ran=True, killed=("guardian", "view.main"))
    assert (keeper.wait(), view.wait()) == (-signal.SIGKILL, -signal.SIGKILL)


def test_payloads_without_a_guardian_are_stopped_too(side: Side, start: Start) -> None:
    view = start("view.main")
    assert stop(side, 20) == Stopped(ran=True, killed=("view.main",))
    assert view.wait() == -signal.SIGKILL


def test_stopping_nothing_is_harmless(side: Side, tmp_path: Path) -> None:
    assert stop(side, 20) == Stopped(ran=False)
    nowhere = Side("fusion", tmp_path / "nowhere", tmp_path / "x")
    assert stop(nowhere, 20) == Stopped(ran=False)
    clear_run(nowhere)


def test_a_guardian_that_can_not_be_seen_is_not_called_stopped(side: Side) -> None:
    """Its lock tells: /proc may show less, to another user or in a container."""
    with open(side.run / "guardian.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(MachineError, match="can't be seen from here"):
            stop(side, 1)
        assert (side.run / "guardian.lock").exists()
    assert stop(side, 1) == Stopped(ran=False)


def test_a_held_process_can_not_be_mistaken(start: Start) -> None:
    process = start("view.main")
    with Held(process.pid) as held:
        process.kill()
        process.wait()
        deadline = time.monotonic() + 20
        assert held.wait(deadline - time.monotonic())
        assert not held.signal(signal.SIGTERM)
    with pytest.raises(ProcessLookupError):
        Held(process.pid)


def test_a_successor_is_waited_for(side: Side, start: Start) -> None:
    first, view = start("guardian"), start("view.main")
    note = side.run / "guardian.pid"
    note.write_text(str(first.pid))
    first.kill()
    first.wait()
    found: list[Held | None] = []
    waiter = threading.Thread(target=lambda: found.append(wait_guardian(side, 60)))
    waiter.start()
    second = start("guardian")
    note.write_text(str(second.pid))
    waiter.join()
    assert found[0] is not None
    with found[0] as held:
        assert held.pid == second.pid
    second.kill()
    second.wait()
    assert wait_guardian(side, 0.05) is None
    (side.run / STOPPING).touch()
    assert wait_guardian(side, 60) is None  # being stopped: nobody comes
    (side.run / STOPPING).unlink()
    view.kill()
    view.wait()
    assert wait_guardian(side, 60) is None  # nothing runs


def test_a_stop_is_said_before_anybody_is_signalled(side: Side, start: Start) -> None:
    """Who sees the guardian gone sees that everything is being stopped."""
    keeper = start("guardian", "stubborn")
    (side.run / "guardian.pid").write_text(str(keeper.pid))
    stopped: list[Stopped] = []
    stopper = threading.Thread(target=lambda: stopped.append(stop(side, 60)))
    stopper.start()
    deadline = time.monotonic() + 60
    while not (side.run / STOPPING).exists():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    keeper.kill()
    keeper.wait()
    stopper.join()
    assert stopped == [Stopped(ran=True)]
    assert list(side.run.iterdir()) == []
