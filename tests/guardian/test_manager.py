"""The protocol of service managers, with a real socket in the place of theirs."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fustor.guardian.listeners import listen
from fustor.guardian.manager import AGAIN_SECONDS, VARIABLES, Manager, take_listening
from tests.guardian.conftest import DEADLINE, MAIN, RELAY, SURVIVOR, Side

#: Becomes a guardian, as a process that was given the descriptors from 3 on. Arguments: theirs now, its command line.
GIVEN = """
import fcntl, json, os, sys
aside = [fcntl.fcntl(fd, fcntl.F_DUPFD, 100) for fd in json.loads(sys.argv[1])]
for number, fd in enumerate(aside, 3):
    os.dup2(fd, number)
    os.close(fd)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
"""


class Heard:
    """What is said to the service manager."""

    def __init__(self, path: str) -> None:
        self.environment = {b"NOTIFY_SOCKET": path.encode().replace(b"\0", b"@")}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(path)

    def next(self) -> list[bytes]:
        """The lines of the next message."""
        assert select.select([self._socket], [], [], DEADLINE)[0], "nothing is said"
        return self._socket.recv(4096).split(b"\n")

    def is_silent(self) -> bool:
        """Nothing waits."""
        return not select.select([self._socket], [], [], 0)[0]

    def fill(self) -> None:
        """Nothing more can be sent to it."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock, contextlib.suppress(BlockingIOError):
            sock.setblocking(False)
            while True:
                sock.sendto(b"STATUS=busy", self._socket.getsockname())

    def empty(self) -> None:
        """Hear all that waits."""
        while not self.is_silent():
            self._socket.recv(4096)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def heard(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Heard]:
    made = Heard(str(tmp_path / "notify") if request.param == "path" else f"\0fustor.test.{os.getpid()}")
    yield made
    made.close()


def test_ready_is_said_once_and_stopping(heard: Heard) -> None:
    manager = Manager(heard.environment)
    manager.ready()
    manager.ready()
    manager.stopping()
    assert heard.next()[0] == b"READY=1"
    assert heard.next()[0] == b"STOPPING=1"
    assert manager.wake_at() is None


def test_ready_is_said_until_there_is_room_for_it(heard: Heard) -> None:
    """A manager that is busy takes ten messages (net.unix.max_dgram_qlen); one that never hears this ends us."""
    heard.fill()
    manager = Manager(heard.environment)
    manager.turn(100.0)
    manager.ready()
    assert manager.wake_at() == 100.0 + AGAIN_SECONDS
    heard.empty()
    manager.turn(100.0 + AGAIN_SECONDS)
    manager.ready()
    assert heard.next()[0] == b"READY=1"
    assert manager.wake_at() is None
    manager.ready()
    assert heard.is_silent()


def test_the_watchdog_hears_twice_as_often_as_it_asks_for(heard: Heard) -> None:
    manager = Manager({**heard.environment, b"WATCHDOG_USEC": b"3000000"})
    for now, says in ((100.0, True), (101.4, False), (101.5, True), (101.6, False), (200.0, True)):
        manager.turn(now)
        assert heard.is_silent() is not says
        if says:
            assert heard.next() == [b"WATCHDOG=1"]
            assert manager.wake_at() == now + 1.5


@pytest.mark.parametrize("usec", [b"", b"0", b"-1", b"soon", b"9" * 40])
def test_no_watchdog(heard: Heard, usec: bytes) -> None:
    manager = Manager({**heard.environment, b"WATCHDOG_USEC": usec})
    manager.turn(0.0)
    assert heard.is_silent()
    assert manager.wake_at() is None


@pytest.mark.parametrize("address", [b"", b"/nowhere/at all", b"@nobody.listens.here", b"x" * 500])
def test_nobody_who_listens_is_no_fault(address: bytes) -> None:
    manager = Manager({b"NOTIFY_SOCKET": address, b"WATCHDOG_USEC": b"10"})
    manager.ready()
    manager.turn(0.0)
    manager.stopping()


@pytest.mark.parametrize("count", [b"", b"0", b"x", b"-1"])
def test_without_sockets_none_are_taken(count: bytes) -> None:
    environment = {b"LISTEN_FDS": count, b"LISTEN_PID": b"%d" % os.getpid(), b"OTHER": b"1"}
    assert take_listening(environment, os.getpid()) == []
    assert environment == {b"OTHER": b"1"}


def test_sockets_of_another_process_are_left_alone() -> None:
    assert take_listening({b"LISTEN_FDS": b"1", b"LISTEN_PID": b"1"}, os.getpid()) == []


