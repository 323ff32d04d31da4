"""What can be wrong before anything runs: said by name, with what to do, and nothing is left running."""

from __future__ import annotations

import re
import socket
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from fustor.admin.processes import members
from fustor.admin.state import State
from tests.support.cluster import Cluster
from tests.support.ports import free_ports


@pytest.fixture
def stopped(tmp_path: Path) -> Iterator[Cluster]:
    """A prepared state folder in which nothing runs."""
    (tmp_path / "root").mkdir()
    made = Cluster(tmp_path / "root", tmp_path / "state")
    made.down()
    yield made
    made.down()


def refused(cluster: Cluster, *said: str) -> None:
    done = cluster.command("up", str(cluster.root), "--detach", check=False)
    assert done.returncode != 0
    text = " ".join(done.stderr.split())
    assert "Traceback" not in text
    for part in said:
        assert part in text, text
    assert not [side for side in State(cluster.state).sides if members(side)], "something still runs"


def append(cluster: Cluster, file: str, old: str, new: str) -> None:
    path = cluster.state / file
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def test_each_is_said_and_can_be_mended(stopped: Cluster) -> None:
    agent, fusion = (stopped.state / "agent.toml").read_text(), (stopped.state / "fusion.toml").read_text()

    append(stopped, "agent.toml", "exclude = [", 'exclude = ["fine", "[", ')
    refused(stopped, "exclude[1]", "'['")
    (stopped.state / "agent.toml").write_text(agent)

    append(stopped, "agent.toml", "scanners = 2", "scaners = 2")
    refused(stopped, "scaners", "scanners")
    (stopped.state / "agent.toml").write_text(agent + "\n[[[\n")
    refused(stopped, "agent.toml")
    (stopped.state / "agent.toml").write_text(agent)

    append(stopped, "fusion.toml", "query_workers = 2", "query_workers = 0")
    refused(stopped, "query_workers", "1 to 64")
    (stopped.state / "fusion.toml").write_text(fusion)

    secret = stopped.state / "agent/keys/agent.key"
    secret.chmod(0o644)
    refused(stopped, str(secret), "600")
    secret.chmod(0o600)

    content = secret.read_text()
    secret.write_text("no key at all")
    refused(stopped, str(secret))
    secret.write_text(content)

    stopped.up()
    stopped.assert_right()
    stopped.down()


def test_a_port_that_somebody_else_has(stopped: Cluster) -> None:
    file = stopped.state / "fusion.toml"
    # Without the comment the port is the operator's choice, and not to be chosen anew; the others stay `up`'s own.
    port = free_ports(1)
    file.write_text(re.sub(r"(?m)^http = .*$", f'http = "127.0.0.1:{port}"', file.read_text()))
    assert tomllib.loads(file.read_text())["fusion"]["http"] == f"127.0.0.1:{port}"
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", port))
        taken.listen()
        refused(stopped, str(port))
    stopped.up()
    stopped.down()


@pytest.mark.parametrize("kind", ["missing", "file"])
def test_a_root_that_is_none(tmp_path: Path, kind: str) -> None:
    cluster = Cluster.__new__(Cluster)
    cluster._wrapper = ()
    cluster.root, cluster.state = tmp_path / "root", tmp_path / "state"
    if kind == "file":
        cluster.root.touch()
    refused(cluster, "DIR", str(cluster.root)[-20:])
