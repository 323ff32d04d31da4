"""Fork, exec and reaping, with real processes."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import signal
import subprocess
import sys
import time
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


def begin(program: Program, null: int) -> tuple[int, int, int]:
    """As ``process.start``, with a lock of no meaning."""
    lock = os.open("/", os.O_RDONLY)
    try:
        return process.start(program, null, lock)
    finally:
        os.close(lock)


def run(program: Program, null: int) -> tuple[int, int]:
    """Pid, and the errno of exec."""
    pid, reader, release = begin(program, null)
    process.release(release)
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
pid, _, release = process.start(Program([b"/bin/true"], {}, [], null), null, os.dup(null))
process.release(release)
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


def test_a_program_waits_until_it_is_released(null: int, tmp_path: Path) -> None:
    made = tmp_path / "made"
    pid, reader, release = begin(Program([b"/bin/mkdir", os.fsencode(made)], {}, [], null), null)
    assert process.exec_error(reader) is None
    assert not made.exists()
    process.release(release)
    assert process.reap(pid).code == 0
    assert made.exists()
    os.close(reader)


def test_a_program_whose_parent_dies_before_is_never_run(null: int, tmp_path: Path) -> None:
    made = tmp_path / "made"
    pid, reader, release = begin(Program([b"/bin/mkdir", os.fsencode(made)], {}, [], null), null)
    os.close(release)  # as the death of this process would
    assert process.reap(pid).code == 127
    assert not made.exists()
    os.close(reader)


def test_one_that_was_killed_before_can_be_released(null: int) -> None:
    pid, reader, release = begin(Program(SLEEP, {}, [], null), null)
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    process.release(release)
    assert process.reap(pid).signal == signal.SIGKILL
    os.close(reader)


def test_the_lock_is_not_kept_by_a_child_that_waits(null: int, tmp_path: Path) -> None:
    lock = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    pid, reader, release = process.start(Program([b"/bin/true"], {}, [], null), null, lock)

    def kept() -> bool:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                if os.readlink(entry) == str(tmp_path / "lock"):
                    return True
        return False

    deadline = time.monotonic() + 30
    while kept():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.release(release)
    process.reap(pid)
    for fd in (reader, lock):
        os.close(fd)


def test_who_is_frozen(null: int) -> None:
    pid, reader, release = begin(Program(SLEEP, {}, [], null), null)
    process.release(release)
    assert not process.frozen(pid)
    os.kill(pid, signal.SIGSTOP)
    os.waitid(os.P_PID, pid, os.WSTOPPED)
    assert process.frozen(pid)
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert not process.frozen(pid)
    process.reap(pid)
    assert not process.frozen(pid)
    os.close(reader)


def test_limits_of_a_payload_are_shed() -> None:
    # In a process of its own: limits of this one must not change.
    script = """
import resource
from fustor.guardian import process
hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
resource.setrlimit(resource.RLIMIT_DATA, (1 << 30, hard))
process.set_oom_score(b"500")
assert process.oom_score() == 500
process.shed_limits(501)
assert resource.getrlimit(resource.RLIMIT_DATA) == (hard, hard)
assert process.oom_score() == 501
print("shed")
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout == "shed\n"
