"""One Fustor per test module, on a directory of its own; tests work in folders below it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster import Cluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    root = folder / "root"
    root.mkdir()
    made = Cluster(root, folder / "state")
    yield made
    made.down()


@pytest.fixture
def place(cluster: Cluster, request: pytest.FixtureRequest) -> Path:
    """A new folder below the root."""
    folder = cluster.root / str(request.node.name)[:60]
    folder.mkdir()
    return folder


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """
    One for all tests that leave it as they found it. Everything is looked at again every few seconds, and who dies is
    started again at once.
    """
    folder = tmp_path_factory.mktemp("shared")
    root = folder / "root"
    root.mkdir()
    made = Cluster(
        root,
        folder / "state",
        source="fast_audit_seconds = 2\nfull_audit_seconds = 4",
        limits="[limits.shell.backoff]\ncap_seconds = 0.3",
        fusion="[limits.shell.backoff]\ncap_seconds = 0.3",
    )
    yield made
    made.down()
