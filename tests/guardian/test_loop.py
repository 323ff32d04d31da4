"""The loop with real processes, sockets and signals."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.guardian.conftest import Side

PYTHON = [sys.executable, "-I", "-S", "-c"]
SLEEP = [*PYTHON, "import time; time.sleep(1000)"]
#: Accepts connections on the inherited socket and answers with its pid.
SERVE = [
    *PYTHON,
    """
import json, os, select, socket
server = socket.socket(fileno=json.loads(os.environ["FUSTOR_FDS"])["http"])
while select.select([server], [], []):
    try:
        client = server.accept()[0]
    except BlockingIOError:
        continue
    client.send(b"%d" % os.getpid())
    client.close()
""",
]


def listed(side: Side) -> dict[str, dict[str, Any]]:
    return {slot["name"]: slot for slot in side.ask("list")["slots"]}


def test_payloads_survive_fifty_kills_of_the_control_actor(side: Side) -> None:
    side.start()
    pids = {name: side.spawn(name, *SLEEP) for name in ("a", "b", "c")}
    controls = set()
    for _ in range(50):
        control = side.control()
        controls.add(control)
        os.kill(control, signal.SIGKILL)
        side.replaced(control)
        assert {name: slot["pid"] for name, slot in listed(side).items()} == pids
    assert len(controls) == 50
    assert all(side.is_alive(pid) for pid in pids.values())
    counters = side.ask("status")["counters"]
    assert counters["control_starts"] == 51
    assert counters["payload_starts"] == 3
    assert counters["faults"] == 0


def test_a_frozen_control_actor_is_replaced(side: Side) -> None:
    side.start(beat_timeout=0.5, env={"RELAY_BEAT": "0.05"})
    payload = side.spawn("a", *SLEEP)
    frozen = side.control()
    os.kill(frozen, signal.SIGSTOP)
    side.replaced(frozen)
    assert not side.is_alive(frozen)
    assert listed(side)["a"]["pid"] == payload
    assert side.ask("status")["counters"]["control_kills"] == 1


def test_a_control_actor_that_never_beats_is_replaced(side: Side) -> None:
    side.start(beat_timeout=0.5, start_timeout=0.5)
    side.logged("control actor is silent: killed")


def test_a_control_actor_that_closes_its_channel_is_replaced(side: Side) -> None:
    code = "import json, os, time; os.close(json.loads(os.environ['FUSTOR_FDS'])['keeper']); time.sleep(1000)"
    side.popen(str(side.config(control=[*PYTHON, code])))
    side.replaced(side.control())


def test_a_control_actor_that_cannot_be_executed_is_tried_again(side: Side) -> None:
    program = side.folder / "control"
    side.popen(str(side.config(control=[str(program)], restart_delay=0.02, restart_delay_max=0.02)))
    side.logged("No such file", times=3)
    temporary = side.folder / "control.new"
    relay = Path(__file__).with_name("relay.py")
    temporary.write_text(f"#!/bin/sh\nexec {sys.executable} -I -S {relay}\n")
    temporary.chmod(0o700)
    temporary.rename(program)
    assert side.ask("status")["counters"]["control_starts"] > 0


def test_exec_failures_tell_the_errno_and_leave_no_slot(side: Side) -> None:
    side.start()
    missing = side.ask("spawn", name="a", argv=["/nonexistent"], token="t")["error"]
    assert (missing["field"], missing["errno"]) == ("argv[0]", errno.ENOENT)
    folder = side.ask("spawn", name="a", argv=["/"], token="t")["error"]
    assert folder["errno"] == errno.EACCES
    text = side.folder / "text"
    text.write_text("no program")
    text.chmod(0o700)
    assert side.ask("spawn", name="a", argv=[str(text)], token="t")["error"]["errno"] == errno.ENOEXEC
    assert listed(side) == {}
    assert side.spawn("a", *SLEEP) > 0


def test_a_name_runs_once(side: Side) -> None:
    side.start()
    pid = side.spawn("a", *SLEEP)
    refused = side.ask("spawn", name="a", argv=SLEEP, token="other")["error"]
    assert refused["field"] == "name"
    assert str(pid) in refused["accepted"]
    assert listed(side)["a"]["token"] == side.tokens["a"]
    assert side.ask("status")["counters"]["payload_starts"] == 1


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        ({"op": "explode"}, "op"),
        ({"op": "kill", "name": "nobody", "signal": 9}, "name"),
        ({"op": "kill", "name": "a", "signal": 0}, "signal"),
        ({"op": "kill", "name": "a", "signal": "TERM"}, "signal"),
        ({"op": "forget", "name": "a"}, "name"),
        ({"op": "spawn", "name": "b", "argv": SLEEP, "token": "t", "fds": ["https"]}, "fds"),
        ({"op": "spawn", "name": "../b", "argv": SLEEP, "token": "t"}, "name"),
        ({"op": "spawn", "name": "b", "argv": ["sleep"], "token": "t"}, "argv[0]"),
    ],
)
def test_refused_requests_name_the_field_and_change_nothing(side: Side, request_: dict[str, Any], field: str) -> None:
    side.start()
    pid = side.spawn("a", *SLEEP)
    assert side.ask(**request_)["error"]["field"] == field
    assert [slot["pid"] for slot in listed(side).values()] == [pid]
    assert side.is_alive(pid)


def test_noise_on_the_channel_stops_nothing(side: Side) -> None:
    side.start()
    connection = side._connected()
    for noise in (b"\xff\x00", b"[]", b"[" * 60000, b'{"op":{}}', b'{"id":1}', b"x" * 100_000, b'{"op":"spawn"}'):
        connection.send(noise)
    counters = side.ask("status")["counters"]
    assert counters["refused"] == 7
    assert counters["faults"] == 0


def test_exits_are_told_and_kept_until_forgotten(side: Side) -> None:
    side.start()
    pid = side.spawn("code", *PYTHON, "import sys; sys.exit(7)")
    event = side.event("code")
    assert (event["pid"], event["token"], event["code"], event["signal"]) == (pid, side.tokens["code"], 7, 0)
    assert event["maxrss"] > 1 << 20
    assert event["cpu"] > 0
    side.spawn("signal", *SLEEP)
    assert side.ask("kill", name="signal", signal=9).keys() == {"re"}
    assert side.event("signal")["signal"] == 9
    assert "error" in side.ask("kill", name="signal", signal=9)
    assert {name: slot["exit"]["code"] for name, slot in listed(side).items()} == {"code": 7, "signal": 0}
    assert "error" not in side.ask("forget", name="code")
    assert listed(side).keys() == {"signal"}
    assert side.spawn("signal", *SLEEP) > 0
    assert listed(side)["signal"]["exit"] is None


def test_exits_while_control_is_away_are_in_the_table(side: Side) -> None:
    side.start()
    pid = side.spawn("a", *SLEEP)
    control = side.control()
    os.kill(control, signal.SIGSTOP)
    os.kill(pid, signal.SIGKILL)
    side.until(lambda: side.table()["slots"][0]["exit"], "the exit")
    os.kill(control, signal.SIGKILL)
    assert listed(side)["a"]["exit"]["signal"] == 9


def test_a_control_actor_that_does_not_read_gets_everything_later(side: Side) -> None:
    side.start()
    # More exits than the kernel queues for a reader that is frozen (about 170 packets).
    pids = {f"p{index}": side.spawn(f"p{index}", "/bin/sleep", "1000") for index in range(250)}
    control = side.control()
    os.kill(control, signal.SIGSTOP)
    for pid in pids.values():
        os.kill(pid, signal.SIGKILL)
    side.until(lambda: all(slot["exit"] for slot in side.table()["slots"]), "all exits in the table")
    os.kill(control, signal.SIGCONT)
    assert {side.event(name)["pid"] for name in pids} == set(pids.values())
    assert side.control() == control


def test_long_tables_are_told_in_parts(side: Side) -> None:
    side.start()
    for index in range(101):
        side.spawn(f"p{index}", "/bin/true")
    for index in range(101):
        side.event(f"p{index}")
    first = side.ask("list")
    assert (len(first["slots"]), first["more"]) == (100, True)
    second = side._read(side._connected(), time.monotonic() + 30)
    assert second["re"] == first["re"]
    assert (len(second["slots"]), "more" in second) == (1, False)


def test_the_table_is_bounded(side: Side) -> None:
    side.start(slots=1)
    side.spawn("a", *SLEEP)
    assert "slots" in side.ask("spawn", name="b", argv=SLEEP, token="t")["error"]["accepted"]


def test_what_a_payload_is_given(side: Side) -> None:
    side.start(env={"FROM_CONFIG": "1", "BOTH": "config"}, listen={"http": ["127.0.0.1", 0], "other": ["127.0.0.1", 0]})
    code = """
