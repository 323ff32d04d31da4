"""The start after a predecessor that was killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.guardian.conftest import MAIN

if TYPE_CHECKING:
    from tests.guardian.conftest import Side


def test_what_a_killed_guardian_left_and_does_not_join_is_ended(side: Side) -> None:
    first = side.start(listen={"http": ["127.0.0.1", 0]})
    port = side.table()["listen"]["http"][1]
    # Holds the port, and is not one that joins.
    pid = side.spawn("a", sys.executable, "-I", "-S", "-c", "import time; time.sleep(1000)", fds=["http"])
    control = side.control()
    first.kill()
    first.wait(30)
    side.forsake()
    with socket.create_connection(("127.0.0.1", port), 30):
        pass
    side.start(listen={"http": ["127.0.0.1", port]}, adopt_timeout=0.2)
    side.until(lambda: not side.is_alive(pid) and not side.is_alive(control), "the end of both")
    side.logged("the guardian before this one was killed survivors=")
    ended = side.until(lambda: side.ask("list")["slots"][0]["exit"], "the end of a to be seen")
    assert not ended["known"] or ended["signal"] == signal.SIGKILL


def test_where_all_was_cleared_a_survivor_starts_nobody(side: Side) -> None:
    """It was so slow that the stop which ended everybody else is over, and forgotten, when its guardian begins."""
    late = side.popen(str(side.config()), "--succeed")
    assert late.wait(30) == 100
    assert late.stderr is not None
    assert b"nothing is left here to be succeeded" in late.stderr.read()
    assert {entry.name for entry in side.run.iterdir()} == {"guardian.lock"}


def test_a_check_beside_a_guardian_that_runs(side: Side) -> None:
    side.start()
    check = [sys.executable, "-I", "-S", str(MAIN), str(side.folder / "config.json"), "--check"]
    assert subprocess.run(check, check=False).returncode == 0
    side.config(run=str(side.folder / "nowhere"))
    wrong = subprocess.run(check, stderr=-1, check=False)
    assert wrong.returncode == 2
    assert b"an existing folder is accepted" in wrong.stderr
    assert side.ask("status")["counters"]["control_starts"] == 1


def test_files_of_a_killed_guardian_are_replaced(side: Side) -> None:
    first = side.start()
    os.kill(first.pid, signal.SIGKILL)
    first.wait(30)
    side.forsake()
    second = side.start()
    assert (side.run / "guardian.pid").read_text() == f"{second.pid}\n"
    assert side.table()["guardian"] == second.pid
