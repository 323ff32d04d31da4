"""Fork, exec and reaping, with real processes."""

from __future__ import annotations

import errno
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fustor.guardian import process
from fustor.guardian.process import Program

SLEEP = [os.fsencode(sys.executable), b"-I", b"-S", b"-c", b"import time; time.sleep(1000)"]


@pytest.fixture
def null() -> Iterator[int]:
    fd = os.open(os.devnull, os.O_RDWR)
    yield fd
    os.close(fd)


def run(program: Program, null: int) -> tuple[int, int]:
    """Pid, and the errno of exec."""
    pid, reader = process.start(program, null)
    assert select.select([reader], [], [], 30)[0]
    error = process.exec_error(reader)
    os.close(reader)
    assert error is not None
    return pid, error


def test_a_program_runs_and_is_reaped(null: int) -> None:
    pid, error = run(Program(SLEEP, {}, [], null), null)
    assert error == 0
    assert os.getsid(pid) == pid
    assert process.born(pid) > 0
    assert process.send(pid, signal.SIGTERM)
    ended = process.reap(pid)
    assert (ended.code, ended.signal) == (0, signal.SIGTERM)
    assert ended.maxrss > 1 << 20
    assert process.born(pid) == 0


def test_the_exit_code_is_told(null: int) -> None:
    pid, error = run(Program([b"/bin/sh", b"-c", b"exit 7"], {}, [], null), null)
    assert error == 0
    ended = process.reap(pid)
    assert (ended.code, ended.signal) == (7, 0)


@pytest.mark.parametrize(("path", "number"), [(b"/nonexistent", errno.ENOENT), (b"/", errno.EACCES)])
def test_why_exec_failed_is_told(null: int, path: bytes, number: int) -> None:
    pid, error = run(Program([path], {}, [], null), null)
    assert error == number
    assert process.reap(pid).code == 127


def test_a_failure_that_is_no_system_call_is_told_too(null: int) -> None:
    pid, error = run(Program([b"/bin/true\0"], {}, [], null), null)
    assert error == errno.EINVAL
    assert process.reap(pid).code == 127


def test_output_goes_to_the_log_and_nothing_else_is_inherited(null: int, tmp_path: Path) -> None:
    log = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    secret, kept = os.open("/", os.O_RDONLY), os.open("/", os.O_RDONLY)
    script = b"echo out; echo err >&2; ls /proc/$$/fd"
    pid, _ = run(Program([b"/bin/sh", b"-c", script], {b"PATH": os.environb[b"PATH"]}, [kept], log), null)
    assert process.reap(pid).code == 0
    lines = (tmp_path / "log").read_text().split()
    assert lines[:2] == ["out", "err"]
    assert str(kept) in lines
    assert str(secret) not in lines
    assert not os.get_inheritable(kept)
    for fd in (log, secret, kept):
        os.close(fd)


def test_signals_are_unblocked_here_after_a_start(null: int) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    pid, _ = run(Program([b"/bin/true"], {}, [], null), null)
    process.reap(pid)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


def test_the_group_of_a_child(null: int) -> None:
    pid, _ = run(Program(SLEEP, {}, [], null), null)
    process.send_group(pid, signal.SIGKILL)
    assert process.reap(pid).signal == signal.SIGKILL
    process.send_group(pid, signal.SIGKILL)


def test_an_exited_child_is_told_until_it_is_reaped() -> None:
    # In a process of its own: other tests of this run may have children that exited and are told of first.
    script = """
import os, select, sys
from fustor.guardian import process
from fustor.guardian.process import Program
null = os.open(os.devnull, os.O_RDWR)
pid, _ = process.start(Program([b"/bin/true"], {}, [], null), null)
fd = os.pidfd_open(pid)
assert select.select([fd], [], [], 30)[0]
assert process.next_exited() == pid
assert process.next_exited() == pid
process.reap(pid)
try:
    process.next_exited()
except ChildProcessError:
    print("no child left")
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout == "no child left\n"
