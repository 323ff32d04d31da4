"""A real guardian, its template, and what is forked of it: as if it had been executed, or executed after all."""

from __future__ import annotations

import json
import os
import secrets
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.guardian.conftest import Side

ROOT = Path(__file__).resolve().parents[2]
#: Says what it is in a file, and ends when it is told to.
MODULE = """
import json, os, resource, signal, sys

imported_by = os.getpid()

def start():
    facts = {
        "pid": os.getpid(), "parent": os.getppid(), "session": os.getsid(0), "forked": imported_by != os.getpid(),
        "argv": sys.argv, "orig_argv": sys.orig_argv, "environment": dict(os.environ), "cwd": os.getcwd(),
        "data": resource.getrlimit(resource.RLIMIT_DATA)[0], "blocked": len(signal.pthread_sigmask(0, [])),
        "oom_score": open("/proc/self/oom_score_adj").read().strip(),
        "fds": {fd: os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")
                if os.path.exists(f"/proc/self/fd/{fd}") and "/proc/" not in os.readlink(f"/proc/self/fd/{fd}")},
    }
    print("its log", flush=True)
    with open(f"facts.{os.environ['FUSTOR_NAME']}.new", "w") as file:
        json.dump(facts, file)
    os.rename(file.name, file.name[:-4])
    signal.pause()

if __name__ == "__main__":
    start()
"""
COMMAND = [sys.executable, "-P", "-m", "forked"]


@pytest.fixture
def templated(side: Side, monkeypatch: pytest.MonkeyPatch) -> Side:
    package = side.folder / "programs" / "forked"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(MODULE)
    monkeypatch.setenv("PYTHONPATH", f"{package.parent}{os.pathsep}{ROOT}")
    side.start(template=["forked"], listen={"http": ["127.0.0.1", 0]})
    return side


def ready(side: Side) -> int:
    """Wait until something can be forked; the pid of the template."""
    while True:
        before = forks(side)
        side.spawn(f"try.{secrets.token_hex(8)}", *COMMAND)
        if forks(side) > before:
            return template(side)


def forks(side: Side) -> int:
    return int(side.ask("status")["counters"]["forks"])


def template(side: Side) -> int:
    return int(side.until(lambda: (side.table().get("template") or {}).get("pid"), "a template"))


def facts(side: Side, name: str) -> dict[str, Any]:
    path = side.run / f"facts.{name}"
    side.until(path.exists, f"{name} to say what it is")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_what_is_forked_is_as_if_it_had_been_executed(templated: Side) -> None:
    ready(templated)
    fields: dict[str, Any] = {"fds": ["http"], "data_bytes": 1 << 30, "env": {"MORE": "x" * 1000}}
    forked = templated.spawn("forked", *COMMAND, **fields)
    executed = templated.spawn("executed", *COMMAND, **{**fields, "env": {"MORE": "x" * 1000, "PYTHONUTF8": "1"}})
    one, other = facts(templated, "forked"), facts(templated, "executed")
    assert (one["pid"], one["forked"]) == (forked, True)
    assert (other["pid"], other["forked"]) == (executed, False)
    for which in (one, other):
        assert which["parent"] == templated.guardian.pid
        assert which["session"] == which["pid"]
        own = which["environment"]
        assert own.pop("FUSTOR_NAME") in ("forked", "executed")
        assert own.pop("FUSTOR_TOKEN") in templated.tokens.values()
        assert list(json.loads(own["FUSTOR_FDS"])) == ["http"]
        # Where the listening socket comes from is the same; the rest are stdin and the log.
        number = str(json.loads(own["FUSTOR_FDS"])["http"])
        assert which["fds"][number].startswith("socket:")
        assert {fd for fd in which["fds"] if int(fd) > 2} == {number}
        assert which["fds"]["0"] == os.devnull
        assert which["fds"]["1"] == which["fds"]["2"]
        for key in ("PYTHONUTF8", "LC_CTYPE"):
            own.pop(key, None)
        for key in ("pid", "session", "forked", "fds"):
            del which[key]
    assert one == other
    for name, pid in (("forked", forked), ("executed", executed)):
        process = Path("/proc", str(pid))
        assert process.joinpath("cmdline").read_bytes().rstrip(b"\0") == "\0".join(COMMAND).encode()
        shown = process.joinpath("environ").read_bytes().split(b"\0")
        assert f"FUSTOR_NAME={name}".encode() in shown
        assert f"FUSTOR_TOKEN={templated.tokens[name]}".encode() in shown
        assert b"MORE=" + b"x" * 1000 in shown
        assert not any(variable.startswith((b"FUSTOR_ROOM", b"FUSTOR_MODULES")) for variable in shown)
        assert (templated.log / f"{name}.log").read_text() == "its log\n"
    templated.ask("kill", name="forked", signal=signal.SIGKILL)
    assert templated.event("forked")["signal"] == signal.SIGKILL


