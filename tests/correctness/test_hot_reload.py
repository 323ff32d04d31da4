"""Configurations pushed from Fusion to the real data plane, while fs/tree is asked all the time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster import Cluster, Poller, until

PATIENT = "[limits.probation]\nsettle_seconds = 60\nprobation_seconds = 0.5"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("hot-reload")
    root = folder / "root"
    root.mkdir()
    made = Cluster(root, folder / "state", limits=PATIENT)
    yield made
    made.down()


def push(cluster: Cluster, tmp_path: Path, **source: object) -> None:
    """Push a source with these keys, and wait until the agent runs it."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in source.items()]
    document = tmp_path / "c.toml"
    document.write_text("\n".join(["[[sources]]", 'name = "data"', f'root = "{cluster.root}"', *lines]) + "\n")
    cluster.command("config", "push", "local", str(document), "--reason", "a test")


def pids(cluster: Cluster) -> dict[str, int]:
    return {name: cluster.pid(name) for name in cluster.payloads()}


def epoch(cluster: Cluster) -> str:
    (agent,) = cluster.status()["status"]["agents"]
    (watcher,) = [one for one in agent["payloads"] if one["name"] == "watcher.data"]
    return str(watcher["facts"]["epoch"])


def test_patterns_change_what_is_shown_without_a_restart(cluster: Cluster, tmp_path: Path) -> None:
    (cluster.root / "sub").mkdir()
    for name in ("a.tmp", "b", "sub/c.tmp", "sub/d"):
        (cluster.root / name).touch()
    cluster.assert_right()
    before = pids(cluster)
    with Poller(cluster):
        push(cluster, tmp_path, exclude=["*.tmp"])
        until(lambda: {name for name in cluster.entries() if name} == {b"b", b"sub", b"sub/d"}, "no .tmp any more")
        (cluster.root / "e.tmp").touch()
        (cluster.root / "f").touch()
        until(lambda: b"f" in cluster.entries(), "a new file")
        assert b"e.tmp" not in cluster.entries()
        push(cluster, tmp_path)
        cluster.becomes_right()
    assert pids(cluster) == before


def test_periods_and_scanners_change_without_a_new_look(cluster: Cluster, tmp_path: Path) -> None:
    cluster.assert_right()
    before, began = pids(cluster), epoch(cluster)
    with Poller(cluster):
        push(cluster, tmp_path, fast_audit_seconds=5, scanners=3)
        cluster.pid("scanner.data.2")
        (cluster.root / "later").touch()
        cluster.assert_right()
    assert epoch(cluster) == began
    assert {name: pid for name, pid in pids(cluster).items() if name in before} == before


def test_a_bad_pattern_is_refused_before_it_is_kept(cluster: Cluster, tmp_path: Path) -> None:
    document = tmp_path / "c.toml"
    document.write_text('[[sources]]\nname = "data"\nroot = "/x"\nexclude_regex = ["("]\n')
    refused = cluster.command("config", "push", "local", str(document), "-r", "x", check=False)
    assert refused.returncode == 2
    assert f"{document}: sources[0].exclude_regex[0] = '('" in refused.stderr
    cluster.assert_right()
