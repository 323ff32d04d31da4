"""
The wall clock of the host jumps by an hour, there and back: heartbeats, orders and the tree go on as if nothing had
been, and what is old is still called old. Every process has the time from libfaketime; other clocks are right.
"""

from __future__ import annotations

import json
import os
import signal
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

    def link(self) -> tuple[int, ...]:
        """How often the agent was lost and has logged in; and the control actors, which count anew when replaced."""
        (agent,) = self.status()["status"]["agents"]
        tables = [json.loads((self.state / side / "run" / "table.json").read_text()) for side in ("agent", "fusion")]
        return *(table["control"]["pid"] for table in tables), agent["losses"], agent["logins"]

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
    with Poller(host) as poller:
        for number, seconds in enumerate((HOUR, -HOUR)):
            host.jump(seconds)
            made = host.root / f"after{number}"
            made.touch()
            until(lambda made=made: host.sees(made), f"a change after a jump to {seconds:+d}")  # type: ignore[misc]
            host.command("release", "local/watcher.data")
            now = host.link()
            # On a machine that is slow enough one may have been taken for dead.
            assert now == link or now[:2] != link[:2]
    assert {name: entry["pid"] for name, entry in host.payloads().items()} == before
    assert {answer["state"] for answer in poller.answers} <= {"live", "stale"}
    # What was heard an hour later, by a clock that was wrong, does not make an old tree young.
    os.kill(int((host.state / "agent" / "run" / "guardian.pid").read_text()), signal.SIGTERM)
    until(lambda: host.tree(max_depth=0)["state"] == "stale", "the tree of an agent that is gone to be called stale")
