"""Whose a process is, and adoption."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from fustor.guardian import children

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def cat(environment: dict[str, str]) -> Iterator[int]:
    """Pid of a process that runs: Popen returns while exec is still building the new environment."""
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(b"x")
        child.stdin.flush()
        assert child.stdout.read(1) == b"x"
        yield child.pid


def test_the_token_of_a_process() -> None:
    with cat({"A": "1", "FUSTOR_TOKEN": "abc", "B": "2"}) as pid:
        assert children.token(pid) == "abc"


def test_a_process_without_token() -> None:
    with cat({"X_FUSTOR_TOKEN": "abc"}) as pid:
        assert children.token(pid) == ""
    assert children.token(pid) == ""


def test_children_are_listed() -> None:
    with cat({}) as pid:
        assert pid in children.pids()
    assert pid not in children.pids()


def test_a_subreaper_adopts() -> None:
    script = """
import os, sys
sys.path.insert(0, sys.argv[1])
from fustor.guardian import children
children.become_subreaper()
reader, writer = os.pipe()
if not os.fork():
    if not os.fork():
        os.read(reader, 1)
        os._exit(7)
    os._exit(0)
os.close(reader)
os.wait()
adopted, = children.pids()
os.write(writer, b"x")
print(os.waitstatus_to_exitcode(os.waitpid(adopted, 0)[1]))
"""
    done = subprocess.run([sys.executable, "-I", "-c", script, str(ROOT)], capture_output=True, check=True, timeout=60)
    assert done.stdout == b"7\n", done.stderr


def test_all_with_a_token_are_ended_wherever_they_are() -> None:
    with ExitStack() as stack:
        # A beginning of it is another token, and none at all is nobody's: the second would be this whole machine.
        mine = secrets.token_hex(16)
        tokens = (mine, mine + "2", mine, None)
        pids = [stack.enter_context(cat({"FUSTOR_TOKEN": token} if token else {})) for token in tokens]
        assert children.end_all_of(mine) == 2
        for pid in (pids[0], pids[2]):
            ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
            assert ended is not None
            assert ended.si_status == signal.SIGKILL
        assert children.end_all_of(mine) == 0
        assert [os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG) for pid in (pids[1], pids[3])] == [None, None]
