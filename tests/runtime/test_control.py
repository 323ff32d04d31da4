"""The way in and out of a control actor, as a real process under a real guardian."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAIN = ROOT / "fustor" / "guardian" / "main.py"

CONTROL = """
import logging, os, sys
import trio, zmq
from fustor.runtime.control import run_control, serve
from fustor.runtime.payload import PayloadSpec
from fustor.runtime.shell import Shell
from protocols.errors import ConfigError
from protocols.supervision import Policy

async def main(config, keeper, log):
    if config.get("bad"):
        raise ConfigError("bad", config["bad"], "nothing is accepted")
    context = zmq.Context()
    shell = Shell(context, keeper, log=log, policy=Policy())
    shell.set_desired([PayloadSpec("a.0", (sys.executable, "-P", os.environ["PAYLOAD"]), {})])

    async def failing():
        await trio.sleep(0.05)
        raise ValueError("a service fails")

    async def healthy():
        while True:
            log.info("healthy", extra={"failures": shell.failures.get("failing", 0)})
            await trio.sleep(0.05)

    services = {"failing": failing, "healthy": healthy}
    await serve(keeper, shell, services, log=log, farewell=lambda: log.info("farewell"))
    context.term()

run_control(main)
"""

PAYLOAD = """
from fustor.runtime.actor import run_actor

def build(config):
    async def run(host):
        host.ready()
        await host.stop_requested.wait()
    return run

