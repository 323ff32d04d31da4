"""The start after a predecessor that was killed."""

from __future__ import annotations

import os
import signal
import socket
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.guardian.conftest import Side


def test_what_a_killed_guardian_left_is_ended_before_anything_starts(side: Side) -> None:
    first = side.start(listen={"http": ["127.0.0.1", 0]})
    port = side.table()["listen"]["http"][1]
    # Holds the port, and is not one that exits when its guardian is gone.
    pid = side.spawn("a", sys.executable, "-I", "-S", "-c", "import time; time.sleep(1000)", fds=["http"])
    control = side.control()
    first.kill()
    first.wait(30)
    side.forsake()
    assert side.is_alive(pid)
    with socket.create_connection(("127.0.0.1", port), 30):
        pass
    side.start(listen={"http": ["127.0.0.1", port]})
    assert not side.is_alive(pid)
    assert not side.is_alive(control)
    assert side.ask("list")["slots"] == []
    assert "the guardian before this one was killed processes=2" in (side.log / "guardian.log").read_text()


def test_files_of_a_killed_guardian_are_replaced(side: Side) -> None:
    first = side.start()
    os.kill(first.pid, signal.SIGKILL)
    first.wait(30)
    side.forsake()
    second = side.start()
    assert (side.run / "guardian.pid").read_text() == f"{second.pid}\n"
    assert side.table()["guardian"] == second.pid
