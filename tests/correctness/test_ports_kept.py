"""Whoever of Fusion dies: nobody can take the port meanwhile, and who connects waits instead of being refused."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
from pathlib import Path

import pytest

from tests.support.cluster import Cluster, until


def addresses(cluster: Cluster) -> dict[str, tuple[str, int]]:
    """The guardian's listening sockets: name → address."""
    listen = json.loads((cluster.state / "fusion" / "run" / "table.json").read_text())["listen"]
    return {name: (host, port) for name, (host, port) in listen.items()}


def control(cluster: Cluster) -> int:
    """Pid of Fusion's control actor."""
    return int(json.loads((cluster.state / "fusion" / "run" / "table.json").read_text())["control"]["pid"])


def taken(address: tuple[str, int]) -> None:
    """Another process can't listen there, and a connection is accepted by the kernel."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with pytest.raises(OSError, match=os.strerror(errno.EADDRINUSE)):
            other.bind(address)
    socket.create_connection(address, 5).close()


@pytest.mark.parametrize(("name", "sockets"), [("view.main", ("data.main", "acks.main")), ("query.0", ("query.0",))])
def test_of_a_payload(cluster: Cluster, place: Path, name: str, sockets: tuple[str, ...]) -> None:
    listening = addresses(cluster)
    # A drained one is not started again before we say so.
    cluster.command("drain", f"fusion/{name}")
    until(lambda: cluster.payloads().get(name, {}).get("exit") is not None or name not in cluster.payloads(), name)
    for one in sockets:
        taken(listening[one])
    cluster.command("resume", f"fusion/{name}")
    (place / "new").touch()
    cluster.assert_right()


def test_of_the_control_actor(cluster: Cluster, place: Path) -> None:
    listening, pid = addresses(cluster), control(cluster)
    os.kill(pid, signal.SIGKILL)
    for name in ("control", "admin"):
        taken(listening[name])
    until(lambda: control(cluster) != pid, "another control actor")
    (place / "new").touch()
    cluster.assert_right()
    assert cluster.status()
