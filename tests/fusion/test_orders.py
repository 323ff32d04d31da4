"""Orders from a person at Fusion to any payload of any side: real guardians, control actors and payloads."""

from __future__ import annotations

import io
import json
import os
import secrets
import signal
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fustor.runtime.chain import verify
from protocols.orders import KINDS
from tests.support.sides import Sides, running, until

#: A syncer that ends by itself stays away until somebody says what shall be done.
AWAIT = '[limits.shell.after_exit]\nsyncer = "await"\n'
BOTH = [("local", "scanner.data.0"), ("fusion", "query.1")]


@pytest.fixture
def sides(tmp_path: Path) -> Iterator[Sides]:
    with running(tmp_path, agent='[deny]\norders = ["drain"]\n[limits.shell]\nstop_seconds = 5.0\n' + AWAIT) as both:
        yield both


def pids(sides: Sides, side: str) -> dict[str, int]:
    return (sides.fusion if side == "fusion" else sides.agent).pids()


def audit_of(sides: Sides, side: str) -> list[dict[str, Any]]:
    path = sides.folder / side / "audit" / "audit.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize(("side", "payload"), BOTH)
def test_restart_kill_pause_resume(sides: Sides, side: str, payload: str) -> None:
    before = pids(sides, side)
    done = sides.order("restart", side, payload)
    assert done["state"] == "done", done
    after = pids(sides, side)
    assert after.pop(payload) not in (0, before.pop(payload))
    assert after == before  # nobody else
    until(lambda: sides.payload(side, payload)["cause"] == "operator", "a heartbeat that says so")

    pid = pids(sides, side)[payload]
    done = sides.order("kill", side, payload, signal="9")
    assert (done["state"], done["data"]) == ("done", {"cause": "operator"}), done
    assert str(pid) in done["text"]
    until(lambda: pids(sides, side).get(payload, pid) != pid, "another process")
    until(sides.all_running, "everything again")

    pid = pids(sides, side)[payload]
    done = sides.order("pause", side, payload)
    assert done["state"] == "done", done
    assert Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T"
    until(lambda: sides.payload(side, payload)["state"] == "paused", "a heartbeat that says so")
    (sides.fusion if side == "fusion" else sides.agent).kill_control()
    until(lambda: sides.payload(side, payload).get("state") == "paused", "the pause, in the next life")
    done = sides.order("resume", side, payload)
    assert (done["state"], done["data"]) == ("done", {"pid": pid}), done
    until(sides.all_running, "everything again")
    assert pids(sides, side)[payload] == pid


def test_who_awaits_orders_stays_away_until_one_comes(sides: Sides) -> None:
    os.kill(sides.agent.pids()["syncer.data"], signal.SIGKILL)
    status = until(lambda: (s := sides.payload("local", "syncer.data"))["state"] == "awaiting" and s, "awaiting")
    assert (status["cause"], status["pid"]) == ("signal", 0)
    sides.agent.kill_control()
    until(lambda: sides.payload("local", "syncer.data").get("state") == "awaiting", "awaiting, in the next life")
    assert "syncer.data" not in sides.agent.pids()
    done = sides.order("release", "local", "syncer.data")
    assert done["state"] == "done", done
    until(sides.all_running, "everything again")


def test_looking_is_an_order_too(sides: Sides) -> None:
    for side, payload in BOTH:
        stacks = sides.order("stacks", side, payload)
        assert "most recent call first" in stacks["data"]["text"]
        log = sides.order("log", side, payload, lines="5")
        assert len(log["data"]["text"].splitlines()) == 5
    assert "most recent call first" in sides.order("stacks", "local", "control")["data"]["text"]
    assert "payload started" in sides.order("log", "local", "guardian", lines="1000")["data"]["text"]


def test_a_drained_payload_stays_away_until_resumed(sides: Sides) -> None:
    assert sides.order("drain", "fusion", "query.0")["state"] == "done"
    assert "query.0" not in sides.fusion.pids()
    last = sides.order("drain", "fusion", "query.1")
    assert last["state"] == "failed"
    assert "fs/tree must answer" in last["text"]
    assert "drained" in sides.order("restart", "fusion", "query.0")["text"]
    until(lambda: "query.0" in (sides.fusion.state / "holds.json").read_text(), "the drain on disk")
    sides.fusion.kill_control()
    until(lambda: sides.payload("fusion", "query.0").get("state") == "drained", "the drain, in the next life")
    assert sides.order("resume", "fusion", "query.0")["state"] == "done"
    assert "query.0" in sides.fusion.pids()


def test_what_an_agent_denies_nobody_can_order(sides: Sides) -> None:
    refused = sides.order("drain", "local", "watcher.data")
    assert refused["state"] == "refused"
    assert "denied on this host" in refused["text"]
    assert sides.payload("local", "watcher.data")["state"] == "running"


