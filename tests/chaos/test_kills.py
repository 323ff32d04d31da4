"""
Any process dies or freezes at any moment, alone or with others: the tree is answered for on and on, nobody runs twice,
and in the end all is as it was and right to the byte. Nobody but Fustor restarts anything.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.chaos.lives import Lives
from benchmarks.chaos.schedule import TEMPLATE
from fustor.admin.client import Client
from fustor.admin.exits import NotRunningError
from fustor.admin.state import State
from protocols.errors import MachineError
from tests.support.cluster import Cluster, Poller, until
from tests.support.mischief import Mischief

#: How often somebody is hit in one run.
KILLS = int(os.environ.get("FUSTOR_TEST_KILLS", "30"))
#: Backoff that a loop of kills does not stretch, and guardians that give nobody up however slow the machine is.
LIMITS = """
[limits.guardian]
rejoin_seconds = 1000
adopt_seconds = 1000
[limits.shell.backoff]
cap_seconds = 0.5
"""
#: Signals by what they may hit. A payload is not aborted: that is held against the work that it had (ADR 13). A frozen
#: guardian is its control actor's to find, which may be gone at the same time here.
SIGNALS = {
    "guardian": (signal.SIGKILL, signal.SIGSEGV),
    "control": (signal.SIGKILL, signal.SIGABRT, signal.SIGSTOP),
    "": (signal.SIGKILL, signal.SIGKILL, signal.SIGSTOP),
}


class Target(Cluster):
    """A cluster whose processes can be seen and hit."""

    @property
    def lives(self) -> Lives:
        """Its processes."""
        return Lives(State(self.state))

    def states(self) -> set[str]:
        """Of all payloads, and of the link, as the operator sees them; empty while nobody answers."""
        try:
            with Client(State(self.state)) as client:
                status = client.admin("status")
        except (NotRunningError, MachineError):
            return set()
        states = {one["state"] for side in (status, *status["agents"]) for one in side["payloads"]}
        return states | {agent["link"] for agent in status["agents"]}

    def hit(self, rng: random.Random) -> list[str]:
        """One, two, or half of all; of each side somebody is left who can start the rest."""
        running = sorted(self.lives.members().items(), key=lambda item: item[1])
        rng.shuffle(running)
        victims = running[: rng.choice([1, 1, 1, 2, len(running) // 2])]
        for side in ("fusion", "agent"):
            # A template succeeds nobody.
            mine = [item for item in running if item[1][0] == side and item[1][1] != TEMPLATE]
            if not any(item not in victims and self.lives.is_able(item[0], side) for item in mine):
                victims = [item for item in victims if item not in mine]
        told = []
        for pid, (side, name) in victims:
            number = rng.choice(SIGNALS.get(name, SIGNALS[""]))
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
            told.append(f"{side}/{name} {number.name}")
        return told


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    (tmp_path / "root").mkdir()
    source = "fast_audit_seconds = 2\nfull_audit_seconds = 4"
    made = Target(tmp_path / "root", tmp_path / "state", source=source, limits=LIMITS, fusion=LIMITS)
    yield made
    made.down()
    assert made.lives.members() == {}


@pytest.mark.parametrize("seed", [1])
def test_whoever_is_hit_whenever(target: Target, tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    top, outside = target.root / "changed", tmp_path / "outside"
    top.mkdir()
    outside.mkdir()
    mischief = Mischief(os.fsencode(top), os.fsencode(outside), random.Random(seed))
    target.assert_right()
    before = sorted(target.lives.members().values())
    told: list[str] = []
    # A request that a dying worker had is asked once more; none is refused.
    with Poller(target, retries=KILLS * 2) as poller:
        for number in range(KILLS):
            told.append(f"{number}: {', '.join(target.hit(rng))}")
            for _ in range(20):
                mischief.do()
            time.sleep(rng.random() * 0.6)  # any moment
            assert target.lives.twice() == [], told
        until(
            lambda: sorted(target.lives.members().values()) == before,
            f"everybody to run again\n{told}\n{target.logs()}",
        )
        target.settled()
        until(lambda: poller.answers[-1]["state"] == "live", "a live answer")
    target.becomes_right()  # other names of a changed inode are right after their audit
    until(lambda: target.states() == {"running", "online"}, "everybody to run well")