@pytest.mark.parametrize(
    "fields", [{"env": {"PYTHONHASHSEED": "1"}}, {"env": {"HUGE": "x" * 60_000}}], ids=["interpreter", "environment"]
)
def test_what_cannot_be_forked_is_executed(templated: Side, fields: dict[str, Any]) -> None:
    pid = ready(templated)
    count = forks(templated)
    templated.spawn("it", *COMMAND, **fields)
    assert facts(templated, "it")["forked"] is False
    assert (template(templated), forks(templated)) == (pid, count + 1)


def test_what_was_changed_on_disk_is_executed_and_then_forked(templated: Side) -> None:
    pid = ready(templated)
    path = templated.folder / "programs" / "forked" / "__main__.py"
    path.write_text(path.read_text().replace('"pid"', '"new": 1, "pid"'))
    templated.spawn("it", *COMMAND)
    said = facts(templated, "it")
    assert (said["forked"], said["new"]) == (False, 1)
    templated.until(lambda: template(templated) != pid, "another template")
    ready(templated)
    templated.spawn("another", *COMMAND)
    said = facts(templated, "another")
    assert (said["forked"], said["new"]) == (True, 1)


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV], ids=["killed", "stopped", "crashed"]
)
def test_a_template_that_is_lost_costs_nobody_anything(templated: Side, number: signal.Signals) -> None:
    pid = ready(templated)
    control = templated.control()
    os.kill(pid, number)
    templated.spawn("it", *COMMAND)
    assert facts(templated, "it")["pid"] in templated.everybody()
    templated.until(lambda: not templated.is_alive(pid), "the end of it")
    templated.until(lambda: template(templated) != pid, "another template")
    assert templated.control() == control
    assert templated.ask("status")["counters"]["faults"] == 0


def test_one_that_cannot_import_leaves_it_to_exec(side: Side) -> None:
    side.start(template=["there.is.no.such.module"])
    for number in range(3):
        os.kill(side.control(), signal.SIGKILL)
        side.spawn(f"it.{number}", sys.executable, "-c", "import time; time.sleep(1000)")
    assert forks(side) == 0


def test_it_ends_with_its_guardian(templated: Side) -> None:
    pid = ready(templated)
    templated.guardian.send_signal(signal.SIGTERM)
    assert templated.guardian.wait(30) == 0
    assert not templated.is_alive(pid)
    assert templated.everybody() == set()


@pytest.mark.parametrize("stopped", [False, True], ids=["running", "stopped"])
def test_it_ends_when_its_guardian_is_killed(templated: Side, stopped: bool) -> None:
    pid = ready(templated)
    if stopped:
        os.kill(pid, signal.SIGSTOP)
    templated.kill_guardian()
    if stopped:
        templated.forsake()
        templated.popen(str(templated.config(adopt_timeout=0)))
    templated.until(lambda: not templated.is_alive(pid), "the end of it")
