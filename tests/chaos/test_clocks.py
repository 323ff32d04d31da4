"""
The wall clock of the host jumps by an hour, there and back: heartbeats, orders and the tree go on as if nothing had
been, and what is old is still called old. Every process has the time from libfaketime; other clocks are right.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster import Cluster, Poller, until

LIBRARY = next(iter(Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), None)
pytestmark = pytest.mark.skipif(LIBRARY is None, reason="libfaketime is not installed (Debian: faketime)")

HOUR = 3600


class Host(Cluster):
    """A cluster whose wall clock can be set."""

    def __init__(self, root: Path, state: Path, clock: Path) -> None:
        self.clock = clock
        self.jump(0)
        variables = {
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(clock),
            "FAKETIME_CACHE_DURATION": "1",  # seconds until every process has seen it
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }
        super().__init__(root, state, wrapper=("env", *(f"{name}={value}" for name, value in variables.items())))

    def jump(self, seconds: int) -> None:
        """The clock is so far off from now on."""
        self.off = seconds
        new = self.clock.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        new.replace(self.clock)

    def live(self) -> bool:
        """It claims to be up to date, by the clock as it is now."""
        node = self.tree(max_depth=0)
        claims = bool(node["state"] == "live" and node["complete"])
        return claims and abs(node["as_of"] - time.time() - self.off) < HOUR / 4

    def link(self) -> tuple[str, int, int]:
        """State of the agent's link, how often it was lost, and how often the agent has logged in."""
        (agent,) = self.status()["status"]["agents"]
        return agent["link"], agent["losses"], agent["logins"]

    def sees(self, path: Path) -> bool:
        """A change has arrived."""
        answer = self.get(f"/fs/tree?path=/{path.relative_to(self.root)}&max_depth=0")
        return answer.status == 200 and self.live()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    (tmp_path / "root").mkdir()
    made = Host(tmp_path / "root", tmp_path / "state", tmp_path / "clock")
    yield made
    made.jump(0)
    made.down()


def test_the_wall_clock_jumps(host: Host) -> None:
    until(host.live, "a live tree")
    before = {name: entry["pid"] for name, entry in host.payloads().items()}
    link = host.link()
    assert link[:2] == ("online", 0)
    with Poller(host) as poller:
        for number, seconds in enumerate((HOUR, 0, -HOUR, HOUR, -HOUR)):
            host.jump(seconds)
            made = host.root / f"after{number}"
            made.touch()
            until(lambda made=made: host.sees(made), f"a change after a jump to {seconds:+d}")  # type: ignore[misc]
            host.command("release", "local/watcher.data")
            assert host.link() == link
    assert {name: entry["pid"] for name, entry in host.payloads().items()} == before
    assert {answer["state"] for answer in poller.answers} <= {"live", "stale"}


def test_a_jump_back_does_not_make_an_old_tree_young(host: Host) -> None:
    until(host.live, "a live tree")
    host.jump(-HOUR)
    (host.root / "new").touch()
    until(lambda: host.sees(host.root / "new"), "a change after the jump")
    table = host.state / "agent" / "run" / "guardian.pid"
    os.kill(int(table.read_text()), 15)
    until(lambda: host.tree(max_depth=0)["state"] == "stale", "the tree of an agent that is gone to be called stale")
