"""Whose a process is, and adoption."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from fustor.guardian import children

ROOT = Path(__file__).resolve().parents[2]


def test_the_token_of_a_process() -> None:
    with subprocess.Popen(
        ["/bin/cat"], stdin=subprocess.PIPE, env={"A": "1", "FUSTOR_TOKEN": "abc", "B": "2"}
    ) as child:
        assert children.token(child.pid) == "abc"


def test_a_process_without_token() -> None:
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, env={"X_FUSTOR_TOKEN": "abc"}) as child:
        assert children.token(child.pid) == ""
    assert children.token(child.pid) == ""


def test_children_are_listed() -> None:
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE) as child:
        assert child.pid in children.pids()
    assert child.pid not in children.pids()


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
