"""Processes that are not our children: here grandchildren, as a survivor is none of its successor's."""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fustor.guardian import pidfd
from fustor.guardian.process import born

#: Starts argv and tells its pid; lets it read a line when told so, and never reaps it.
PARENT = """
import subprocess, sys
child = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE)
print(child.pid, flush=True)
sys.stdin.readline()
child.stdin.write(b"go\\n")
child.stdin.close()
sys.stdin.read()
"""


@contextmanager
def grandchild(*argv: str) -> Iterator[tuple[int, Callable[[], None]]]:
    """The pid of a process whose parent does not reap it while this lasts, and what lets it read a line."""
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", PARENT, *argv], stdin=-1, stdout=-1) as parent:
        assert parent.stdout is not None
        stdin = parent.stdin
        assert stdin is not None
        pid = int(parent.stdout.readline())

        def go() -> None:
            stdin.write(b"\n")
            stdin.flush()

        try:
            yield pid, go
        finally:
            if Path(f"/proc/{pid}").exists():
                os.kill(pid, signal.SIGKILL)
            parent.kill()


def ended(fd: int) -> None:
    assert select.select([fd], [], [], 30)[0]


@pytest.mark.parametrize(("script", "code", "number"), [("exit 7", 7, 0), ("exit 0", 0, 0), ("kill -9 $$", 0, 9)])
def test_the_status_of_one_that_nobody_has_reaped(script: str, code: int, number: int) -> None:
    with grandchild("/bin/sh", "-c", f"read line; {script}") as (pid, go):
        start = born(pid)
        fd = os.pidfd_open(pid)
        go()
        ended(fd)
        told = pidfd.status(fd, pid, start)
        assert (told.known, told.code, told.signal, told.maxrss) == (True, code, number, 0)
        os.close(fd)


def test_the_status_of_one_that_was_reaped_is_right_or_unknown() -> None:
    child = subprocess.Popen(["/bin/sleep", "1000"])
    start = born(child.pid)
    fd = pidfd.hold(child.pid, start)
    assert fd >= 0
    assert pidfd.send(fd, signal.SIGTERM)
    child.wait(30)
    told = pidfd.status(fd, child.pid, start)
    assert not told.known or (told.code, told.signal) == (0, signal.SIGTERM)
    assert pidfd.send(fd, signal.SIGKILL)  # gone: nobody is signalled
    os.close(fd)


def test_another_process_of_the_same_number_is_not_held() -> None:
    assert pidfd.hold(os.getpid(), born(os.getpid()) - 1) == -1
    assert pidfd.hold(os.getpid(), 0) == -1
    with subprocess.Popen(["/bin/true"]) as gone:
        start = born(gone.pid)
    assert pidfd.hold(gone.pid, start) == -1


def test_without_descriptors_left_nobody_is_called_dead() -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            pidfd.hold(os.getpid(), 1)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_a_listening_socket_is_taken_out_of_a_frozen_process() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.set_inheritable(True)
        port = server.getsockname()[1]
        environment = {"FUSTOR_FDS": json.dumps({"http": server.fileno(), "closed": 999})}
        child = subprocess.Popen(["/bin/sleep", "1000"], env=environment, pass_fds=[server.fileno()])
    try:
        # Popen may return before the kernel has put the environment in its place (execve(2) closes descriptors first).
        while not Path(f"/proc/{child.pid}/environ").read_bytes():
            time.sleep(0.001)
        os.kill(child.pid, signal.SIGSTOP)
        fd = os.pidfd_open(child.pid)
        taken = pidfd.listening_socket(fd, child.pid, "http")
        assert taken is not None  # its parent, or root, may
        with taken:
            assert taken.getsockname()[1] == port
            assert not taken.get_inheritable()
        for name in ("closed", "https"):
            assert pidfd.listening_socket(fd, child.pid, name) is None
        os.close(fd)
    finally:
        child.kill()
        child.wait(30)


@pytest.mark.parametrize(
    "environment", [{}, {"FUSTOR_FDS": "{"}, {"FUSTOR_FDS": "[]"}, {"FUSTOR_FDS": '{"http": "x"}'}]
)
def test_one_that_was_given_none_has_none(environment: dict[str, str]) -> None:
    child = subprocess.Popen(["/bin/sleep", "1000"], env=environment)
    try:
        fd = os.pidfd_open(child.pid)
        assert pidfd.listening_socket(fd, child.pid, "http") is None
        os.close(fd)
    finally:
        child.kill()
        child.wait(30)