run_actor("test", build)
"""


class Side:
    def __init__(self, folder: Path, config: dict[str, Any], **changes: object) -> None:
        self.folder = folder
        (folder / "run").mkdir(mode=0o700)
        (folder / "control.py").write_text(CONTROL)
        (folder / "payload.py").write_text(PAYLOAD)
        (folder / "config.json").write_text(json.dumps(config))
        guardian = {
            "run": str(folder / "run"),
            "log": str(folder / "log"),
            "control": [sys.executable, "-P", str(folder / "control.py")],
            "env": {"FUSTOR_CONFIG": str(folder / "config.json"), "PAYLOAD": str(folder / "payload.py")},
            # However slow the machine is, nobody is given up.
            "rejoin_timeout": 1000,
            "adopt_timeout": 1000,
            **changes,
        }
        (folder / "guardian.json").write_text(json.dumps(guardian))
        self.process = subprocess.Popen([sys.executable, "-I", "-S", str(MAIN), str(folder / "guardian.json")])

    def log(self, name: str = "control") -> str:
        path = self.folder / "log" / f"{name}.log"
        return path.read_text() if path.exists() else ""

    def logged(self, name: str, text: str, times: int) -> None:
        """Wait until the log of ``name`` contains ``text`` so often."""
        until(lambda: self.log(name).count(text) >= times, f"{times} × {text!r} in {name}.log")

    def table(self) -> dict[str, Any]:
        path = self.folder / "run" / "table.json"
        content: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        return content

    def pids(self) -> tuple[int, int]:
        """Of the control actor and of the payload that run."""

        def found() -> tuple[int, int] | None:
            table = self.table()
            running = [slot["pid"] for slot in table.get("slots", []) if slot["exit"] is None]
            return (table["control"]["pid"], running[0]) if running and table["control"] else None

        pids: tuple[int, int] = until(found, "both to run")
        return pids

    def guardian(self) -> int:
        """Pid of the guardian that runs; 0: none."""
        try:
            pid = int((self.folder / "run" / "guardian.pid").read_text())
        except (FileNotFoundError, ValueError):
            return 0
        return pid if alive(pid) else 0

    def kill_guardian(self) -> None:
        os.kill(until(self.guardian, "a guardian"), signal.SIGKILL)

    def kill(self) -> None:
        """Stop all, whoever is the guardian by now."""
        run = self.folder / "run"
        (run / "stopping").touch()
        while pid := self.guardian():
            os.kill(pid, signal.SIGTERM)
            until(lambda: not alive(pid), "the end of the guardian")
        until(lambda: not any(cwd(entry) == str(run) for entry in os.listdir("/proc")), "the end of all")
        self.process.wait(60)


def cwd(process: str) -> str:
    """Working directory of a process; empty when it has none."""
    try:
        return os.readlink(f"/proc/{process}/cwd") if process.isdigit() else ""
    except OSError:
        return ""


def until(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + 60
    while not (value := condition()):
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.01)
    return value


@pytest.fixture
def side(tmp_path: Path) -> Iterator[Side]:
    one = Side(tmp_path, {})
    yield one
    one.kill()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_failing_service_hurts_neither_the_others_nor_the_payloads(side: Side) -> None:
    until(lambda: "healthy failures=3" in side.log(), "several failures, seen by a healthy service")
    assert "ValueError: a service fails" in side.log()
    until(lambda: "was=configuring is=running" in side.log(), "the payload")
    assert side.log("guardian").count("control actor started") == 1


def test_sigterm_stops_the_payloads_then_says_farewell(side: Side) -> None:
    until(lambda: "was=configuring is=running" in side.log(), "the payload")
    side.process.terminate()
    assert side.process.wait(60) == 0
    log = side.log()
    assert 0 < log.index("stopping") < log.index("was=draining is=stopped") < log.index("farewell")


def test_a_killed_guardian_is_succeeded_and_nothing_else_changes(side: Side) -> None:
    until(lambda: "was=configuring is=running" in side.log(), "the payload")
    pids = side.pids()
    for generation in range(1, 4):
        side.kill_guardian()
        side.logged("guardian", "joined name=control", generation)
        side.logged("guardian", "joined name=a.0", generation)
        assert side.pids() == pids
    # What it supervises goes on: a payload that dies is started again, by the successor.
    os.kill(pids[1], signal.SIGKILL)
    until(lambda: side.log().count("was=configuring is=running") == 2, "the payload once more")
    assert side.pids()[0] == pids[0]
    assert side.log("guardian").count("control actor started") == 1


def test_payloads_that_die_with_the_guardian_are_started_again(side: Side) -> None:
    """No news of that exit comes: the table of the successor tells."""
    until(lambda: "was=configuring is=running" in side.log(), "the payload")
    control, payload = side.pids()
    os.kill(payload, signal.SIGSTOP)
    side.kill_guardian()
    os.kill(payload, signal.SIGKILL)
    until(lambda: side.log().count("was=configuring is=running") == 2, "the payload once more")
    assert side.pids()[0] == control


def test_without_a_successor_all_end(tmp_path: Path) -> None:
    side = Side(tmp_path, {}, successor="supervisor", rejoin_timeout=0.1)
    until(lambda: "was=configuring is=running" in side.log(), "the payload")
    pids = side.pids()
    side.kill_guardian()
    until(lambda: not any(map(alive, pids)), "the end of both")
    side.kill()


def test_a_spawn_that_a_guardian_does_not_survive_is_done_once(side: Side) -> None:
    """The guardian is killed right after it was asked: whatever it had done, there is one payload in the end."""
    until(lambda: "was=configuring is=running" in side.log(), "the payload")
    for again in range(2, 4):
        os.kill(side.pids()[1], signal.SIGKILL)
        side.kill_guardian()
        side.logged("control", "was=configuring is=running", again)
    found = [entry for entry in os.listdir("/proc") if entry.isdigit() and cwd(entry) == str(side.folder / "run")]
    assert len(found) == 3


def test_a_bad_configuration_is_said_and_tried_again(tmp_path: Path) -> None:
    side = Side(tmp_path, {"bad": 5})
    try:
        until(lambda: side.log().count("bad = 5: nothing is accepted") >= 2, "two tries")
        assert "Traceback" not in side.log()
        assert "code=2" in side.log("guardian")
    finally:
        side.kill()


def test_without_a_guardian_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "control.py").write_text(CONTROL)
    (tmp_path / "config.json").write_text("{}")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("FUSTOR_")}
    done = subprocess.run(
        [sys.executable, "-P", str(tmp_path / "control.py")],
        env={**environment, "FUSTOR_CONFIG": str(tmp_path / "config.json")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "a guardian has to start this" in done.stderr
