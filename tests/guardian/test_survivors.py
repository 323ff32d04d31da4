"""Survivors: held, awaited, released."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections.abc import Iterator

import pytest

from fustor.guardian.process import born
from fustor.guardian.survivors import Survivors


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen(["/bin/sleep", "1000"])
    yield child
    child.kill()
    child.wait(30)


def test_one_is_awaited_until_it_has_joined(sleeper: subprocess.Popen[bytes]) -> None:
    survivors = Survivors()
    assert survivors.hold(sleeper.pid, born(sleeper.pid))
    assert survivors.hold(sleeper.pid, born(sleeper.pid))  # already
    assert (len(survivors), sleeper.pid in survivors) == (1, True)
    assert survivors.pids() == survivors.awaited() == [sleeper.pid]
    survivors.join(sleeper.pid)
    assert survivors.pids() == [sleeper.pid]
    assert survivors.awaited() == []
    assert survivors.listening_socket(sleeper.pid, "http") is None


def test_one_that_has_ended_is_let_go(sleeper: subprocess.Popen[bytes]) -> None:
    survivors = Survivors()
    survivors.hold(sleeper.pid, born(sleeper.pid))
    fd = survivors.fileno(sleeper.pid)
    assert not select.select([fd], [], [], 0)[0]
    assert survivors.send(sleeper.pid, signal.SIGTERM)
    assert select.select([fd], [], [], 30)[0]
    ended = survivors.release(sleeper.pid)  # a zombie: its status is always known
    assert (ended.known, ended.signal) == (True, signal.SIGTERM)
    assert len(survivors) == 0
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_one_that_is_gone_is_not_held() -> None:
    with subprocess.Popen(["/bin/true"]) as gone:
        start = born(gone.pid)
    assert not Survivors().hold(gone.pid, start)


def test_they_go_through_an_execve(sleeper: subprocess.Popen[bytes]) -> None:
    before = Survivors()
    before.hold(sleeper.pid, born(sleeper.pid))
    before.join(sleeper.pid)
    after = Survivors()
    after.restore(before.as_json())
    assert after.as_json() == [(sleeper.pid, before.fileno(sleeper.pid), born(sleeper.pid))]
    assert after.awaited() == []
    assert after.send(sleeper.pid, signal.SIGKILL)
    assert sleeper.wait(30) == -signal.SIGKILL
    after.release(sleeper.pid)
