"""The way to a successor, alone: here the test is the successor, or sees who is started as one."""

from __future__ import annotations

import fcntl
import json
import os
import select
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from fustor.guardian.gate import Gate
from fustor.guardian.process import born
from fustor.guardian.requests import Join
from fustor.runtime import rejoin
from fustor.runtime.rejoin import Joined, Plan, Rejoiner
from protocols.errors import ConfigError
from tests.support.cluster import until

PATIENCE = 30.0


@pytest.fixture(autouse=True)
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The run folder, the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def gate(run: Path) -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.close()


def answer(gate: Gate, word: str, times: int = 1) -> tuple[threading.Thread, list[dict[str, Any]]]:
    """Let ``times`` visitors in, or refuse them, in a thread; what they said."""
    said: list[dict[str, Any]] = []

    def serve() -> None:
        for _ in range(times):
            assert select.select([gate.fileno()], [], [], PATIENCE)[0]
            visitor = gate.accept()
            assert visitor is not None
            assert select.select([visitor.fileno()], [], [], PATIENCE)[0]
            join, given = visitor.receive()
            assert isinstance(join, Join)
            brought = {name: socket.socket(fileno=fd) for name, fd in given.items()}
            ports = {name: sock.getsockname()[1] for name, sock in brought.items()}
            said.append({"name": join.name, "pid": join.pid, "born": join.born, "token": join.token, "ports": ports})
            for sock in brought.values():
                sock.close()
            if word == "welcome":
                visitor.welcome()
            elif word == "refuse":
                visitor.refuse("no room")
            visitor.close()

    thread = threading.Thread(target=serve)
    thread.start()
    return thread, said


def release(joined: Joined | None) -> None:
    assert joined is not None
    joined.connection.close()
    os.close(joined.descriptor)


def plan(*argv: str, seconds: float = PATIENCE, log: str = os.devnull) -> Plan:
    return Plan(seconds, argv, log)


def test_a_survivor_says_who_it_is_and_brings_what_it_has(gate: Gate) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.set_inheritable(True)
        rejoiner = Rejoiner(plan(), "query.0", "t1", {"http": server.fileno(), "closed": 987_654})
        assert not server.get_inheritable(), "a successor started from here must not get it twice"
        port = server.getsockname()[1]
    thread, said = answer(gate, "welcome")
    joined = rejoiner.find()
    thread.join()
    expected = {
        "name": "query.0",
        "pid": os.getpid(),
        "born": born(os.getpid()),
        "token": "t1",
        "ports": {"http": port},
    }
    assert said == [expected]
    assert joined is not None
    # A pidfd of the one who answered: here of this process.
    assert f"Pid:\t{os.getpid()}\n" in Path(f"/proc/self/fdinfo/{joined.descriptor}").read_text()
    release(joined)


def test_one_that_is_refused_gives_up(gate: Gate) -> None:
    thread, said = answer(gate, "refuse")
    assert Rejoiner(plan(), "a", "t", {}).find() is None
    thread.join()
    assert len(said) == 1


def test_one_whose_successor_is_killed_before_it_answers_asks_the_next(gate: Gate) -> None:
    thread, said = answer(gate, "say nothing", 3)
    found: list[Joined | None] = []
    finder = threading.Thread(target=lambda: found.append(Rejoiner(plan(), "a", "t", {}).find()))
    finder.start()
    thread.join()
    thread, _ = answer(gate, "welcome")
    finder.join()
    thread.join()
    assert len(said) == 3
    release(found[0])


def test_without_anybody_it_ends() -> None:
    assert Rejoiner(plan(seconds=0.05), "a", "t", {}).find() is None


def test_nobody_is_looked_for_while_everything_is_being_stopped(gate: Gate, run: Path) -> None:
    (run / rejoin.STOPPING).touch()
    assert Rejoiner(plan("/nonexistent"), "a", "t", {}).find() is None
    assert gate.accept() is None
    assert not (run / rejoin.SUCCESSOR_LOCK).exists()


#: Stands for a guardian: says what it was started with, then opens a gate and lets one in.
GUARDIAN = f"""
import json, os, select, signal, sys
sys.path.insert(0, {os.fspath(Path(__file__).resolve().parents[2])!r})
from fustor.guardian.gate import Gate
fds = ["/proc/self/fd/" + str(fd) for fd in range(1024)]
told = dict(argv=sys.argv[1:], cwd=os.getcwd(), session=os.getsid(0) == os.getpid())
told["fds"] = [os.readlink(fd) for fd in fds if os.path.exists(fd)]
told["environment"] = sorted(key for key in os.environ if key.startswith("FUSTOR_") or key == "KEPT")
told["path"] = os.environ.get("PYTHONPATH")
told["blocked"] = sorted(signal.pthread_sigmask(signal.SIG_BLOCK, []))
with open("told.new", "w") as file:
    json.dump(told, file)
os.rename("told.new", "told")
print("hello")
gate = Gate()
select.select([gate.fileno()], [], [])
visitor = gate.accept()
select.select([visitor.fileno()], [], [])
visitor.receive()
visitor.welcome()
"""


