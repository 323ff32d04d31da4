"""Payloads end and are started again, over and over: the shells of both sides stay as they are."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fustor.admin.processes import members
from fustor.admin.state import State
from tests.support.cluster import Cluster, until

#: Payloads that end while it is watched; a slope shows over hundreds, a leak of a descriptor at the first.
RESTARTS = int(os.environ.get("FUSTOR_TEST_RESTARTS", "14"))
#: Bytes that a shell may grow by for each restart, over the slack that an allocator has.
GROWTH, SLACK = 2048, 1 << 20
#: Few events, so that what is remembered is full before the first weighing.
LIMITS = "[limits.shell.backoff]\ncap_seconds = 0.3\n[limits.events]\nmost = 20"
SHELLS = ("guardian", "control")


class Soaked(Cluster):
    """A cluster whose shells are weighed."""

    def shells(self) -> dict[tuple[str, str], int]:
        """Side and name → pid of guardians and control actors."""
        found = {}
        for side in State(self.state).sides:
            found.update({(side.name, name): pid for pid, name in members(side).items() if name in SHELLS})
        return found

    def counts(self) -> dict[tuple[str, str], tuple[int, int]]:
        """Shell → descriptors and threads."""
        return {
            who: (len(os.listdir(f"/proc/{pid}/fd")), len(os.listdir(f"/proc/{pid}/task")))
            for who, pid in self.shells().items()
        }

    def bytes(self) -> dict[tuple[str, str], int]:
        """Shell → private memory."""
        return {who: private(pid) for who, pid in self.shells().items()}

    def restart(self, name: str) -> None:
        """Kill a payload, and wait until the next one of its name does its work."""
        before = self.kill(name)
        until(lambda: self.running().get(name, before) != before, f"another {name}")


def private(pid: int) -> int:
    """Bytes of a process that nobody shares."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Private_"))


@pytest.fixture
def soaked(tmp_path: Path) -> Iterator[Soaked]:
    (tmp_path / "root").mkdir()
    made = Soaked(tmp_path / "root", tmp_path / "state", limits=LIMITS, fusion=LIMITS)
    yield made
    made.down()


def test_restarts_leave_nothing_behind_in_the_shells(soaked: Soaked) -> None:
    names = sorted(until(lambda: len(found := soaked.running()) == 7 and found, "everything to run"))
    turns = itertools.cycle(names)
    for _ in names:  # once each, so that nothing is done for the first time
        soaked.restart(next(turns))
    shells, counts, weights = soaked.shells(), soaked.counts(), soaked.bytes()
    for _ in range(RESTARTS):
        soaked.restart(next(turns))
    assert soaked.shells() == shells

    def as_before() -> bool:
        """Connections of those who asked, and of those who died, are closed a moment later; idle threads end."""
        return all(a <= b for who, now in soaked.counts().items() for a, b in zip(now, counts[who], strict=True))

    until(as_before, f"{counts}, not {soaked.counts()}")
    grown = {who: after - weights[who] for who, after in soaked.bytes().items()}
    print("grown by", grown)
    assert all(by <= SLACK + GROWTH * RESTARTS for by in grown.values()), grown
    assert soaked.status()["status"]["failures"] == {}
