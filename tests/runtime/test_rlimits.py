"""Limits of real processes, set from outside."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fustor.runtime.rlimits import SHELL_NICE, SHELL_SCORE, impose, protect
from protocols.limits import ProcessLimits

LIMITS = ProcessLimits(memory_bytes=64 << 20, fds=100, nice=3)
#: Waits for a line, then uses memory until it is refused any.
LEAK = """
import sys, threading, time
threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
print(flush=True)
sys.stdin.readline()
kept = []
try:
    while True:
        kept.append(b"x" * (1 << 20))
except MemoryError:
    count = len(kept)
    del kept
    print(count)
"""


@pytest.fixture
def process() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", LEAK]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def test_a_leak_is_refused_memory(process: subprocess.Popen[str]) -> None:
    assert impose(process.pid, LIMITS) == ""
    told, _ = process.communicate("go\n", timeout=60)
    assert 0 < int(told) < (LIMITS.data_bytes >> 20)


def test_all_limits_are_set(process: subprocess.Popen[str]) -> None:
    assert impose(process.pid, LIMITS) == ""
    assert resource.prlimit(process.pid, resource.RLIMIT_DATA)[0] == LIMITS.data_bytes
    assert resource.prlimit(process.pid, resource.RLIMIT_NOFILE)[0] == 164
    assert resource.prlimit(process.pid, resource.RLIMIT_CORE)[0] == 0
    threads = os.listdir(f"/proc/{process.pid}/task")
    assert len(threads) == 2
    assert {os.getpriority(os.PRIO_PROCESS, int(thread)) for thread in threads} == {
        max(3, os.getpriority(os.PRIO_PROCESS, 0))
    }


def test_what_was_taken_can_be_granted_again(process: subprocess.Popen[str]) -> None:
    impose(process.pid, LIMITS)
    more = ProcessLimits(memory_bytes=256 << 20, fds=200)
    assert impose(process.pid, more) == ""
    assert resource.prlimit(process.pid, resource.RLIMIT_DATA)[0] == more.data_bytes
    assert resource.prlimit(process.pid, resource.RLIMIT_NOFILE)[0] == more.open_files


def test_who_is_gone_needs_no_limits(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    assert impose(process.pid, LIMITS) == ""
    protect(process.pid)


def test_the_shell_is_not_the_first_to_be_killed(process: subprocess.Popen[str]) -> None:
    score = Path(f"/proc/{process.pid}/oom_score_adj")
    score.write_text("300")
    protect(process.pid)
    # How far it can be lowered is a question of privilege; that it is not raised is not.
    assert SHELL_SCORE <= int(score.read_text()) <= 300


def test_the_control_actor_goes_first_where_it_may() -> None:
    program = "import os; from fustor.runtime.rlimits import hurry; hurry(); print(os.getpriority(os.PRIO_PROCESS, 0))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(done.stdout) in (SHELL_NICE, os.getpriority(os.PRIO_PROCESS, 0))
    if os.geteuid() == 0:
        dropped = ["setpriv", "--bounding-set=-sys_nice", "--inh-caps=-sys_nice"]
        done = subprocess.run([*dropped, sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert int(done.stdout) == os.getpriority(os.PRIO_PROCESS, 0)