@pytest.mark.parametrize(("path", "told_path"), [("", None), ("/elsewhere", "/elsewhere")])
def test_a_survivor_starts_the_successor(
    run: Path, monkeypatch: pytest.MonkeyPatch, path: str, told_path: str | None
) -> None:
    for key in (
        "FUSTOR_NAME",
        "FUSTOR_TOKEN",
        "FUSTOR_GUARDIAN_PID",
        "FUSTOR_FDS",
        "FUSTOR_REJOIN",
        "KEPT",
        "PYTHONPATH",
    ):
        monkeypatch.setenv(key, "x")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.set_inheritable(True)
        argv = (sys.executable, "-I", "-S", "-c", GUARDIAN)
        told_us = attrs.evolve(plan(*argv, log=str(run / "log")), path=path)
        rejoiner = Rejoiner(told_us, "a", "t", {"http": server.fileno()})
        joined = rejoiner.find()
    release(joined)
    told = json.loads((run / "told").read_text())
    assert told["argv"] == ["--succeed"]
    assert told["cwd"] == str(run)
    assert told["session"]
    assert told["environment"] == ["KEPT"]
    assert told["path"] == told_path, "ours is that of our program"
    assert told["blocked"] == []
    # What others have left open as inheritable in this process is not ours; a listening socket would be.
    assert told["fds"][:3] == ["/dev/null", str(run / "log"), str(run / "log")]
    assert not any(fd.startswith("socket:") for fd in told["fds"])
    # Ended, and our child: collected once it is asked for.
    until(lambda: not rejoiner._child_lives(), "its end")
    assert (run / "log").read_text() == "hello\n"


def test_one_that_can_not_start_is_started_again(run: Path, starter: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rejoin, "AGAIN_SECONDS", 0.01)
    rejoiner = Rejoiner(plan(starter), "control", "t", {})
    found: list[Joined | None] = []
    finder = threading.Thread(target=lambda: found.append(rejoiner.find()))
    finder.start()
    tries = run / "tries"
    until(lambda: tries.exists() and len(tries.read_text()) >= 6, "three tries")
    (run / rejoin.STOPPING).touch()
    finder.join()
    assert found == [None]
    until(lambda: not rejoiner._child_lives(), "the end of the last")


def test_one_program_that_is_not_there_is_said(capfd: pytest.CaptureFixture[str]) -> None:
    assert Rejoiner(plan("/nonexistent", seconds=0.05), "control", "t", {}).find() is None
    assert "a successor of the guardian can't be started: No such file or directory" in capfd.readouterr().err


@pytest.fixture
def starter(run: Path) -> str:
    """A program that says that it was started, and ends."""
    script = run / "guardian"
    script.write_text("#!/bin/sh\necho x >> tries\n")
    script.chmod(0o700)
    return str(script)


def test_only_one_starts_it(run: Path, starter: str) -> None:
    """Whoever holds the lock does; the others wait for it to be there."""
    with open(run / rejoin.SUCCESSOR_LOCK, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert Rejoiner(plan(starter, seconds=0.2), "control", "t", {}).find() is None
    assert not (run / "tries").exists()


def test_whoever_has_the_lock_and_does_nothing_is_not_waited_for(
    run: Path, starter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rejoin, "LOCK_SECONDS", 0.05)
    monkeypatch.setattr(rejoin, "AGAIN_SECONDS", 0.05)
    with open(run / rejoin.SUCCESSOR_LOCK, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        rejoiner = Rejoiner(plan(starter, seconds=0.5), "control", "t", {})
        assert rejoiner.find() is None
    until((run / "tries").exists, "a successor to be started")
    until(lambda: not rejoiner._child_lives(), "its end")


@pytest.mark.parametrize("text", ["{", "[]", "1", "{}", '{"seconds": "x", "argv": [], "log": ""}', '{"seconds": 1}'])
def test_what_is_no_plan(text: str) -> None:
    with pytest.raises(ConfigError, match="FUSTOR_REJOIN"):
        Plan.from_environment({"FUSTOR_REJOIN": text})


def test_a_plan() -> None:
    assert Plan.from_environment({}) is None
    text = '{"seconds": 2, "argv": ["/bin/true"], "log": "/x", "more": 1}'
    assert Plan.from_environment({"FUSTOR_REJOIN": text}) == Plan(2.0, ("/bin/true",), "/x")


def test_the_words_are_those_of_the_guardian() -> None:
    from fustor.admin import processes
    from fustor.guardian import config, files, gate

    assert (rejoin.GATE, rejoin.STOPPING, rejoin.SUCCESSOR_LOCK) == (gate.NAME, files.STOPPING, files.SUCCESSOR_LOCK)
    assert set(rejoin._OWN) == set(config.RESERVED)
    assert processes.STOPPING == files.STOPPING
