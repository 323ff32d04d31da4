"""The agent's control actor as shipped: sessions, fencing, and days without Fusion (some seconds of them)."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from fustor.runtime.sockets import open_socket
from protocols.codec import decode, encode
from protocols.messages import Login, LoginReply
from tests.support.sides import Sides, until


@pytest.fixture
def sides(tmp_path: Path) -> Iterator[Sides]:
    both = Sides(tmp_path)
    both.fusion.start()
    both.agent.start()
    until(both.all_running, "all payloads of both sides")
    yield both
    both.close()


def kept(sides: Sides) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((sides.agent.state / "session.json").read_text())
    return content


def login(sides: Sides, epoch: int) -> LoginReply:
    """Log in as the agent, with its own key, from somewhere else."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        with open_socket(
            context, zmq.DEALER, connect=sides.control_endpoint, curve=sides.curve(sides.agent_key)
        ) as sock:
            sock.sndtimeo = sock.rcvtimeo = 30_000
            sock.send(encode(Login(agent="local", epoch=epoch, nonce="n", software="x", instance="elsewhere")))
            return decode(sock.recv(), LoginReply)
    finally:
        context.term()


def test_a_killed_control_actor_is_replaced_adopts_and_has_a_later_epoch(sides: Sides) -> None:
    payloads, epoch = sides.agent.pids(), sides.link()["epoch"]
    assert len(payloads) == 4
    for life in range(1, 4):
        sides.agent.kill_control()
        wanted = epoch + life
        until(lambda wanted=wanted: sides.link()["epoch"] == wanted, "the session of the next life")  # type: ignore[misc]
        until(sides.all_running, "everything again")
        assert sides.agent.pids() == payloads
    assert all(payload["restarts"] == 0 for payload in sides.link()["payloads"])


def test_without_fusion_everything_goes_on_and_starts(sides: Sides) -> None:
    payloads = sides.agent.pids()
    assert sides.fusion.stop() == 0
    until(lambda: "Fusion does not answer" in sides.agent.log(), "the loss of Fusion")
    assert sides.agent.pids() == payloads
    os.kill(payloads["scanner.data.0"], signal.SIGKILL)
    until(lambda: sides.agent.pids().get("scanner.data.0", 0) not in (0, payloads["scanner.data.0"]), "a new scanner")
    assert sides.agent.stop() == 0
    sides.agent.start()
    until(lambda: set(sides.agent.pids()) == set(payloads), "all payloads, with the syncer, and no Fusion")
    sides.fusion.start()
    until(sides.all_running, "the session")


def test_a_later_session_elsewhere_stops_the_syncer_and_nothing_else(sides: Sides) -> None:
    before = sides.agent.pids()
    epoch = sides.link()["epoch"]
    assert login(sides, epoch + 10).outcome == "accepted"
    until(lambda: "syncer.data" not in sides.agent.pids(), "the end of the syncer")
    del before["syncer.data"]
    assert sides.agent.pids() == before
    assert "superseded" in sides.agent.log()
    until(lambda: kept(sides)["seen"] == epoch + 10, "the epoch that was told, on disk")
    # Whoever starts it again means it: the next life is above the other one.
    sides.agent.kill_control()
    until(lambda: sides.link()["epoch"] == epoch + 11, "the session of the next life")
    until(sides.all_running, "everything again")


def test_an_earlier_epoch_and_a_twin_are_superseded(sides: Sides) -> None:
    epoch = sides.link()["epoch"]
    assert login(sides, epoch - 1).outcome == "superseded"
    twin = login(sides, epoch)
    assert (twin.outcome, twin.epoch) == ("superseded", epoch)
    assert sides.link()["link"] == "online"


def test_the_syncer_is_stopped_last_and_fusion_is_told(sides: Sides) -> None:
    assert sides.agent.stop() == 0
    until(lambda: sides.link()["link"] == "closed", "the goodbye")
    lines = sides.agent.log().splitlines()
    ended = [line.split("payload=")[1].split()[0] for line in lines if "was=draining is=stopped" in line]
    assert ended[0] == "watcher.data"
    assert ended[-1] == "syncer.data"
    assert len(ended) == 4


def test_a_refused_configuration_is_reported(tmp_path: Path) -> None:
    sides = Sides(tmp_path)
    try:
        config = sides.agent.config.read_text()
        sides.agent.config.write_text(config.replace("[limits.scanner]\n", '[limits.scanner]\nbad = "x"\n'))
        sides.fusion.start()
        sides.agent.start()

        def refused() -> list[Any]:
            return [p for p in sides.link().get("payloads", ()) if p["state"] == "refused"]

        until(lambda: len(refused()) == 2, "refused scanners")
        assert "limits.bad = 'x': nothing is accepted" in refused()[0]["complaint"]
        assert refused()[0]["restarts"] == 0
    finally:
        sides.close()
