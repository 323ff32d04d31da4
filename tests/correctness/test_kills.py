"""Processes killed in the middle of changes: fs/tree answers on, claims nothing that is not so, and is right in the
end."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster import Cluster, Poller, until
from tests.support.writers import Ledger, lies

PAYLOADS = ("watcher.data", "scanner.data.0", "syncer.data", "view.main", "query.0")


def sizes(answer: dict[str, Any]) -> dict[str, int]:
    """The files of an answer with children."""
    return {node["name"]: node["size"] for node in answer["children"] if node["content_type"] == "file"}


def watched(cluster: Cluster, folder: Path, retries: int, mischief: Callable[[], None]) -> Poller:
    """
    Do ``mischief`` while a ledger is kept in ``folder`` and polled, and check that no answer ever claims what it lacks.
    """
    cluster.assert_right()
    with Poller(cluster, os.fsencode(f"/{folder.name}"), retries=retries) as poller:
        ledger = Ledger(folder, 2.0, 300)
        until(lambda: any(folder.iterdir()), "the first change")
        mischief()
        changes = ledger.changes()
        cluster.assert_right()
        last = changes[-1].after
        until(lambda: (poller.answers[-1]["as_of"] or 0) * 1e9 > last, "an answer that claims to contain all changes")
    claims = [
        (answer, received)
        for answer, received in zip(poller.answers, poller.received, strict=True)
        if answer["as_of"] is not None and "children" in answer
    ]
    for answer, received in claims:
        assert not (found := lies(changes, answer["as_of"], received, sizes(answer))), (answer["as_of"], found[:5])
    return poller


@pytest.mark.parametrize("name", PAYLOADS)
def test_a_payload(cluster: Cluster, place: Path, name: str) -> None:
    before = {payload: cluster.pid(payload) for payload in PAYLOADS}
    # Only the death of who holds the connection can be felt, and by one request.
    poller = watched(cluster, place, 1 if name == "query.0" else 0, lambda: void(cluster.kill(name)))
    after = {payload: cluster.pid(payload) for payload in PAYLOADS}
    assert {payload for payload in PAYLOADS if after[payload] != before[payload]} == {name}
    assert poller.retried <= 1


def test_all_payloads_at_once(cluster: Cluster, place: Path) -> None:
    def mischief() -> None:
        for name in PAYLOADS:
            cluster.kill(name)

    watched(cluster, place, 1, mischief)


def children(cluster: Cluster, side: str, module: str) -> list[int]:
    """Children of a side's guardian that run ``module``; see proc(5)."""
    guardian = int((cluster.state / side / "run" / "guardian.pid").read_text())
    found = []
    for pid in Path(f"/proc/{guardian}/task/{guardian}/children").read_text().split():
        try:
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if module.encode() in arguments:
            found.append(int(pid))
    return found


def test_both_control_actors(cluster: Cluster, place: Path) -> None:
    before = {name: entry["pid"] for name, entry in cluster.payloads().items()}
    controls = {side: children(cluster, side, f"fustor.{side}") for side in ("fusion", "agent")}

    def mischief() -> None:
        for pids in controls.values():
            (pid,) = pids
            os.kill(pid, signal.SIGKILL)

    watched(cluster, place, 0, mischief)
    for side, pids in controls.items():
        assert children(cluster, side, f"fustor.{side}") != pids
    # They are adopted, not started anew; and the status that the new ones give is of them.
    until(lambda: status_pids(cluster) == before, f"the status to name {before}")
    assert {name: entry["pid"] for name, entry in cluster.payloads().items()} == before


def status_pids(cluster: Cluster) -> dict[str, int]:
    """Name → pid of all payloads, as ``fustor status`` tells them; empty while there is nobody to ask."""
    done = cluster.command("status", "--json", check=False)
    if done.returncode:
        return {}
    status = cluster.status()["status"]
    payloads = [*status["payloads"], *(p for agent in status["agents"] for p in agent["payloads"])]
    return {payload["name"]: payload["pid"] for payload in payloads}


def watcher_counters(cluster: Cluster) -> dict[str, int]:
    """Counters of the watcher, as ``fustor status`` tells them."""
    payloads = cluster.status()["status"]["agents"][0]["payloads"]
    found: dict[str, int] = next(p["counters"] for p in payloads if p["name"] == "watcher.data")
    return found


def test_the_death_of_a_syncer_costs_no_rescan(cluster: Cluster, place: Path) -> None:
    for number in range(500):
        (place / f"d{number}").mkdir()
        (place / f"d{number}/f").touch()
    cluster.assert_right()
    until(lambda: watcher_counters(cluster).get("listed", 0) >= 500, "the counters of the listing")
    before = watcher_counters(cluster)
    for round_ in range(4):
        for number in range(500):
            (place / f"d{number}/f").write_text(str(round_))
            if number == 250:
                cluster.kill("syncer.data")
    cluster.assert_right()
    until(lambda: watcher_counters(cluster)["events"] >= before["events"] + 2_000, "the counters of the changes")
    listed = watcher_counters(cluster)["listed"] - before["listed"]
    assert listed < 50, f"{listed} directories listed again"


def void(_: object) -> None:
    """For what is called for its effect."""
