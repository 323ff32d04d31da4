"""
Fusion's own payloads get another program, one after the other; bad ones are left again, and fs/tree answers throughout.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster import Cluster, Poller, until
from tests.support.programs import broken, made, push, trust, upgradable, version

LIMITS = """
[limits.probation]
settle_seconds = 25
probation_seconds = 0.5
[limits.shell]
stop_seconds = 10.0
"""
#: A drained worker cuts nobody, unless the machine is so busy that a new connection does not ask within three seconds.
RETRIES = 2
NAMES = {"query.0", "query.1", "view.main"}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with upgradable(tmp_path_factory.mktemp("cluster"), fusion=LIMITS) as made:
        yield made


@pytest.fixture(scope="module")
def key(cluster: Cluster) -> Path:
    return cluster.state.parent / "release.key"


def payloads(cluster: Cluster) -> dict[str, dict[str, Any]]:
    return {payload["name"]: payload for payload in cluster.admin("status")["payloads"]}


def versions(cluster: Cluster) -> dict[str, str]:
    return {name: payload["software"] for name, payload in payloads(cluster).items()}


def everywhere(number: str) -> dict[str, str]:
    return dict.fromkeys(NAMES, number)


def configuration(cluster: Cluster) -> dict[str, Any]:
    status: dict[str, Any] = cluster.admin("config", agent="fusion")["status"]
    return status


def upgrade(cluster: Cluster, digest: str) -> str:
    done = cluster.command("upgrade", "start", digest, "--agent", "fusion", "--reason", "a test", check=False)
    return str(done.stderr)


def test_it_trusts_nobody_unless_this_host_says_so(cluster: Cluster, key: Path, tmp_path: Path) -> None:
    digest = push(cluster, made(tmp_path, key, version("1.0.1")))
    assert "trusts no release key" in upgrade(cluster, digest)
    assert configuration(cluster)["outcome"] == "refused"
    until(lambda: versions(cluster) == everywhere("0.1.0"), "the installed program alone")


def test_a_good_one_comes_to_one_after_the_other(cluster: Cluster, key: Path, tmp_path: Path) -> None:
    trust(cluster, "fusion", key)
    digest = push(cluster, made(tmp_path, key, version("1.0.2")))
    with Poller(cluster, retries=RETRIES):
        assert "fusion: good" in upgrade(cluster, digest)
        assert versions(cluster) == everywhere("1.0.2")
        (Path(cluster.root) / "d1/new").touch()
        cluster.assert_right()
    told = [one["text"] for one in cluster.admin("events", side="fusion")["events"] if one["kind"] == "start"]
    assert configuration(cluster)["outcome"] == "good", told


@pytest.mark.parametrize(
    ("module", "text", "why"),
    [
        ("actors/query/__main__.py", "raise SystemExit('not today')", "does not run here"),
        ("actors/query/service.py", "import os, sys\n'--check' in sys.argv or os.abort()", "query.0"),
        ("actors/query/service.py", "import sys, time\n'--check' in sys.argv or time.sleep(10_000)", "query.0"),
        ("actors/view/service.py", "import os, sys\n'--check' in sys.argv or os.abort()", "view.main"),
    ],
    ids=["refused", "crashes", "hangs", "view"],
)
def test_a_bad_one_is_left_again(cluster: Cluster, key: Path, tmp_path: Path, module: str, text: str, why: str) -> None:
    before, runs = configuration(cluster)["good"], versions(cluster)
    others = {name: payload["pid"] for name, payload in payloads(cluster).items() if name not in ("query.0", why)}
    digest = push(cluster, made(tmp_path, key, broken("6.6.6", module, text)))
    with Poller(cluster, retries=RETRIES):
        said = upgrade(cluster, digest)
        until(lambda: versions(cluster) == runs, f"the program before: {said}")
        (Path(cluster.root) / f"d2/{digest}").touch()
        cluster.assert_right()
    status = configuration(cluster)
    assert why in status["error"]
    assert status["running"] == status["good"] == before
    if not why.startswith("view"):
        after = payloads(cluster)
        assert {name: after[name]["pid"] for name in others} == others, "nobody else was given it"
    folder = cluster.state / "fusion" / "versions"
    until(lambda: not [name for name in os.listdir(folder) if name.startswith(digest)], "the end of what was unpacked")


def test_a_killed_control_actor_goes_on_with_it(cluster: Cluster, key: Path, tmp_path: Path) -> None:
    digest = push(cluster, made(tmp_path, key, version("1.0.3")))
    cluster.command("upgrade", "start", digest, "--agent", "fusion", "--reason", "a test", "--wait", "0")
    with Poller(cluster, retries=RETRIES):
        for _ in range(3):
            pid = cluster.admin("status")["pid"]
            os.kill(pid, signal.SIGKILL)
            until(lambda gone=pid: cluster.admin("status")["pid"] != gone, "the next one")  # type: ignore[misc]
        until(lambda: versions(cluster) == everywhere("1.0.3"), "the new version everywhere")
        until(lambda: configuration(cluster)["outcome"] == "good", "the end of the probation")


def test_and_taken_back(cluster: Cluster) -> None:
    with Poller(cluster, retries=RETRIES):
        cluster.command("rollback", "--reason", "a test")
        until(lambda: versions(cluster) == everywhere("1.0.2"), "the version before")
        cluster.assert_right()
    assert "fusion: good" in upgrade(cluster, "installed")
    assert versions(cluster) == everywhere("0.1.0")
