"""An agent whose key is revoked: nothing more is taken from it, and the tree says that it is not up to date."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.cluster import Cluster, until


def test_nothing_is_taken_from_a_revoked_key(tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    (root / "before").write_text("x")
    cluster = Cluster(root, tmp_path / "state")
    try:
        cluster.settled()
        assert cluster.command("keys", "revoke", "local").stdout == "agent local is shut out\n"
        (root / "later").write_text("x")
        until(lambda: cluster.tree(max_depth=0)["state"] == "stale", "a tree that says it is old")
        assert cluster.entries().keys() == {b"", b"before"}

        def link() -> dict[str, Any]:
            agent = cluster.agent()
            return agent if agent["link"] == "closed" else {}

        agent = until(link, "the end of its session")
        assert agent["farewell"] == "its key was revoked"
        assert "a key was withdrawn" in (cluster.state / "fusion" / "log" / "view.main.log").read_text()
    finally:
        cluster.down()