def test_wrong_orders_name_what_is_accepted(sides: Sides) -> None:
    def error(role: str = "operator", **args: str) -> str:
        given = {"id": secrets.token_hex(8), "target": "local", "kind": "restart", "payload": "watcher.data"}
        return sides.ask("order", role, **(given | args)).error

    assert "role deployer or operator is accepted, this key has role observer" in error("observer")
    assert "one of fusion, local is accepted" in error(target="other")
    assert f"one of {', '.join(KINDS)} is accepted" in error(kind="format")
    assert "one of 2, 3, 6, 9, 15 is accepted" in error(kind="kill", signal="19")
    assert "arguments of restart: none" in error(signal="9")
    assert "the name of a payload is accepted" in error(payload="")
    assert "seconds above 0" in error(ttl="nan")
    assert error("deployer") == ""

    def denied() -> list[str]:
        return [entry["by"] for entry in audit_of(sides, "fusion") if entry["entry"] == "denied"]

    until(lambda: len(denied()) == 6, "what was denied, in the log")
    assert set(denied()) == {"observer", "operator"}
    absent = sides.order("restart", "local", "watcher.other")
    assert absent["state"] == "failed"
    assert "watcher.data" in absent["text"]


def test_an_order_given_again_is_done_once_and_answered_again(sides: Sides) -> None:
    order_id = sides.give("restart", "local", "scanner.data.1")
    assert sides.outcome(order_id)["state"] == "done"
    pid = sides.agent.pids()["scanner.data.1"]
    again = sides.ask("order", id=order_id, target="local", kind="restart", payload="scanner.data.1")
    assert again.data["state"] == "done"
    assert sides.agent.pids()["scanner.data.1"] == pid
    # A Fusion that was started anew asks for what it does not know; the agent answers from its log.
    sides.fusion.kill_control()
    until(sides.all_running, "the session")
    assert sides.outcome(order_id)["state"] == "done"
    assert sides.agent.pids()["scanner.data.1"] == pid


def test_an_order_for_who_is_away_expires_and_is_never_done(sides: Sides) -> None:
    pid = sides.agent.pids()["watcher.data"]
    os.kill(sides.agent.process.pid, signal.SIGSTOP)  # type: ignore[union-attr]
    os.kill(sides.agent.control(), signal.SIGSTOP)
    try:
        order_id = sides.give("restart", "local", "watcher.data", ttl="0.5")
        until(lambda: sides.link()["link"] == "lost", "the loss of the agent")
    finally:
        os.kill(sides.agent.control(), signal.SIGCONT)
        os.kill(sides.agent.process.pid, signal.SIGCONT)  # type: ignore[union-attr]
    # It lies in the agent's socket by now, and is too old by the agent's own clock when it is read.
    assert sides.outcome(order_id)["state"] == "expired"
    until(sides.all_running, "the session")
    assert sides.agent.pids()["watcher.data"] == pid


def test_a_control_actor_that_dies_in_the_middle_finishes_it_in_its_next_life(sides: Sides) -> None:
    pid = sides.agent.pids()["scanner.data.0"]
    sides.trouble("scanner.data.0", "ignore")  # so that the restart takes a while
    order_id = sides.give("restart", "local", "scanner.data.0")
    until(lambda: sides.payload("local", "scanner.data.0")["state"] == "draining", "the middle of it")
    sides.agent.kill_control()
    sides.fusion.kill_control()
    done = sides.outcome(order_id)
    assert done["state"] == "done", done
    assert sides.agent.pids()["scanner.data.0"] != pid
    states = [entry["state"] for entry in audit_of(sides, "agent") if entry["id"] == order_id]
    assert states == ["begun", "done"]


def test_both_sides_write_down_who_ordered_what_and_the_chain_holds(sides: Sides) -> None:
    sides.order("restart", "local", "syncer.data")
    for side, entry, states in (
        ("fusion", "order", ["waiting", "done"]),
        ("agent", "performed", ["begun", "done"]),
    ):
        found = [e for e in audit_of(sides, side) if e["entry"] == entry]
        assert [e["state"] for e in found] == states
        assert {(e["by"], e["role"], e["target"], e["payload"]) for e in found} == {
            ("operator", "operator", "local", "syncer.data")
        }
        assert verify(str(sides.folder / side / "audit" / "audit.jsonl"))[1] == ""
    kept = sides.ask("audit", "observer").data["entries"]
    assert [e["state"] for e in kept] == ["waiting", "done"]


@pytest.mark.parametrize("side", ["local", "fusion"])
def test_a_diagnosis_is_fetched_in_pieces(sides: Sides, side: str) -> None:
    done = sides.order("diagnose", side)
    assert done["state"] == "done", done
    content = b""
    while True:
        piece = until(
            lambda: (p := sides.ask("fetch", id=done["id"], offset=str(len(content))).data)["total"] is not None and p,  # noqa: B023
            "a piece",
        )
        content += piece["data"]
        if len(content) == piece["total"]:
            break
    with zipfile.ZipFile(io.BytesIO(content)) as bundle:
        names = set(bundle.namelist())
        payload = "watcher.data" if side == "local" else "view.main"
        assert {"side.json", "payloads.json", "story.jsonl", "audit.jsonl", f"log/{payload}.log"} <= names
        assert b"most recent call first" in bundle.read(f"stacks/{payload}.txt")
        assert b"State:" in bundle.read(f"proc/{payload}.txt")
        assert b"starting" in bundle.read(f"supervision/{payload}.txt")
        assert json.loads(bundle.read("side.json"))["configuration"]
    assert not sides.ask("fetch", "observer", id=done["id"], offset="0").ok
