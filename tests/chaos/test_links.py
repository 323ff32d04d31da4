"""
What lies between an agent and Fusion fails: half-open links, resets, a host that stands still. Both ends see it,
nothing else happens on the host, and the session is there again by itself.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.proxy import Proxy
from tests.support.sides import Sides, until


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with Proxy() as made:
        yield made


@pytest.fixture
def sides(tmp_path: Path, proxy: Proxy) -> Iterator[Sides]:
    both = Sides(tmp_path, way=proxy.port)
    proxy.target = both.port
    both.fusion.start()
    both.agent.start()
    until(both.all_running, "all payloads of both sides")
    yield both
    both.close()


def online(sides: Sides, losses: int) -> bool:
    """In session, heard since its login, and lost so often before."""
    link = sides.link()
    return bool(link["link"] == "online" and link["beats"] and link["losses"] >= losses)


def test_a_half_open_link_is_seen_by_both_ends_and_an_order_waits_for_its_end(sides: Sides, proxy: Proxy) -> None:
    before, control, epoch = sides.agent.pids(), sides.agent.control(), sides.link()["epoch"]
    proxy.silence(True)
    until(lambda: sides.link()["link"] == "lost", "Fusion to see it")
    order = sides.give("restart", "local", "watcher.data")
    until(lambda: "Fusion does not answer" in sides.agent.log(), "the agent to see it")
    assert sides.agent.pids() == before
    proxy.silence(False)
    until(lambda: online(sides, 1), "the session")
    assert sides.outcome(order)["state"] == "done"
    after = sides.agent.pids()
    assert {name for name in before if before[name] != after[name]} == {"watcher.data"}
    assert (sides.agent.control(), sides.link()["epoch"]) == (control, epoch)


def test_a_link_that_breaks_all_the_time(sides: Sides, proxy: Proxy) -> None:
    rng = random.Random(5)
    before, control = sides.agent.pids(), sides.agent.control()
    for _ in range(40):
        if rng.random() < 0.3:
            proxy.silence(True)
            time.sleep(rng.random() * 0.5)  # any moment
            proxy.silence(False)
        else:
            proxy.cut()
            time.sleep(rng.random() * 0.3)
    until(lambda: online(sides, 0), "the session")
    assert sides.order("release", "local", "watcher.data")["state"] == "done"
    assert (sides.agent.pids(), sides.agent.control()) == (before, control)
    assert sides.status()["failures"] == {}


@pytest.mark.parametrize("side", ["agent", "fusion"])
def test_a_host_that_stands_still_goes_on_where_it_was(sides: Sides, side: str) -> None:
    """All processes of a side are frozen for longer than any of its deadlines, and go on in any order."""
    here = getattr(sides, side)
    before = {"agent": sides.agent.pids(), "fusion": sides.fusion.pids()}
    controls = sides.agent.control(), sides.fusion.control()
    frozen = [here.table()["guardian"], here.control(), *before[side].values()]
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    if side == "agent":
        until(lambda: sides.link()["link"] == "lost", "Fusion to miss the agent")
    time.sleep(5)  # longer than the patience of the guardian and of the shell
    random.Random(1).shuffle(frozen)
    for pid in frozen:
        os.kill(pid, signal.SIGCONT)
    until(lambda: online(sides, int(side == "agent")), "the session")
    assert sides.order("release", "local", "watcher.data")["state"] == "done"
    assert {"agent": sides.agent.pids(), "fusion": sides.fusion.pids()} == before
    assert (sides.agent.control(), sides.fusion.control()) == controls
