"""The parent watch, with real parents that are killed."""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fustor.runtime.parent import EXIT_PARENT_GONE, watch_guardian
from protocols.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]

#: Writes its pid and "watching"; what it does then is given.
CHILD = """
import os, re, sys, threading, time
sys.path.insert(0, {root!r})
from fustor.runtime.parent import watch_guardian
print(os.getpid(), watch_guardian(), flush=True)
{then}
"""

#: Stands for a guardian: starts the child with its own pid in the environment, and stays.
PARENT = """
import os, subprocess, sys, time
os.environ["FUSTOR_GUARDIAN_PID"] = str(os.getpid())
child = subprocess.Popen([sys.executable, "-I", "-c", sys.argv[1]])
time.sleep(1000)
"""


def orphan(then: str) -> tuple[int, bytes]:
    """Pid and stderr of a child whose parent was killed while it did ``then``; returns when the child has ended."""
    code = CHILD.format(root=str(ROOT), then=then)
    # The end of file of the pipe, which the child inherits, tells that it has ended.
    with subprocess.Popen([sys.executable, "-I", "-c", PARENT, code], stdout=-1, stderr=-1) as parent:
        assert parent.stdout is not None
        assert parent.stderr is not None
        pid, watching = parent.stdout.readline().split()
        assert watching == b"True"
        parent.kill()
        stderr = parent.stderr.read()
        parent.stdout.read()
    return int(pid), stderr


def test_a_sleeping_process_ends_with_its_guardian() -> None:
    _, stderr = orphan("time.sleep(1000)")
    assert stderr == b"the guardian is gone: exiting\n"


def test_a_busy_process_ends_with_its_guardian() -> None:
    _, stderr = orphan("while True: pass")
    assert stderr == b"the guardian is gone: exiting\n"


def test_a_guardian_that_was_gone_before_we_looked() -> None:
    with subprocess.Popen(["/bin/true"]) as gone:
        pass
    code = CHILD.format(root=str(ROOT), then="time.sleep(1000)")
    done = subprocess.run(
        [sys.executable, "-I", "-c", code],
        env={"FUSTOR_GUARDIAN_PID": str(gone.pid)},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == EXIT_PARENT_GONE


def test_a_pid_that_is_another_process_by_now_is_not_believed() -> None:
    called = threading.Event()
    assert os.getppid() != os.getpid()
    assert watch_guardian(called.set, {"FUSTOR_GUARDIAN_PID": str(os.getpid())})
    assert called.wait(30)


def test_without_a_guardian_nothing_is_watched() -> None:
    called = threading.Event()
    before = threading.active_count()
    assert not watch_guardian(called.set, {})
    assert threading.active_count() == before
    assert not called.is_set()


@pytest.mark.parametrize("value", ["guardian", "-1", "0", "1.5", "²"])
def test_what_is_no_pid_is_refused(value: str) -> None:
    with pytest.raises(ConfigError, match="FUSTOR_GUARDIAN_PID"):
        watch_guardian(environment={"FUSTOR_GUARDIAN_PID": value})


def test_a_living_guardian_is_waited_for() -> None:
    with subprocess.Popen(
        [sys.executable, "-I", "-c", CHILD.format(root=str(ROOT), then="input()")],
        env={"FUSTOR_GUARDIAN_PID": str(os.getpid())},
        stdin=-1,
        stdout=-1,
    ) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        assert child.stdout.readline().split()[1] == b"True"
        child.stdin.write(b"\n")
        child.stdin.close()
        assert child.wait(30) == 0
    assert child.returncode != -signal.SIGKILL


#: Stands for a guardian that outlives its parent: lets one in, says so, and ends when told to.
SUCCESSOR = """
import select, sys
sys.path.insert(0, {root!r})
from fustor.guardian.gate import Gate
gate = Gate()
print("open", flush=True)
select.select([gate.fileno()], [], [])
visitor = gate.accept()
select.select([visitor.fileno()], [], [])
join, _ = visitor.receive()
visitor.welcome()
print(join.name, join.pid, flush=True)
sys.stdin.readline()
"""


def test_successor_after_successor_is_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is another process, killed or ended; the last has none."""
    monkeypatch.chdir(tmp_path)
    gone = threading.Event()
    connections: queue.SimpleQueue[socket.socket] = queue.SimpleQueue()
    with subprocess.Popen(["/bin/true"]) as dead:
        pass
    plan = {"seconds": 60, "argv": [], "log": os.devnull}
    environment = {
        "FUSTOR_GUARDIAN_PID": str(dead.pid),
        "FUSTOR_REJOIN": json.dumps(plan),
        "FUSTOR_NAME": "control",
        "FUSTOR_TOKEN": "t",
        "FUSTOR_FDS": '{"keeper": 3}',
    }
    assert watch_guardian(gone.set, environment, connections.put)
    for _ in range(3):
        code = SUCCESSOR.format(root=str(ROOT))
        with subprocess.Popen([sys.executable, "-I", "-c", code], stdin=-1, stdout=-1) as successor:
            assert successor.stdout is not None
            assert successor.stdout.readline() == b"open\n"
            assert successor.stdout.readline() == b"control %d\n" % os.getpid()
            with connections.get(timeout=30) as connection:
                assert not gone.is_set()
                successor.kill()
                assert connection.recv(1) == b""
    (tmp_path / "stopping").touch()
    assert gone.wait(30)


def test_what_is_no_plan_is_refused() -> None:
    with pytest.raises(ConfigError, match="FUSTOR_REJOIN"):
        watch_guardian(environment={"FUSTOR_GUARDIAN_PID": str(os.getpid()), "FUSTOR_REJOIN": "{"})
