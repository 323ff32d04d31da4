"""Who of the processes there runs."""

from __future__ import annotations

import os
import signal
import subprocess

from benchmarks.chaos.lives import ending, frozen


def test_one_that_was_killed_ends_and_one_that_is_stopped_does_not() -> None:
    process = subprocess.Popen(["/bin/sleep", "1000"])
    assert not ending(process.pid)
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED)
    assert (ending(process.pid), frozen(process.pid)) == (False, True)
    process.kill()
    assert ending(process.pid)  # from this moment on, whether it has noticed or not
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert ending(process.pid)
    process.wait()
    assert ending(process.pid)
