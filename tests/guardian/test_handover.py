"""The change to a new version: execve with children, sockets and channel kept."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fustor.guardian import handover
from fustor.guardian.handover import State
from fustor.guardian.table import Exit, Slot
from tests.guardian.conftest import DEADLINE, MAIN, RELAY, ROOT
from tests.guardian.test_adoption import LISTEN, Load, all_joined, running, survivor

if TYPE_CHECKING:
    from tests.guardian.conftest import Side

#: How often the guardian changes in the loop.
RENEWALS = int(os.environ.get("FUSTOR_TEST_RENEWALS", "12"))
#: Ends by the signal or with the code that it reads from its name: ``s9.…`` or ``c7.…``.
DYING = [
    sys.executable,
    "-I",
    "-S",
    "-c",
    "import os, sys, time; time.sleep(float(sys.argv[1])); n = os.environ['FUSTOR_NAME']\n"
    "k = int(n[1:].split('.')[0])\n"
    "os.kill(os.getpid(), k) if n[0] == 's' else os._exit(k)",
]


def state(**changes: Any) -> State:
    ended = Slot("b", 11, "tb", 2)
    ended.exit = Exit(3, 0, 4096, 0.5)
    values: dict[str, Any] = {
        "lock": os.open("/", os.O_RDONLY),
        "gate": os.open("/", os.O_RDONLY),
        "listening": {"http": os.open("/", os.O_RDONLY)},
        "survivors": [(12, os.open("/", os.O_RDONLY), 3)],
        "slots": [Slot("a", 10, "ta", 1, ("http",)), ended],
        "control": Slot("control", 13, "tc", 4),
        "channel": os.open("/", os.O_RDONLY),
        "waiting": ['{"event":"exit"}'],
        "policy": [1.0, 2.5, None, 3.5],
        "counters": {"joined": 2},
        "began": 1.5,
        "oom_score": -5,
    }
    return State(**values | changes)


def renewed(side: Side, times: int) -> None:
    """Wait until the guardian has changed ``times`` times."""
    side.until(lambda: side.ask("status")["counters"]["renewals"] >= times, f"{times} changes")


def test_the_state_goes_through_an_execve() -> None:
    before = state()
    told = json.dumps(before.as_json())
    # Becomes a program that takes it over and says what it got; in a child, for it replaces the process.
    code = (
        f"import json, os, sys; sys.path.insert(0, {str(ROOT)!r}); from fustor.guardian import handover\n"
        "state = handover.take(int(sys.argv[2])); print(json.dumps(state.as_json()))\n"
        "print([os.get_inheritable(fd) for fd in state.descriptors()])"
    )
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.dup2(writer, 1)
            handover.execute([sys.executable, "-I", "-S", "-c", code], before)
        finally:
            os._exit(1)
    os.close(writer)
    with open(reader, encoding="ascii") as file:
        lines = file.read().splitlines()
    assert os.waitpid(child, 0)[1] == 0
    assert json.loads(lines[0]) == json.loads(told)
    assert json.loads(lines[1].lower()) == [False] * 5
    for fd in before.descriptors():
        os.close(fd)


def test_without_channel_and_control() -> None:
    one = state(control=None, channel=-1, waiting=[])
    assert one.as_json()["control"] is None
    assert len(one.descriptors()) == 4
    for fd in one.descriptors():
        os.close(fd)


def test_an_execve_that_fails_changes_nothing() -> None:
    one = state()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(FileNotFoundError):
        handover.execute(["/nonexistent"], one)
    assert set(os.listdir("/proc/self/fd")) == before
    assert not any(os.get_inheritable(fd) for fd in one.descriptors())
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == mask
    for fd in one.descriptors():
        os.close(fd)


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"lock": 1}', b"\xff"])
def test_what_is_no_state_is_refused(content: bytes) -> None:
    memory = os.memfd_create("test")
    os.write(memory, content)
    os.lseek(memory, 0, os.SEEK_SET)
    with pytest.raises((ValueError, KeyError, TypeError)):
        handover.take(memory)


def test_a_guardian_is_told_when_there_is_no_state(side: Side) -> None:
    process = side.popen(str(side.config()), handover.OPTION, "77")
    assert process.wait(30) == 1
    assert b"no state of a guardian" in process.communicate()[1]


def test_many_changes_while_payloads_die_under_load(side: Side) -> None:
    """Every status is right, none is lost or told twice; nobody is refused; nobody but the dying ones ends."""
    side.start_successive(listen=LISTEN, slots=10_000)
    guardian = side.guardian.pid
    web = survivor(side, "web", fds=["http"])
    control = side.control()
    rng = random.Random(11)
    expected: dict[str, tuple[int, int]] = {}
    descriptors = len(os.listdir(f"/proc/{guardian}/fd"))
    with Load(side) as load:
        for number in range(RENEWALS):
            for index in range(4):
                kind, value = rng.choice([("c", rng.randrange(100)), ("s", int(signal.SIGKILL)), ("s", 15)])
                name = f"{kind}{value}.{number}.{index}"
                side.spawn(name, *DYING, f"{rng.random() * 0.1:.3f}")
                expected[name] = (value, 0) if kind == "c" else (0, value)
            os.kill(guardian, signal.SIGHUP)
            renewed(side, number + 1)
        side.until(lambda: running(side) == {"web": web}, "the end of all that die")
    assert load.failures == []
    assert set(load.answers) == {b"%d" % web}
    slots = {slot["name"]: slot["exit"] for slot in side.table()["slots"]}
    del slots["web"]
    assert {name: (ended["code"], ended["signal"]) for name, ended in slots.items()} == expected
    assert all(ended["known"] and ended["maxrss"] for ended in slots.values())
    told = [event["name"] for event in side.events]
    assert sorted(told) == sorted(expected)
    assert side.current() == guardian
    assert side.control() == control
    assert side.everybody() == {guardian, control, web}
    counters = side.ask("status")["counters"]
    assert (counters["faults"], counters["control_starts"], counters["payload_starts"]) == (0, 1, 1 + len(expected))
    assert len(os.listdir(f"/proc/{guardian}/fd")) == descriptors


def test_a_storm_of_requests_to_change(side: Side) -> None:
    guardian = side.start_successive()
    a = survivor(side, "a")
    changes = 0
    while changes < 5:
        for _ in range(100):
            os.kill(guardian, signal.SIGHUP)
        changes = side.ask("status")["counters"]["renewals"]
    assert running(side) == {"a": a}
    assert side.current() == guardian
    assert side.ask("status")["counters"]["faults"] == 0


def test_the_control_actor_can_ask_for_it(side: Side) -> None:
    side.start_successive()
    assert side.ask("reexec").keys() == {"re"}
    renewed(side, 1)
    side.logged("changing to the new version")


def test_the_next_guardian_can_be_changed_and_killed_as_well(side: Side) -> None:
    guardian = side.start_successive(listen=LISTEN)
    a = survivor(side, "a", fds=["http"])
    with Load(side) as load:
        for _ in range(3):
            side.kill_guardian()
            guardian = side.successor(guardian)
            all_joined(side, 2)
            os.kill(guardian, signal.SIGHUP)
            renewed(side, 1)
            assert side.current() == guardian
            assert running(side) == {"a": a}
    assert load.failures == []
    # Still held by its pidfd, so its end is seen.
    os.kill(a, signal.SIGKILL)
    assert side.event("a")["pid"] == a


def test_a_new_version_that_would_not_start_is_not_taken(side: Side) -> None:
    guardian = side.start_successive()
    side.config(run=str(side.folder / "nowhere"))
    os.kill(guardian, signal.SIGHUP)
    side.logged("the new version would not start, this one goes on")
    assert "an existing folder is accepted" in (side.log / "guardian.log").read_text()
    assert side.ask("status")["counters"]["renewals"] == 0


def test_a_new_version_that_fails_after_all_is_succeeded(side: Side, tmp_path: Path) -> None:
    """It says that it would start and then does not: the same as a killed guardian."""
    program = tmp_path / "fustor" / "guardian"
    program.parent.mkdir()
    program.mkdir()
    for module in MAIN.parent.glob("*.py"):
        (program / module.name).write_bytes(module.read_bytes())
    (program.parent / "__init__.py").touch()
    main = program / "main.py"
    settings = side.config(
        control=[sys.executable, "-P", str(Path(__file__).with_name("relay.py"))], env={"RELAY_REJOIN": "1"}
    )
    side.started.append(
        subprocess.Popen([sys.executable, "-I", "-S", str(main), str(settings)], stderr=-1, stdin=subprocess.DEVNULL)
    )
    guardian = side.guardian.pid
    a = survivor(side, "a")
    side.succeeding = True
    good = main.read_text()
    main.write_text(good.replace("def main", "if '--state-fd' in sys.argv: sys.exit(3)\n\n\ndef main", 1))
    os.kill(guardian, signal.SIGHUP)
    side.successor(guardian)
    all_joined(side, 2)
    assert running(side) == {"a": a}


def test_a_stop_right_after_a_change_is_not_lost(side: Side) -> None:
    side.start_successive()
    survivor(side, "a")
    side.guardian.send_signal(signal.SIGHUP)
    side.logged("changing to the new version")
    side.guardian.send_signal(signal.SIGTERM)
    assert side.guardian.wait(30) == 0
    assert side.everybody() == set()


def test_a_queued_connection_is_served_after_a_change(side: Side) -> None:
    side.start_successive(listen=LISTEN)
    port = side.table()["listen"]["http"][1]
    with socket.create_connection(("127.0.0.1", port), 30) as client:
        side.guardian.send_signal(signal.SIGHUP)
        renewed(side, 1)
        web = survivor(side, "web", fds=["http"])
        assert client.recv(100) == b"%d" % web


def test_a_listening_socket_that_came_into_the_configuration_is_bound_by_the_next_version(side: Side) -> None:
    guardian = side.start(listen=LISTEN, env={"RELAY_REJOIN": "1"}, control=[sys.executable, "-P", str(RELAY)])
    port = side.table()["listen"]["http"][1]
    side.config(
        listen={**LISTEN, "more": ["127.0.0.1", 0]},
        env={"RELAY_REJOIN": "1"},
        control=[sys.executable, "-P", str(RELAY)],
    )
    guardian.send_signal(signal.SIGHUP)
    renewed(side, 1)
    side.until(lambda: "more" in side.table()["listen"], "the new socket")
    assert side.table()["listen"]["http"][1] == port
    a = survivor(side, "a", fds=["http", "more"])
    assert running(side) == {"a": a}
    with socket.create_connection(("127.0.0.1", side.table()["listen"]["more"][1]), DEADLINE):
        pass
