"""Both guardians killed, again and again: nobody outside sees it, and a stop right afterwards leaves nothing."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster import Cluster, Poller, until

SIDES = ("fusion", "agent")
#: However slow the machine is, nobody is given up.
PATIENT = "[limits.guardian]\nrejoin_seconds = 1000\nadopt_seconds = 1000"
#: How often both are killed.
KILLS = int(os.environ.get("FUSTOR_TEST_KILLS", "4"))


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster of one test."""
    root = tmp_path / "root"
    for number in range(5):
        (root / f"d{number}").mkdir(parents=True)
        for name in "abc":
            (root / f"d{number}" / name).write_text(name)
    cluster = Cluster(root, tmp_path / "state", limits=PATIENT, fusion=PATIENT)
    yield cluster
    cluster.down()
    assert running(cluster) == {}


def running(cluster: Cluster) -> dict[int, str]:
    """All processes of both sides: pid → what it runs."""
    folders = {str((cluster.state / side / "run").resolve()) for side in SIDES}
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{entry}/cwd") in folders:
                    found[int(entry)] = Path("/proc", entry, "cmdline").read_text().replace("\0", " ")
    return found


def guardian(cluster: Cluster, side: str) -> int:
    """Pid of the guardian that runs; 0: none."""
    try:
        pid = int((cluster.state / side / "run" / "guardian.pid").read_text())
    except (FileNotFoundError, ValueError):
        return 0
    return pid if "guardian/main.py" in running(cluster).get(pid, "") else 0


def kill_guardians(cluster: Cluster) -> dict[str, int]:
    """Their pids."""
    pids = {side: successor(cluster, side, 0) for side in SIDES}
    for pid in pids.values():
        os.kill(pid, signal.SIGKILL)
    return pids


def successor(cluster: Cluster, side: str, before: int) -> int:
    """Wait for the guardian that follows ``before``; its pid."""
    return int(until(lambda: guardian(cluster, side) not in (0, before) and guardian(cluster, side), side))


def others(cluster: Cluster) -> set[int]:
    """Everybody but the guardians, and their templates, which end with them."""
    shells = ("guardian/main.py", "fustor.runtime.template")
    return {pid for pid, command in running(cluster).items() if not any(shell in command for shell in shells)}


def joined(logs: list[Path], name: str, times: int) -> None:
    """Wait until processes whose names begin so have joined a successor so often."""
    until(lambda: sum(log.read_text().count(f"joined name={name}") for log in logs) == times, f"{times} × {name}")


def test_nobody_sees_that_the_guardians_are_killed(own: Cluster) -> None:
    own.assert_right()
    before = others(own)
    logs = [own.state / side / "log" / "guardian.log" for side in SIDES]
    # No request is retried: every single one is answered.
    with Poller(own, pause=0.01) as poller:
        for number in range(1, KILLS + 1):
            killed = kill_guardians(own)
            for side in SIDES:
                successor(own, side, killed[side])
            joined(logs, "control", 2 * number)
            (own.root / f"new{number}").write_text("x")
            own.assert_right()
    # On a machine that is busy enough a watermark may come late.
    assert {answer["state"] for answer in poller.answers} <= {"live", "stale"}
    # Each of them, and nobody twice.
    joined(logs, "", KILLS * len(before))
    assert others(own) == before
    own.status()
    # What the successors have taken over they also start again.
    own.kill("query.0")
    own.kill("syncer.data")
    (own.root / "last").write_text("x")
    own.assert_right()


def test_guardians_that_hang_are_ended_by_their_control_actors(own: Cluster) -> None:
    own.assert_right()
    before = others(own)
    stopped = {side: successor(own, side, 0) for side in SIDES}
    with Poller(own, pause=0.01):
        for pid in stopped.values():
            os.kill(pid, signal.SIGSTOP)
        for side in SIDES:
            successor(own, side, stopped[side])
        until(lambda: hung(own) == {"fusion", "local"}, "both to be told")
    assert others(own) == before
    own.kill("query.0")
    own.kill("syncer.data")
    (own.root / "last").write_text("x")
    own.assert_right()


def hung(cluster: Cluster) -> set[str]:
    """Sides of whose guardians it is known that they hung."""
    events = cluster.admin("events", after="0", side="", evidence="")["events"]
    return {event["side"] for event in events if (event["payload"], event["kind"]) == ("guardian", "hang")}


@pytest.mark.parametrize("when", ["at once", "when one is being started", "when one has taken over"])
def test_a_stop_right_after_the_kill_leaves_nothing(tmp_path: Path, when: str) -> None:
    (tmp_path / "root").mkdir()
    own = Cluster(tmp_path / "root", tmp_path / "state", limits=PATIENT, fusion=PATIENT)
    killed = kill_guardians(own)
    if when == "when one has taken over":
        successor(own, "fusion", killed["fusion"])
    elif when == "when one is being started":
        until(lambda: (own.state / "fusion" / "run" / "successor.lock").exists(), "a survivor to start a successor")
    own.down()
    assert running(own) == {}
    for side in SIDES:
        assert list((own.state / side / "run").iterdir()) == []
    if when == "at once":
        own.up()
        own.assert_right()
        own.down()
        assert running(own) == {}


def test_everything_is_killed_and_started_again(own: Cluster) -> None:
    for pid in running(own):
        os.kill(pid, signal.SIGSTOP)
    for pid in running(own):
        os.kill(pid, signal.SIGKILL)
    until(lambda: not running(own), "the end of all")
    own.up()
    own.assert_right()


def test_nobody_is_refused_while_anybody_of_fusion_lives(own: Cluster) -> None:
    own.settled()
    view = own.pid("view.main")
    everybody = [pid for pid in running(own) if os.readlink(f"/proc/{pid}/cwd").endswith("fusion/run")]
    assert view in everybody
    # A request that a worker had when it was killed is asked once more.
    with Poller(own, retries=2) as poller:
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in everybody:
                if pid != view:
                    os.kill(pid, number)
        answers = len(poller.answers)
        until(lambda: len(poller.answers) > answers + 1, "answers of other workers")
        own.settled()
    assert own.pid("view.main") == view
