"""A real guardian with a control actor that relays packets to the test."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAIN = ROOT / "fustor" / "guardian" / "main.py"
RELAY = Path(__file__).with_name("relay.py")

#: A payload that outlives its guardian: answers with its pid on the inherited socket, makes ``ready.PID`` when ready.
SURVIVOR = [
    sys.executable,
    "-P",
    "-c",
    """
import json, os, select, socket
from fustor.runtime.parent import watch_guardian
fds = json.loads(os.environ["FUSTOR_FDS"])
server = socket.socket(fileno=fds["http"]) if fds else None
watch_guardian()
open(f"ready.{os.getpid()}", "w").close()
while select.select([server] if server else [], [], []):
    try:
        client = server.accept()[0]
    except BlockingIOError:
        continue
    client.send(b"%d" % os.getpid())
    client.close()
""",
]

#: A ceiling for what never happens; nothing is asserted about the time that it takes.
DEADLINE = 30.0


class Side:
    """A folder in which guardians run, one after the other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run = folder / "run"
        self.log = folder / "log"
        self.run.mkdir(mode=0o700)
        self.started: list[subprocess.Popen[bytes]] = []
        self.succeeding = False
        self.tokens: dict[str, str] = {}
        self.events: list[dict[str, Any]] = []
        self._socket: socket.socket | None = None
        self._number = 0

    @staticmethod
    def until(condition: Callable[[], Any], what: str) -> Any:
        """The first true value of ``condition``."""
        deadline = time.monotonic() + DEADLINE
        while not (value := condition()):
            assert time.monotonic() < deadline, f"never: {what}"
            time.sleep(0.005)
        return value

    @staticmethod
    def is_alive(pid: int) -> bool:
        """Runs, and is no zombie."""
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
        except (FileNotFoundError, ProcessLookupError):
            return False

    def config(self, **changes: Any) -> Path:
        """A CONFIG.json in which nothing is judged by time, unless ``changes`` says so."""
        settings: dict[str, Any] = {
            "run": str(self.run),
            "log": str(self.log),
            "control": [sys.executable, "-I", "-S", str(RELAY)],
            "beat_timeout": 0,
            "restart_delay_max": 0,
        }
        path = self.folder / "config.json"
        path.write_text(json.dumps(settings | changes))
        return path

    def popen(self, *arguments: str) -> subprocess.Popen[bytes]:
        """A guardian with this command line."""
        argv = [sys.executable, "-I", "-S", str(MAIN), *arguments]
        process = subprocess.Popen(argv, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
        self.started.append(process)
        return process

    def start_successive(self, **changes: Any) -> int:
        """
        The pid of a running guardian whose control actor, when it is killed, goes on with a successor. However slow the
        machine is, nobody is given up, unless ``changes`` says so.
        """
        changes = {"rejoin_timeout": 1000, "adopt_timeout": 1000, **changes}
        environment = {"RELAY_REJOIN": "1", **changes.pop("env", {})}
        self.start(control=[sys.executable, "-P", str(RELAY)], env=environment, **changes)
        self.succeeding = True
        return self.guardian.pid

    def current(self) -> int:
        """Pid of the guardian that runs, as its file says; 0: none."""
        try:
            pid = int((self.run / "guardian.pid").read_text())
        except (FileNotFoundError, ValueError):
            return 0
        return pid if self.is_alive(pid) else 0

    def kill_guardian(self) -> int:
        """Kill it; its pid. Nothing is waited for but that it is gone."""
        pid = int(self.until(self.current, "a guardian"))
        held = os.pidfd_open(pid)
        signal.pidfd_send_signal(held, signal.SIGKILL)
        assert select.select([held], [], [], DEADLINE)[0]
        os.close(held)
        for process in self.started:
            if process.pid == pid:
                process.wait(DEADLINE)
        return pid

    def successor(self, before: int) -> int:
        """The pid of the guardian that follows ``before``."""

        def found() -> int:
            pid = self.current()
            return pid if pid != before else 0

        return int(self.until(found, f"a successor of the guardian {before}"))

    def everybody(self) -> set[int]:
        """Pids of all processes in the run folder."""
        found = set()
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                with contextlib.suppress(OSError):
                    if os.readlink(f"/proc/{entry}/cwd") == str(self.run.resolve()):
                        found.add(int(entry))
        return found

    def start(self, **changes: Any) -> subprocess.Popen[bytes]:
        """A running guardian whose control actor answers."""
        process = self.popen(str(self.config(**changes)))
        self.ask("status")
        return process

    @property
    def guardian(self) -> subprocess.Popen[bytes]:
        """The last guardian."""
        return self.started[-1]

    def table(self) -> dict[str, Any]:
        """table.json; empty while there is none."""
        try:
            table: dict[str, Any] = json.loads((self.run / "table.json").read_text())
        except FileNotFoundError:
            return {}
        return table

    def control(self) -> int:
        """Pid of the running control actor."""
        pid = self.until(lambda: (self.table().get("control") or {}).get("pid"), "a control actor")
        return int(pid)

    def replaced(self, control: int) -> int:
        """Pid of the control actor that follows ``control``."""
        self.until(lambda: self.control() != control, f"a control actor after {control}")
        return self.control()

    def logged(self, text: str, times: int = 1) -> None:
        """Wait until guardian.log contains ``text``."""
        log = self.log / "guardian.log"
        self.until(lambda: log.exists() and log.read_text().count(text) >= times, f"{text!r} in guardian.log")

    def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        """The answer to a request; a control actor that dies meanwhile is followed by asking the next one again."""
        deadline = time.monotonic() + DEADLINE
        while True:
            assert time.monotonic() < deadline, f"{op}: no answer"
            self._assert_running()
            sock = self._connected()
            self._number += 1
            with contextlib.suppress(ConnectionError):
                sock.send(json.dumps({"op": op, "id": self._number, **fields}).encode())
                while message := self._read(sock, deadline):
                    if message.get("re") == self._number:
                        return message
            self.forsake()

    def tell(self, op: str, **fields: Any) -> None:
        """A request that is not answered, for it may end whoever would pass the answer on."""
        self.forsake()  # whoever passed on the last one may be gone
        self._connected().send(json.dumps({"op": op, **fields}).encode())

    def event(self, name: str) -> dict[str, Any]:
        """The next exit of ``name``."""
        deadline = time.monotonic() + DEADLINE
        while not (found := [event for event in self.events if event["name"] == name]):
            assert self._read(self._connected(), deadline), f"the control actor went before {name} exited"
        self.events.remove(found[0])
        return found[0]

    def spawn(self, name: str, *argv: str, **fields: Any) -> int:
        """The pid of a started payload."""
        # As different from all others on this host as real ones are: whatever has the token of a survivor ends with it.
        token = self.tokens[name] = secrets.token_hex(16)
        answer = self.ask("spawn", name=name, argv=list(argv), token=token, **fields)
        assert "pid" in answer, answer
        return int(answer["pid"])

    def forsake(self) -> None:
        """Drop the connection to the control actor."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def close(self) -> None:
        """End everything that was started, whatever state it is in."""
        self.forsake()
        with contextlib.suppress(OSError):
            (self.run / "stopping").touch()  # nobody starts a successor any more
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.wait(DEADLINE)
            if process.stderr is not None:
                process.stderr.close()
        deadline = time.monotonic() + DEADLINE
        while left := self.everybody():
            assert time.monotonic() < deadline, f"can't be ended: {left}"
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.005)

    def _assert_running(self) -> None:
        assert self.succeeding or self.guardian.poll() is None, self.guardian.communicate()

    def _connected(self) -> socket.socket:
        if self._socket is None:
            self._socket = self.until(self._connect, "a control actor to talk to")
        return self._socket

    def _connect(self) -> socket.socket | None:
        self._assert_running()
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            sock.connect(str(self.run / "relay.sock"))
        except (FileNotFoundError, ConnectionRefusedError):
            sock.close()
            return None
        return sock

    def _read(self, sock: socket.socket, deadline: float) -> dict[str, Any]:
        """The next message, empty at the end; exits are kept in ``events`` as well."""
        assert select.select([sock], [], [], max(0.0, deadline - time.monotonic()))[0], "no answer"
        try:
            packet = sock.recv(1 << 20)
        except ConnectionError:
            return {}
        message: dict[str, Any] = json.loads(packet) if packet else {}
        if message.get("event") == "exit":
            self.events.append(message)
        return message


@pytest.fixture
def side(tmp_path: Path) -> Iterator[Side]:
    """Where guardians of one test run; nothing of them is left afterwards."""
    side = Side(tmp_path)
    yield side
    side.close()