# -- a guardian -------------------------------------------------------------------------------------------------------


@pytest.fixture
def notify(tmp_path: Path) -> Iterator[Heard]:
    made = Heard(str(tmp_path / "notify"))
    yield made
    made.close()


def start(side: Side, notify: Heard, given: list[socket.socket], **changes: Any) -> subprocess.Popen[bytes]:
    """A guardian as a service manager starts it."""
    guardian = [sys.executable, "-I", "-S", str(MAIN), str(side.config(**{"successor": "supervisor", **changes}))]
    fds = [sock.fileno() for sock in given]
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", GIVEN, json.dumps(fds), *guardian],
        env={
            **os.environ,
            "NOTIFY_SOCKET": os.fsdecode(notify.environment[b"NOTIFY_SOCKET"]),
            "WATCHDOG_USEC": "200000",
            "WATCHDOG_PID": "1",
            "LISTEN_FDS": str(len(fds)),
            "LISTEN_FDNAMES": "http",
        },
        pass_fds=fds,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    side.started.append(process)
    return process


def until_said(notify: Heard, word: bytes) -> None:
    """Until it is said; the watchdog is heard in between."""
    while (said := notify.next()[0]) != word:
        assert said == b"WATCHDOG=1"


def answer_at(sock: socket.socket) -> bytes:
    with socket.create_connection(sock.getsockname(), DEADLINE) as client:
        return client.recv(100)


def test_one_that_is_started_with_sockets_by_a_service_manager(side: Side, notify: Heard) -> None:
    with listen("http", "127.0.0.1", 0) as http, listen("other", "127.0.0.1", 0) as other:
        at = list(http.getsockname())
        process = start(side, notify, [other, http], listen={"http": at})
        until_said(notify, b"READY=1")
        until_said(notify, b"WATCHDOG=1")
        side.logged(f"address={other.getsockname()}")
        assert side.table()["listen"]["http"] == at
        payload = side.spawn("a", *SURVIVOR, fds=["http"])
        assert answer_at(http) == b"%d" % payload
        for pid in (side.control(), payload):
            inherited = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            assert not [line for line in inherited if line.split(b"=")[0] in VARIABLES]
        process.send_signal(signal.SIGTERM)
        until_said(notify, b"STOPPING=1")
        assert process.wait(DEADLINE) == 0
        # It belongs to the service manager, and whoever comes waits for the next one.
        socket.create_connection(http.getsockname(), DEADLINE).close()


def test_the_next_one_has_the_same_sockets_and_everybody_joins_it(side: Side, notify: Heard) -> None:
    patient = {"rejoin_timeout": 1000, "adopt_timeout": 1000, "env": {"RELAY_REJOIN": "1"}}
    with listen("http", "127.0.0.1", 0) as http:
        settings = {
            "listen": {"http": list(http.getsockname())},
            "control": [sys.executable, "-P", str(RELAY)],
            **patient,
        }
        start(side, notify, [http], **settings)
        until_said(notify, b"READY=1")
        side.succeeding = True
        payload = side.spawn("a", *SURVIVOR, fds=["http"])
        assert answer_at(http) == b"%d" % payload
        side.until(lambda: (side.run / f"ready.{payload}").exists(), "it to watch its guardian")
        control, before = side.control(), side.kill_guardian()
        assert answer_at(http) == b"%d" % payload
        start(side, notify, [http], **settings)
        until_said(notify, b"READY=1")
        side.successor(before)
        side.until(lambda: side.ask("status")["counters"]["joined"] == 2, "both to join")
        assert side.control() == control
        assert answer_at(http) == b"%d" % payload


def test_a_socket_that_blocks_is_mended_and_the_operator_told(side: Side, notify: Heard) -> None:
    with listen("http", "127.0.0.1", 0) as http:
        http.setblocking(True)
        start(side, notify, [http], listen={"http": list(http.getsockname())})
        until_said(notify, b"READY=1")
        assert not os.get_blocking(http.fileno())
        side.logged("NonBlocking=yes")


def test_a_new_version_goes_on_with_the_watchdog(side: Side, notify: Heard) -> None:
    process = start(side, notify, [])
    until_said(notify, b"READY=1")
    process.send_signal(signal.SIGHUP)
    until_said(notify, b"READY=1")
    until_said(notify, b"WATCHDOG=1")
    assert side.ask("status")["counters"]["renewals"] == 1


def test_one_that_is_succeeded_by_its_survivors_speaks_to_nobody(side: Side, notify: Heard) -> None:
    start(side, notify, [], successor="survivors")
    side.ask("status")
    assert notify.is_silent()