import json, os, resource, signal
signals = {line.split(":")[0]: line.split()[1] for line in open("/proc/self/status") if line.startswith("Sig")}
print(json.dumps({
    "env": dict(os.environ), "cwd": os.getcwd(), "session": os.getsid(0) == os.getpid(), "signals": signals,
    "oom": open("/proc/self/oom_score_adj").read().strip(), "data": resource.getrlimit(resource.RLIMIT_DATA),
    "fds": sorted(os.listdir("/proc/self/fd"), key=int), "parent": os.getppid(),
}))
"""
    env = {"BOTH": "request", "MINE": "ä"}
    argv = [sys.executable, "-S", "-X", "utf8", "-c", code]
    side.spawn("payload.0", *argv, env=env, fds=["http"], data_bytes=1 << 28)
    assert side.event("payload.0")["code"] == 0
    told = json.loads((side.log / "payload.0.log").read_text())
    assert told["cwd"] == str(side.run)
    assert told["session"]
    assert told["parent"] == side.guardian.pid
    # The hard limit stays: a successor started by a payload has to get its own back.
    assert told["data"] == [1 << 28, resource.getrlimit(resource.RLIMIT_DATA)[1]]
    assert told["oom"] == "500"
    # Python itself ignores SIGPIPE (13) and SIGXFSZ (25) and catches SIGINT; nothing is blocked.
    assert int(told["signals"]["SigIgn"], 16) == 1 << 12 | 1 << 24
    assert int(told["signals"]["SigBlk"], 16) == 0
    given = told["env"]
    assert (given["FROM_CONFIG"], given["BOTH"], given["MINE"]) == ("1", "request", "ä")
    assert (given["FUSTOR_NAME"], given["FUSTOR_TOKEN"]) == ("payload.0", side.tokens["payload.0"])
    assert given["FUSTOR_GUARDIAN_PID"] == str(side.guardian.pid)
    fds = json.loads(given["FUSTOR_FDS"])
    assert fds.keys() == {"http"}
    # 0, 1, 2, the socket, and the one that lists the folder.
    assert len(told["fds"]) == 5
    assert str(fds["http"]) in told["fds"]


def test_grandchildren_end_with_their_payload(side: Side) -> None:
    side.start()
    # One in its process group, one that left for a session of its own, and one orphaned before the payload dies.
    code = """
