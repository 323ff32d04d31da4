"""Who of the processes there runs."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from benchmarks.chaos.lives import Lives, ending, frozen
from fustor.admin.state import State


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


def test_twice_are_two_lives_and_not_two_processes_of_one(tmp_path: Path) -> None:
    state = State(tmp_path)
    state.agent.run.mkdir(parents=True)
    state.fusion.run.mkdir(parents=True)

    def start(token: str) -> subprocess.Popen[bytes]:
        env = {"FUSTOR_NAME": "scanner", "FUSTOR_TOKEN": token}
        return subprocess.Popen(["/bin/sleep", "1000"], cwd=state.agent.run, env=env)

    running = [start("a"), start("a")]
    try:
        assert Lives(state).twice() == []
        running.append(start("b"))
        assert Lives(state).twice() == [("agent", "scanner")]
        running[-1].kill()
        assert Lives(state).twice() == []
    finally:
        for process in running:
            process.kill()
            process.wait()
