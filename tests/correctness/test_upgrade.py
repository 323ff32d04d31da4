"""
The payloads of a running agent get another program from Fusion, as a signed bundle: a good one is kept, bad ones are
left again by themselves, and fs/tree answers throughout.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster import Cluster, Poller, until
from tests.support.programs import broken, made, push, trust, upgradable, version

LIMITS = """
[limits.probation]
settle_seconds = 25
probation_seconds = 1.0
[limits.shell]
stop_seconds = 2.0
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with upgradable(tmp_path_factory.mktemp("cluster"), limits=LIMITS) as made:
        yield made


@pytest.fixture(scope="module")
def key(cluster: Cluster) -> Path:
    return cluster.state.parent / "release.key"


def payloads(cluster: Cluster) -> dict[str, dict[str, Any]]:
    return {payload["name"]: payload for payload in cluster.agent().get("payloads", ())}


def versions(cluster: Cluster) -> set[str]:
    return {payload["software"] for payload in payloads(cluster).values()}


def configuration(cluster: Cluster) -> dict[str, Any]:
    status: dict[str, Any] = cluster.agent().get("configuration", {"outcome": ""})
    return status


def test_nobody_is_trusted_unless_this_host_says_so(cluster: Cluster, key: Path, tmp_path: Path) -> None:
    digest = push(cluster, made(tmp_path, key, version("1.0.1")))
    done = cluster.command("upgrade", "start", digest, "--reason", "a test", check=False)
    assert done.returncode != 0
    assert "trusts no release key" in done.stderr
    assert versions(cluster) == {"0.1.0"}
    until(lambda: "courier" not in payloads(cluster), "the end of the courier")


def test_a_good_one_runs_and_is_kept(cluster: Cluster, key: Path, tmp_path: Path) -> None:
    trust(cluster, "agent", key)
    digest = push(cluster, made(tmp_path, key, version("1.0.2")))
    links = cluster.agent()
    with Poller(cluster) as poller:
        cluster.command("upgrade", "start", digest[:12], "--reason", "a test")
        until(lambda: versions(cluster) == {"1.0.2"}, "the new version everywhere")
        until(lambda: configuration(cluster)["outcome"] == "good", "the end of the probation")
        (Path(cluster.root) / "d1/new").touch()
        cluster.assert_right()
    assert "building" not in poller.states(), "the new watcher goes on where the old one stopped"
    after = cluster.agent()
    assert (after["logins"], after["losses"]) == (links["logins"], links["losses"])
    assert after["beats"] == after["seq"], "no heartbeat was missed"
    program = cluster.state / "agent" / "versions" / digest
    paths = Path(f"/proc/{cluster.pid('watcher.data')}/environ").read_bytes().decode().split("\0")
    assert f"PYTHONPATH={program}" in paths
    assert not list(program.parent.glob("*.part"))


@pytest.mark.parametrize(
    ("module", "text", "why"),
    [
        ("actors/scanner/__main__.py", "raise SystemExit('not today')", "does not run here"),
        ("actors/watcher/core.py", "import os, sys\n'--check' in sys.argv or os.abort()", "watcher.data"),
        ("actors/watcher/core.py", "import sys, time\n'--check' in sys.argv or time.sleep(10_000)", "watcher.data"),
    ],
    ids=["refused", "crashes", "hangs"],
)
def test_a_bad_one_is_left_again(cluster: Cluster, key: Path, tmp_path: Path, module: str, text: str, why: str) -> None:
    before = configuration(cluster)["good"]
    runs = versions(cluster)
    digest = push(cluster, made(tmp_path, key, broken("6.6.6", module, text)))
    with Poller(cluster):
        done = cluster.command("upgrade", "start", digest, "--reason", "a test", check=False)
        until(lambda: configuration(cluster)["outcome"] in ("failed", "refused"), f"the end of it: {done.stderr}")
        until(lambda: versions(cluster) == runs, "the version before")
        (Path(cluster.root) / f"d2/{digest}").touch()
        cluster.assert_right()
    status = configuration(cluster)
    assert why in status["error"]
    assert status["running"] == status["good"] == before
    folder = cluster.state / "agent" / "versions"
    until(lambda: not [name for name in os.listdir(folder) if name.startswith(digest)], "the end of what was unpacked")


def test_what_somebody_else_signed_is_not_taken(cluster: Cluster, tmp_path: Path) -> None:
    other = tmp_path / "other.key"
    cluster.command("bundle", "keygen", "--output", str(other))
    digest = push(cluster, made(tmp_path, other, version("6.6.6")))
    done = cluster.command("upgrade", "start", digest, "--reason", "a test", check=False)
    assert "it is not trusted" in done.stderr


def test_control_actors_may_die_while_it_is_fetched_and_tried(cluster: Cluster, key: Path, tmp_path: Path) -> None:
    digest = push(cluster, made(tmp_path, key, version("1.0.3")))
    cluster.command("upgrade", "start", digest, "--reason", "a test", "--wait", "0")
    for side in ("agent", "fusion", "agent"):
        pid = until(partial(control, cluster, side), "a control actor")
        os.kill(pid, signal.SIGKILL)
        until(partial(another, cluster, side, pid), "the next one")
    until(lambda: versions(cluster) == {"1.0.3"}, "the new version everywhere")
    until(lambda: configuration(cluster)["outcome"] == "good", "the end of the probation")


def control(cluster: Cluster, side: str) -> int:
    found = json.loads((cluster.state / side / "run" / "table.json").read_text())["control"]
    return int(found["pid"]) if found else 0


def another(cluster: Cluster, side: str, pid: int) -> bool:
    return control(cluster, side) not in (0, pid)


def test_and_back_to_what_is_installed(cluster: Cluster) -> None:
    with Poller(cluster):
        cluster.command("upgrade", "start", "installed", "--reason", "a test")
        until(lambda: versions(cluster) == {"0.1.0"}, "the installed version")
        cluster.assert_right()
    listed = json.loads(cluster.command("bundle", "list", "--json").stdout)
    for one in listed:
        cluster.command("bundle", "remove", one["digest"])
    assert json.loads(cluster.command("bundle", "list", "--json").stdout) == []
