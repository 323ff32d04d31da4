"""
Fewer watches than directories: everything is listed and served all the same, said to be degraded, audited, and right
again as soon as the limit is raised.

The limit is that of a user namespace of the test's own (namespaces(7), /proc/sys/user), so nobody else meets it.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster import Cluster, Poller, until

_UNSHARE = ("unshare", "--user", "--map-root-user")
_LIMIT = "/proc/sys/user/max_inotify_watches"
_DIRECTORIES = 300


def _can_limit() -> bool:
    try:
        return subprocess.run([*_UNSHARE, "sh", "-c", f"echo 100 > {_LIMIT}"], capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


pytestmark = pytest.mark.skipif(not _can_limit(), reason="needs user namespaces with a watch limit of their own")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    root = folder / "root"
    for number in range(_DIRECTORIES):
        (root / f"d{number}").mkdir(parents=True)
        (root / f"d{number}/f").touch()
    limited = (*_UNSHARE, "sh", "-c", f'echo 100 > {_LIMIT}; exec "$@"', "sh")
    made = Cluster(root, folder / "state", wrapper=limited, source="fast_audit_seconds = 0.5\nfull_audit_seconds = 1")
    yield made
    made.down()


def _raise_limit(cluster: Cluster) -> None:
    inside = ["nsenter", "--user", "--preserve-credentials", "--target", str(cluster.pid("watcher.data"))]
    subprocess.run([*inside, "sh", "-c", f"echo 100000 > {_LIMIT}"], check=True)


def _source(cluster: Cluster) -> dict[str, Any]:
    found: dict[str, Any] = cluster.source()
    return found


def test_too_few_watches_and_enough_again(cluster: Cluster) -> None:
    with Poller(cluster) as poller:
        unwatched = _DIRECTORIES + 1 - 100
        until(lambda: _source(cluster)["counts"].get("unwatched") == unwatched, f"{unwatched} unwatched directories")
        cluster.becomes_right()
        source = _source(cluster)
        assert source["state"] == "degraded"
        assert any("max_user_watches" in reason for reason in source["reasons"])
        # No event tells of these: the audit does.
        for number in range(_DIRECTORIES):
            (Path(cluster.root) / f"d{number}/f").write_text("changed in place")
            (Path(cluster.root) / f"d{number}/new").touch()
        (Path(cluster.root) / "d7/new").unlink()
        os.rename(Path(cluster.root) / "d8", Path(cluster.root) / "renamed")
        cluster.becomes_right()
        assert _source(cluster)["state"] == "degraded"

        _raise_limit(cluster)
        cluster.assert_right()
        assert _source(cluster)["counts"]["unwatched"] == 0
        for number in range(10, _DIRECTORIES):
            (Path(cluster.root) / f"d{number}/f").write_text("changed again, with an event")
        cluster.assert_right()
    assert poller.answers[-1]["state"] == "live"
