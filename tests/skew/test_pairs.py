"""
Sides and payloads of this version and the next one together, with real processes, on the state that the other left:
each works, or says why not. The table is docs/compatibility.md.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fustor
from tests.support.cluster import CHECKOUT, Cluster, until
from tests.support.programs import made, push, trust
from tests.support.skew import LATER, exchange, later, program, speaking

NOW = fustor.__version__
LIMITS = """
[limits.probation]
settle_seconds = 25
probation_seconds = 0.5
[limits.shell]
stop_seconds = 2.0
"""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    root = tmp_path / "root"
    for number in range(5):
        (root / f"d{number}").mkdir(parents=True)
        (root / f"d{number}/f").touch()
    made = Cluster(root, tmp_path / "state", source="scanners = 1", limits=LIMITS, fusion=LIMITS)
    try:
        made.settled()
        yield made
    finally:
        made.down()


def payloads(cluster: Cluster, side: str) -> list[dict[str, Any]]:
    (found,) = cluster.admin("payloads", agent="local" if side == "agent" else "fusion")["sides"]
    return list(found["payloads"])


def software(cluster: Cluster, side: str) -> set[str]:
    return {one["software"] if one["state"] == "running" else one["state"] for one in payloads(cluster, side)}


def works(cluster: Cluster, agent: str, fusion: str) -> None:
    """What people do with a Fustor."""
    until(lambda: cluster.agent().get("link") == "online", "the agent")
    until(lambda: software(cluster, "agent") == {agent}, f"payloads of {agent}")
    until(lambda: software(cluster, "fusion") == {fusion}, f"payloads of {fusion}")
    number = len(os.listdir(cluster.root))
    (Path(cluster.root) / f"d1/{number}").touch()
    (Path(cluster.root) / f"new {number}").mkdir()
    cluster.assert_right()
    cluster.command("log", "local/watcher.data")
    cluster.command("restart", "local/syncer.data")
    file = cluster.state.parent / "document.toml"
    file.write_text(
        f'[[sources]]\nname = "data"\nroot = "{cluster.root}"\nscanners = 1\n'
        f"[limits.syncer]\nstall_seconds = {number}\n"
    )
    revision = json.loads(cluster.command("config", "push", "local", str(file), "--reason", "a test", "--json").stdout)[
        "revision"
    ]["number"]
    until(lambda: cluster.agent()["configuration"]["good"] == revision, "the end of its probation")
    cluster.assert_right()


@pytest.mark.parametrize("side", ["agent", "fusion"])
def test_one_side_is_later_and_goes_back(cluster: Cluster, tmp_path: Path, side: str) -> None:
    works(cluster, NOW, NOW)
    exchange(cluster, side, program(tmp_path / "later", later))
    assert cluster.admin("status")["software"] == (LATER if side == "fusion" else NOW)
    works(cluster, *((LATER, NOW) if side == "agent" else (NOW, LATER)))
    exchange(cluster, side, CHECKOUT)
    works(cluster, NOW, NOW)


@pytest.mark.parametrize("side", ["agent", "fusion"])
def test_payloads_are_later_than_their_shell_or_before_it(cluster: Cluster, tmp_path: Path, side: str) -> None:
    key = tmp_path / "release.key"
    cluster.command("bundle", "keygen", "--output", str(key))
    trust(cluster, side, key)
    (tmp_path / "a").mkdir()
    digest = push(cluster, made(tmp_path / "a", key, later))
    target = "local" if side == "agent" else "fusion"
    cluster.command("upgrade", "start", digest, "--agent", target, "--reason", "a test")
    until(lambda: software(cluster, side) == {LATER}, "later payloads")
    cluster.assert_right()
    (tmp_path / "b").mkdir()
    digest = push(cluster, made(tmp_path / "b", key, lambda source: None))
    exchange(cluster, side, program(tmp_path / "later", later))
    until(lambda: cluster.agent().get("link") == "online", "the agent")
    cluster.command("upgrade", "start", digest, "--agent", target, "--reason", "a test")
    until(lambda: software(cluster, side) == {NOW}, "payloads of before")
    cluster.assert_right()


def test_another_protocol_is_declined_by_name(cluster: Cluster, tmp_path: Path) -> None:
    foreign = program(tmp_path / "foreign", speaking(2))
    exchange(cluster, "agent", foreign)
    words = "protocol version 2, we speak 1"

    def told() -> bool:
        return any(words in one["text"] for one in cluster.admin("events", side="fusion")["events"])

    until(told, "Fusion to say so")
    log = cluster.state / "agent" / "log" / "control.log"
    until(lambda: "protocol version 1, we speak 2" in log.read_text(), "the agent to say so")
    assert cluster.tree()["children"], "the last tree is answered"
    asked = cluster.command("status", check=False, env={"PYTHONPATH": str(foreign)})
    assert asked.returncode != 0
    assert "protocol version 1, we speak 2" in asked.stderr
    exchange(cluster, "agent", CHECKOUT)
    works(cluster, NOW, NOW)


def test_a_bundle_of_another_protocol_is_refused(cluster: Cluster, tmp_path: Path) -> None:
    key = tmp_path / "release.key"
    cluster.command("bundle", "keygen", "--output", str(key))
    trust(cluster, "agent", key)
    digest = push(cluster, made(tmp_path, key, speaking(2)))
    done = cluster.command("upgrade", "start", digest, "--agent", "local", "--reason", "a test", check=False)
    assert done.returncode != 0
    assert "protocol" in done.stderr
    assert software(cluster, "agent") == {NOW}