import os, subprocess, sys, time
sleep = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(1000)"]
inner = f"import subprocess; print(subprocess.Popen({sleep!r}, start_new_session=True).pid, flush=True)"
pids = [subprocess.Popen(sleep).pid, subprocess.Popen(sleep, start_new_session=True).pid]
print(*pids, flush=True)
subprocess.run([sys.executable, "-I", "-c", inner])
print("ready", flush=True)
time.sleep(1000)
"""
    side.spawn("parent", sys.executable, "-I", "-c", code)
    other = side.spawn("other", *SLEEP)
    log = side.log / "parent.log"
    side.until(lambda: log.exists() and "ready" in log.read_text(), "grandchildren")
    grandchildren = [int(pid) for pid in log.read_text().split()[:-1]]
    assert len(grandchildren) == 3
    assert all(side.is_alive(pid) for pid in grandchildren)
    side.ask("kill", name="parent", signal=9)
    side.until(lambda: not any(side.is_alive(pid) for pid in grandchildren), "the end of the grandchildren")
    assert side.is_alive(other)
    side.until(lambda: side.ask("status")["counters"]["orphans"] == 3, "all reaped")


def test_nobody_is_refused_while_payloads_are_killed(side: Side) -> None:
    side.start(listen={"http": ["127.0.0.1", 0]})
    address = tuple(side.table()["listen"]["http"])
    answered = set()
    for _ in range(5):
        pid = side.spawn("web", *SERVE, fds=["http"])
        with socket.create_connection(address) as client:
            assert int(client.recv(100)) == pid
        answered.add(pid)
        side.ask("kill", name="web", signal=9)
        side.event("web")
        # Nobody accepts now, and still the connection is taken.
        with socket.create_connection(address) as waiting:
            replacement = side.spawn("web", *SERVE, fds=["http"])
            assert int(waiting.recv(100)) == replacement
        side.ask("kill", name="web", signal=9)
        side.event("web")
    assert len(answered) == 5


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_stop_leaves_no_process_and_no_file(side: Side, number: int) -> None:
    guardian = side.start(listen={"http": ["127.0.0.1", 0]})
    deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(1000)"
    pids = [side.control(), side.spawn("polite", *SLEEP), side.spawn("deaf", *PYTHON, deaf)]
    side.until(lambda: "deaf" in (side.log / "deaf.log").read_text(), "deafness")
    guardian.send_signal(number)
    guardian.send_signal(number)
    assert guardian.wait(30) == 0
    assert not any(side.is_alive(pid) for pid in pids)
    assert (side.folder / "drained").exists()
    # The lock's file stays on purpose.
    assert os.listdir(side.run) == ["guardian.lock"]
    log = (side.log / "guardian.log").read_text()
    assert "payload=polite" in log
    assert "signal=15" in log
    assert log.count("stopping payloads") == 1


def test_the_stop_ends_a_frozen_control_actor_and_orphans(side: Side) -> None:
    guardian = side.start(grace=0.2)
    code = f"import subprocess; print(subprocess.Popen({SLEEP!r}, start_new_session=True, env={{}}).pid)"
    side.spawn("parent", sys.executable, "-I", "-c", code)
    assert side.event("parent")["code"] == 0
    orphan = int((side.log / "parent.log").read_text())
    # Without a token in its environment nobody can say whose it is.
    assert side.is_alive(orphan)
    control = side.control()
    os.kill(control, signal.SIGSTOP)
    guardian.terminate()
    assert guardian.wait(30) == 0
    assert not side.is_alive(orphan)
    assert not side.is_alive(control)


def test_nothing_is_spawned_while_stopping(side: Side) -> None:
    relay = Path(__file__).with_name("relay.py").read_text().replace("sys.exit(0)", "return")
    side.start(control=[*PYTHON, relay], grace=1)
    side.guardian.terminate()
    side.until(lambda: (side.folder / "drained").exists(), "draining")
    assert "stopping" in side.ask("spawn", name="late", argv=SLEEP, token="t")["error"]["accepted"]
    assert side.guardian.wait(30) == 0


def test_other_signals_are_noted_and_ignored(side: Side) -> None:
    guardian = side.start()
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        guardian.send_signal(number)
        side.logged(f"{number.name} ignored")
    assert side.ask("status")["counters"]["control_starts"] == 1


def test_a_broken_log_folder_stops_nobody(side: Side) -> None:
    side.log.write_text("a file where the folder should be")
    side.start()
    side.spawn("a", *PYTHON, "print('lost')")
    assert side.event("a")["code"] == 0
    assert side.ask("status")["counters"]["log_failures"] > 0


def test_a_run_folder_without_room_for_the_table_stops_nobody(side: Side) -> None:
    side.start()
    (side.run / "table.json.tmp").mkdir()
    pid = side.spawn("a", *SLEEP)
    assert listed(side)["a"]["pid"] == pid
    assert side.ask("status")["counters"]["table_failures"] > 0


def test_idle_means_asleep(side: Side) -> None:
    guardian = side.start()
    side.spawn("a", *SLEEP)
    status = Path(f"/proc/{guardian.pid}/status")

    def switches() -> list[str]:
        return [line for line in status.read_text().splitlines() if "ctxt_switches" in line]

    def slept() -> bool:
        """For a whole second; what it had to do just before may take a moment."""
        before = switches()
        time.sleep(1.0)
        return switches() == before

    side.until(slept, "a second without waking up")
    resident = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
    assert int(resident.split()[1]) <= 16 * 1024


def test_a_table_that_could_not_be_written_is_written_later(side: Side) -> None:
    side.start()
    side.spawn("a", *SLEEP)
    file = side.run / "table.json"
    # Nothing can be renamed over a directory that is not empty.
    file.unlink()
    (file / "in the way").mkdir(parents=True)
    pid = side.spawn("b", *SLEEP)
    side.until(lambda: side.ask("status")["counters"]["table_failures"], "a failure to be counted")
    (file / "in the way").rmdir()
    file.rmdir()
    side.ask("beat")
    side.until(lambda: file.is_file() and str(pid) in file.read_text(), "the table to be written")
    assert side.ask("status")["counters"]["faults"] == 0
