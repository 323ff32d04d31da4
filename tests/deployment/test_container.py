"""What a container is to the guardian: a space of pids of its own, in which it is number 1 (pid_namespaces(7))."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fustor.admin.state import State
from tests.support.cluster import PATIENCE, Cluster, until

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("unshare") or not shutil.which("nsenter"),
    reason="needs root, unshare and nsenter",
)


class Contained(Cluster):
    """Fusion alone, in its own space of pids."""

    def up(self) -> None:
        state = State(self.state)
        host, _, port = str(state.fusion_config()["http"]).rpartition(":")
        self.address = (host, int(port))
        command = [sys.executable, "-P", "-m", "fustor.fusion.daemon", "--config", str(state.fusion.config)]
        self.outer = subprocess.Popen(
            ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", *command], stdin=subprocess.DEVNULL
        )
        until(lambda: self.children(self.outer.pid), "the first process")
        (self.first,) = self.children(self.outer.pid)
        until(self.answers, "an answer")

    def down(self) -> None:
        if self.outer.poll() is None:
            os.kill(self.first, signal.SIGTERM)
        assert self.outer.wait(PATIENCE) == 0

    def answers(self) -> bool:
        try:
            return self.get("/fs/tree?path=/").status == 200
        except ConnectionError:
            return False

    @staticmethod
    def children(pid: int) -> list[int]:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def worker(self) -> int:
        """Pid of a query worker, as it is called in there."""
        table = json.loads((self.state / "fusion" / "run" / "table.json").read_text())
        pids: list[int] = [slot["pid"] for slot in table["slots"] if slot["name"] == "query.0" and slot["exit"] is None]
        return pids[0] if pids else 0

    def inside(self, *command: str) -> None:
        """Run a command in there."""
        subprocess.run(["nsenter", f"--target={self.first}", "--pid", "--mount", *command], check=True)


@pytest.fixture
def contained(tmp_path: Path) -> Iterator[Contained]:
    (tmp_path / "root").mkdir()
    made = Contained(tmp_path / "root", tmp_path / "state")
    yield made
    made.down()


def test_number_1_is_not_killed_from_inside_and_replaces_who_is(contained: Contained) -> None:
    contained.inside("kill", "-9", "1")
    before = until(contained.worker, "a worker")
    contained.inside("kill", "-9", str(before))
    until(lambda: contained.worker() not in (0, before), "another worker")
    assert contained.answers()
    assert contained.outer.poll() is None


def test_it_stops_as_a_container_is_stopped(contained: Contained) -> None:
    everybody = [contained.first, *contained.children(contained.first)]
    assert len(everybody) > 3
    contained.down()
    assert not [pid for pid in everybody if Path(f"/proc/{pid}").exists()]
