"""Fusion's control actor as shipped: real guardians, real sockets, real kills."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.sides import Sides, until


@pytest.fixture
def sides(tmp_path: Path) -> Iterator[Sides]:
    both = Sides(tmp_path)
    both.fusion.start()
    yield both
    both.close()


@pytest.fixture
def together(sides: Sides) -> Sides:
    sides.agent.start()
    until(sides.all_running, "all payloads of both sides")
    return sides


def test_an_agent_logs_in_and_its_heartbeats_are_counted(together: Sides) -> None:
    first = together.link()
    assert (first["link"], first["logins"], first["sources"]) == ("online", 1, ["data"])
    then = until(lambda: (x := together.link())["heartbeats"] > first["heartbeats"] + 3 and x, "more heartbeats")
    assert then["logins"] == 1
    assert 0 < then["rtt_us"] < 60_000_000
    names = [payload["name"] for payload in then["payloads"]]
    assert names == ["scanner.data.0", "scanner.data.1", "syncer.data", "watcher.data"]


def test_a_killed_control_actor_is_replaced_and_adopts(together: Sides) -> None:
    payloads = together.fusion.pids()
    epoch = together.link()["epoch"]
    for _ in range(3):
        together.fusion.kill_control()
        until(together.all_running, "everything again")
        assert together.fusion.pids() == payloads
    assert together.status()["counters"]["adopted"] == 3
    assert all(payload["restarts"] == 0 for payload in together.status()["payloads"])
    assert together.link()["epoch"] == epoch


def test_a_killed_payload_is_started_again(together: Sides) -> None:
    before = together.fusion.pids()
    os.kill(before["view.main"], signal.SIGKILL)
    view = until(
        lambda: (v := together.status()["payloads"][2])["restarts"] == 1 and v["state"] == "running" and v,
        "another view",
    )
    assert view["last_exit"] == "signal 9 (SIGKILL)"
    after = together.fusion.pids()
    assert after["view.main"] != before["view.main"]
    assert after["query.0"] == before["query.0"]


def test_an_unknown_key_is_refused_and_let_in_once_it_is_known(tmp_path: Path) -> None:
    sides = Sides(tmp_path, authorized=False)
    try:
        sides.fusion.start()
        sides.agent.start()
        until(lambda: "unknown key" in sides.fusion.log(), "a refused connection")
        until(lambda: len(sides.agent.pids()) == 3, "the payloads that need no Fusion")
        assert sides.link() == {}
        assert sides.status()["counters"]["zap_refused"] > 0
        sides.authorize(sides.agent_key)
        until(sides.all_running, "the session")
    finally:
        sides.close()


def test_a_revoked_key_ends_its_session_at_once(together: Sides) -> None:
    allowed = together.fusion.state / "keys" / "authorized" / "agent-local.pub"
    kept = allowed.read_bytes()
    allowed.unlink()
    link = until(lambda: (x := together.link())["link"] == "closed" and x, "the end of the session")
    assert link["farewell"] == "its key was revoked"
    # It is not only ignored: its connection is closed, and another one is refused.
    until(lambda: together.status()["counters"]["zap_refused"] > 0, "a refused connection")
    refused = together.ask(
        "order", id="order-to-nobody", target="local", kind="restart", payload="watcher.data", ttl="0.5"
    )
    assert refused.ok, refused.error
    assert together.outcome("order-to-nobody")["state"] == "expired"
    log = (together.fusion.state / "audit" / "audit.jsonl").read_text()
    assert '"entry":"revoked","target":"local"' in log
    allowed.write_bytes(kept)
    until(together.all_running, "the session again")


def test_operations_need_the_role_for_them(sides: Sides) -> None:
    assert sides.ask("ping", "observer").data == {"pong": True}
    unknown = sides.ask("fix-everything")
    assert not unknown.ok
    assert "ping, status, agents, payloads" in unknown.error
    assert not sides.ask("order").ok


def test_stopping_leaves_nothing_running(together: Sides) -> None:
    pids = [*together.fusion.pids().values(), together.fusion.control()]
    assert together.fusion.stop() == 0
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    assert len(together.agent.pids()) == 4  # the agent works on


def test_a_frozen_control_actor_is_replaced_and_the_payloads_adopted(sides: Sides) -> None:
    before = until(lambda: len(p := sides.fusion.pids()) == 3 and p, "payloads")
    os.kill(sides.fusion.control(), signal.SIGSTOP)
    until(lambda: sides.fusion.log("guardian").count("silent") == 1, "the guardian's verdict")
    until(lambda: all(p["state"] == "running" for p in sides.status()["payloads"]), "running payloads")
    assert sides.fusion.pids() == before
