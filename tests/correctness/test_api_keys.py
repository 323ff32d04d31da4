"""API keys as their users have them: made and revoked while Fusion answers, with nothing restarted."""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
from pathlib import Path

from tests.support.cluster import CHECKOUT, Cluster, until
from tests.support.ports import free_ports


def test_keys_are_made_used_and_revoked(tmp_path: Path) -> None:
    root = tmp_path / "data"
    (root / "in").mkdir(parents=True)
    (root / "in" / "file").write_text("x")
    (root / "out").write_text("x")
    cluster = Cluster(root, tmp_path / "state")

    def status(path: str, key: str = "") -> int:
        return cluster.get(f"/fs/tree?path={path}", {"X-API-Key": key} if key else {}).status

    try:
        cluster.settled()
        pids = {name: payload["pid"] for name, payload in cluster.payloads().items()}
        assert status("/") == 200
        limited = cluster.command("api-keys", "new", "reports", "--path", "/in").stdout.strip()
        # Each worker looks for itself.
        until(lambda: [status("/") for _ in range(8)] == [401] * 8, "everybody to need a key")
        until(lambda: [status("/in", limited) for _ in range(8)] == [200] * 8, "the key to open its path")
        assert status("/in/file", limited) == 200
        assert status("/", limited) == status("/out", limited) == 403
        refused = cluster.get("/fs/tree")
        assert (refused.json["field"], refused.headers["www-authenticate"][:9]) == ("X-API-Key", "X-API-Key")
        # Programs of this host go on seeing everything.
        assert json.loads(cluster.command("status", "--json").stdout)["tree"]["known"]
        cluster.up()
        cluster.command("api-keys", "revoke", "reports")
        until(lambda: [status("/in", limited) for _ in range(8)] == [401] * 8, "the key to open nothing")
        assert status("/") == 401
        assert {name: payload["pid"] for name, payload in cluster.payloads().items()} == pids
    finally:
        cluster.down()


def test_a_tree_is_not_shown_to_a_network_by_mistake(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    port, where = free_ports(1), ("--state", str(tmp_path / "state"))

    def fustor(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(CHECKOUT / "bin" / "fustor"), *arguments, *where]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    up = ("up", str(tmp_path / "data"), "--detach", "--http", f"0.0.0.0:{port}")
    refused = fustor(*up)
    assert refused.returncode == 1
    assert "fustor api-keys new" in refused.stderr
    key = fustor("api-keys", "new", "ann").stdout.strip()
    try:
        assert fustor(*up).returncode == 0

        def status(headers: dict[str, str]) -> int:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            connection.request("GET", "/fs/tree", headers=headers)
            with contextlib.closing(connection):
                return connection.getresponse().status

        assert (status({}), status({"X-API-Key": key})) == (401, 200)
    finally:
        fustor("down")
