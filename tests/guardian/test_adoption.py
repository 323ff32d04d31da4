"""The death of a guardian, and what its successor takes over: real processes, killed for real."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.guardian.conftest import DEADLINE, SURVIVOR

if TYPE_CHECKING:
    from tests.guardian.conftest import Side

#: How often the guardian is killed in loops.
KILLS = int(os.environ.get("FUSTOR_TEST_KILLS", "8"))
LISTEN = {"http": ["127.0.0.1", 0]}


class Load:
    """Connects again and again, as a context manager; every connection has to be answered."""

    def __init__(self, side: Side) -> None:
        self._address = ("127.0.0.1", int(side.table()["listen"]["http"][1]))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.answers: list[bytes] = []
        self.failures: list[str] = []

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.001):
            try:
                with socket.create_connection(self._address, DEADLINE) as client:
                    answer = client.recv(100)
            except OSError as error:
                self.failures.append(repr(error))
            else:
                self.answers.append(answer)


def survivor(side: Side, name: str, **fields: Any) -> int:
    """A payload that outlives its guardian, ready."""
    pid = side.spawn(name, *SURVIVOR, **fields)
    side.until(lambda: (side.run / f"ready.{pid}").exists(), f"{name} to watch its guardian")
    return pid


def running(side: Side) -> dict[str, int]:
    return {slot["name"]: slot["pid"] for slot in side.ask("list")["slots"] if slot["exit"] is None}


def all_joined(side: Side, count: int) -> None:
    """Wait until the successor has ``count`` processes of before, all of them joined."""

    def told() -> bool:
        counters = side.ask("status")["counters"]
        return bool(counters["joined"] == counters["survivors"] == count)

    side.until(told, f"{count} to join")


def test_nothing_changes_for_payloads_and_clients_when_the_guardian_is_killed_again_and_again(side: Side) -> None:
    guardian = side.start_successive(listen=LISTEN)
    pids = {name: survivor(side, name, fds=fds) for name, fds in (("a", ["http"]), ("b", ["http"]), ("c", []))}
    control = side.control()
    guardians = {guardian}
    with Load(side) as load:
        for _ in range(KILLS):
            side.kill_guardian()
            guardian = side.successor(guardian)
            guardians.add(guardian)
            all_joined(side, 4)
            assert running(side) == pids
            assert side.control() == control
    assert load.failures == []
    assert set(load.answers) <= {b"%d" % pids["a"], b"%d" % pids["b"]}
    assert len(guardians) == KILLS + 1
    side.until(lambda: side.everybody() == {guardian, control, *pids.values()}, "nobody else to be there")
    counters = side.ask("status")["counters"]
    assert (counters["faults"], counters["payload_starts"], counters["control_starts"]) == (0, 0, 0)


def test_a_socket_of_the_control_actor_is_the_same_in_every_guardian(side: Side) -> None:
    """Who connects waits in its queue, also while neither a guardian nor a control actor is there to accept."""
    guardian = side.start_successive(listen={"admin": ["127.0.0.1", 0]}, control_fds=["admin"])
    control, address = side.control(), side.table()["listen"]["admin"]
    given = dict(one.split(b"=", 1) for one in Path(f"/proc/{control}/environ").read_bytes().split(b"\0") if one)
    assert sorted(json.loads(given[b"FUSTOR_FDS"])) == ["admin", "keeper"]
    with socket.create_connection(address, DEADLINE) as client:
        side.kill_guardian()
        side.successor(guardian)
        all_joined(side, 1)
        os.kill(control, signal.SIGKILL)
        side.forsake()
        side.replaced(control)
        assert side.table()["listen"]["admin"] == address
        client.send(b"waits")  # a queue that was closed would have reset it
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.recv(1)


def test_guardians_killed_while_their_successors_begin(side: Side) -> None:
    """Whenever the kill comes, there is one guardian in the end, and nobody twice."""
    side.start_successive(listen=LISTEN)
    pids = {name: survivor(side, name, fds=["http"]) for name in ("a", "b")}
    control = side.control()
    with Load(side) as load:
        for _ in range(KILLS):
            # At once when it has written its pid: before the gate, before anybody has joined, or after.
            side.kill_guardian()
        side.until(side.current, "a guardian")
        all_joined(side, 3)
    assert load.failures == []
    assert running(side) == pids
    side.until(lambda: side.everybody() == {side.current(), control, *pids.values()}, "nobody else to be there")


def test_the_control_actor_killed_with_it_is_started_anew(side: Side) -> None:
    guardian = side.start_successive(listen=LISTEN)
    pids = {name: survivor(side, name, fds=["http"]) for name in ("a", "b")}
    control = side.control()
    with Load(side) as load:
        os.kill(control, signal.SIGKILL)
        side.kill_guardian()
        side.forsake()
        side.successor(guardian)
        side.replaced(control)
        all_joined(side, 2)
    assert load.failures == []
    assert running(side) == pids
    side.until(lambda: side.everybody() == {side.current(), side.control(), *pids.values()}, "nobody else to be there")


def test_a_payload_killed_with_it_is_told(side: Side) -> None:
    guardian = side.start_successive(listen=LISTEN)
    a, b = survivor(side, "a", fds=["http"]), survivor(side, "b", fds=["http"])
    os.kill(a, signal.SIGSTOP)  # so that it can't be reaped before its guardian is gone
    side.kill_guardian()
    os.kill(a, signal.SIGKILL)
    side.successor(guardian)
    side.until(lambda: running(side) == {"b": b}, "the death of a to be seen")
    ended = {slot["name"]: slot["exit"] for slot in side.ask("list")["slots"]}["a"]
    assert not ended["known"] or ended["signal"] == signal.SIGKILL
    assert survivor(side, "a", fds=["http"]) != a


def test_all_killed_at_once_leave_room_for_a_new_start(side: Side) -> None:
    side.start_successive(listen=LISTEN)
    survivor(side, "a", fds=["http"])
    for pid in side.everybody():
        os.kill(pid, signal.SIGSTOP)  # nobody may act between two kills
    for pid in side.everybody():
        os.kill(pid, signal.SIGKILL)
    side.guardian.wait(DEADLINE)
    side.until(lambda: not side.everybody(), "the end of all")
    side.forsake()
    side.start_successive(listen=LISTEN)
    # What init has not reaped yet is still seen, and its end told.
    side.until(lambda: running(side) == {}, "nothing to run")
    assert survivor(side, "a", fds=["http"]) in side.everybody()
    assert len(side.everybody()) == 3


def test_how_a_survivor_ends_is_told(side: Side) -> None:
    guardian = side.start_successive()
    a = survivor(side, "a")
    b = survivor(side, "b")
    side.kill_guardian()
    side.successor(guardian)
    all_joined(side, 3)
    assert side.ask("kill", name="a", signal=int(signal.SIGTERM)).keys() == {"re"}
    event = side.event("a")
    assert event["pid"] == a
    assert not event["known"] or event["signal"] == signal.SIGTERM
    assert running(side) == {"b": b}


def test_what_a_survivor_left_behind_ends_with_it(side: Side) -> None:
    guardian = side.start_successive()
    code = SURVIVOR[-1].replace(
        "watch_guardian()\n", "watch_guardian()\nos.spawnv(os.P_NOWAIT, '/bin/sleep', ['sleep', '1000'])\n", 1
    )
    a = side.spawn("a", *SURVIVOR[:-1], code)
    side.until(lambda: (side.run / f"ready.{a}").exists(), "a to watch its guardian")
    side.kill_guardian()
    side.successor(guardian)
    all_joined(side, 2)
    everybody = side.everybody()
    assert len(everybody) == 4
    os.kill(a, signal.SIGKILL)
    side.until(lambda: len(side.everybody()) == 2, "the end of a and of its child")


def test_a_frozen_survivor_is_killed_and_its_listening_socket_kept(side: Side) -> None:
    guardian = side.start_successive(listen=LISTEN, adopt_timeout=0.5)
    a = survivor(side, "a", fds=["http"])
    port = side.table()["listen"]["http"][1]
    os.kill(a, signal.SIGSTOP)
    side.kill_guardian()
    # In the queue of the socket now; if it were bound anew this would be reset.
    with socket.create_connection(("127.0.0.1", port), DEADLINE) as client:
        side.successor(guardian)
        side.logged("does not join: killed")
        side.until(lambda: not side.is_alive(a), "the end of a")
        side.until(lambda: running(side) == {}, "the slot to be free")
        b = survivor(side, "b", fds=["http"])
        assert client.recv(100) == b"%d" % b
    assert side.table()["listen"]["http"][1] == port


def test_a_socket_outlives_a_frozen_survivor_that_is_killed_before_it_could_join(side: Side) -> None:
    guardian = side.start_successive(listen=LISTEN)
    a = survivor(side, "a", fds=["http"])
    port = side.table()["listen"]["http"][1]
    os.kill(a, signal.SIGSTOP)
    side.kill_guardian()
    with socket.create_connection(("127.0.0.1", port), DEADLINE) as client:
        side.successor(guardian)
        counters = side.ask("status")["counters"]  # the control actor needs not wait for the frozen one
        assert (counters["joined"], counters["survivors"]) == (1, 2)
        os.kill(a, signal.SIGKILL)
        side.until(lambda: running(side) == {}, "the slot to be free")
        b = survivor(side, "b", fds=["http"])
        assert client.recv(100) == b"%d" % b


def test_a_survivor_that_brings_no_socket_makes_it_be_bound_anew(side: Side) -> None:
    guardian = side.start_successive(listen=LISTEN)
    survivor(side, "a")
    port = side.table()["listen"]["http"][1]
    side.kill_guardian()
    side.successor(guardian)
    all_joined(side, 2)
    assert side.table()["listen"]["http"][1] == port
    b = survivor(side, "b", fds=["http"])
    with socket.create_connection(("127.0.0.1", port), DEADLINE) as client:
        assert client.recv(100) == b"%d" % b


def test_somebody_else_can_start_the_successor(side: Side) -> None:
    guardian = side.start_successive(listen=LISTEN, successor="supervisor")
    a = survivor(side, "a", fds=["http"])
    control = side.control()
    side.kill_guardian()
    side.popen(str(side.folder / "config.json"))
    assert side.successor(guardian) == side.guardian.pid
    all_joined(side, 2)
    assert running(side) == {"a": a}
    assert side.control() == control


def test_without_a_successor_survivors_exit(side: Side) -> None:
    side.start_successive(listen=LISTEN, successor="supervisor", rejoin_timeout=0.2)
    survivor(side, "a", fds=["http"])
    side.kill_guardian()
    side.until(lambda: not side.everybody(), "the end of all")


def test_nobody_starts_a_successor_while_everything_is_being_stopped(side: Side) -> None:
    side.start_successive(listen=LISTEN)
    survivor(side, "a", fds=["http"])
    (side.run / "stopping").touch()
    side.kill_guardian()
    side.until(lambda: not side.everybody(), "the end of all")
    assert (side.log / "guardian.log").read_text().count("guardian started") == 1
    late = side.popen(str(side.folder / "config.json"), "--succeed")
    assert late.wait(DEADLINE) == 100
    assert b"being stopped" in late.communicate()[1]


def test_a_guardian_killed_while_it_stops_takes_everybody_with_it(side: Side) -> None:
    side.start_successive(grace=1000)
    survivor(side, "a")
    os.kill(side.control(), signal.SIGSTOP)  # does not drain
    side.guardian.terminate()
    side.until(lambda: (side.run / "stopping").exists(), "the stop to be said")
    side.kill_guardian()
    os.kill(side.control(), signal.SIGCONT)
    side.until(lambda: not side.everybody(), "the end of all")


def test_a_successor_stops_all_that_it_took_over(side: Side) -> None:
    guardian = side.start_successive(listen=LISTEN)
    survivor(side, "a", fds=["http"])
    side.kill_guardian()
    successor = side.successor(guardian)
    all_joined(side, 2)
    os.kill(successor, signal.SIGTERM)
    side.until(lambda: not side.everybody(), "the end of all")
    assert {entry.name for entry in side.run.iterdir() if not entry.name.startswith("ready.")} == {"guardian.lock"}


def test_a_second_successor_is_refused(side: Side) -> None:
    guardian = side.start_successive()
    side.kill_guardian()
    side.successor(guardian)
    all_joined(side, 1)
    second = side.popen(str(side.folder / "config.json"), "--succeed")
    assert second.wait(DEADLINE) == 100
    assert side.current() != second.pid


@pytest.mark.parametrize("name", ["a", "control"])
def test_a_stranger_who_says_a_name_that_runs_is_refused(side: Side, name: str) -> None:
    from fustor.runtime.rejoin import Plan, Rejoiner

    side.start_successive()
    a = survivor(side, "a")
    before = os.getcwd()
    os.chdir(side.run)
    try:
        assert Rejoiner(Plan(DEADLINE, (), ""), name, "other", {}).find() is None
    finally:
        os.chdir(before)
    side.logged("a process may not join")
    assert running(side) == {"a": a}


def test_an_abandoned_process_joins_under_its_new_name(side: Side) -> None:
    guardian = side.start_successive()
    old = survivor(side, "a")
    name = side.ask("abandon", name="a")["name"]
    new = side.spawn("a", *SURVIVOR)
    side.until(lambda: (side.run / f"ready.{new}").exists(), "the new one to watch its guardian")
    side.kill_guardian()
    side.successor(guardian)
    all_joined(side, 3)
    assert running(side) == {name: old, "a": new}
