"""The table of operations: who may do what, with which arguments. Over real sockets: ``test_control``."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest
import zmq

from fustor.fusion.admin import OPERATIONS, SLOW, Administration
from fustor.fusion.bundles import BundleStore, BundleStoreLimits
from fustor.fusion.config import build
from fustor.fusion.desired import Desired
from fustor.fusion.events import Events
from fustor.fusion.orders import Orders
from fustor.fusion.program import FusionGround
from fustor.fusion.revisions import DesiredLimits
from fustor.fusion.rollouts import Rollouts
from fustor.runtime.audit import Audit
from fustor.runtime.converging import Converging
from fustor.runtime.keeper import Keeper
from fustor.runtime.renewing import Renewing
from fustor.runtime.shell import Shell
from fustor.runtime.zap import ZapCounts
from protocols.codec import CONTROL_LIMITS, encode
from protocols.errors import MachineError, RequestError
from protocols.messages import AdminReply, Happening, Login
from protocols.orders import ROLES, OrderPolicy
from protocols.session import FusionSession
from protocols.supervision import Policy


@pytest.fixture
async def administration(tmp_path: Path) -> AsyncIterator[Administration]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    shell = Shell(
        context, Keeper(ours), log=logging.getLogger("test"), policy=Policy(), endpoint=f"ipc://{tmp_path}/lifeline"
    )
    session = FusionSession(lambda agent: ())
    session.login(
        b"1", ("agent", "local"), Login(agent="local", epoch=7, nonce="n", software="0", sources=("data",)), 5.0
    )
    audit = Audit(str(tmp_path / "audit"))
    audit.append({"who": "ann"})
    events = Events()
    events.add("local", Happening(1, 5, "watcher.data", "exit", "exit 1", "stacks"))
    orders = Orders(
        str(tmp_path),
        OrderPolicy(),
        audit,
        session,
        shell,
        send=lambda agent, message: True,
        describe=dict,
        log=logging.getLogger("test"),
    )
    config = build({"fusion": {"state": "/s"}})
    ground = FusionGround(config, bundle=str, ask=lambda revision: None)
    program = Converging(ground, shell, cast(Renewing, None), logging.getLogger("test"))
    desired = Desired(
        str(tmp_path),
        DesiredLimits(),
        session,
        audit,
        send=lambda agent, message: True,
        own=program,
        has_bundle=lambda digest: False,
        log=logging.getLogger("test"),
    )
    bundles = BundleStore(str(tmp_path / "bundles"), BundleStoreLimits())
    rollouts = Rollouts(
        str(tmp_path),
        session,
        desired,
        orders,
        program=program,
        has_bundle=bundles.has,
        tell=lambda text: None,
        log=logging.getLogger("test"),
    )
    counters = {"logins": 1}
    yield Administration(
        config, session, shell, lambda: 12.5, ZapCounts(), counters, 2.5, events, orders, desired, bundles, rollouts
    )
    audit.close()
    shell.close()
    context.term()
    ours.close()
    theirs.close()


async def test_status_says_all_and_can_be_sent(administration: Administration) -> None:
    status = administration.answer("observer", "status", {})
    assert status["uptime"] == 10.0
    assert status["endpoints"]["http"] == "http://127.0.0.1:8101"
    assert status["endpoints"]["query"] == ["tcp://127.0.0.1:7720", "tcp://127.0.0.1:7721"]
    (agent,) = status["agents"]
    assert (agent["agent"], agent["link"], agent["epoch"], agent["heard"]) == ("local", "online", 7, 7.5)
    assert encode(AdminReply(request="r", ok=True, data=status))


async def test_one_agent_or_all(administration: Administration) -> None:
    assert [a["agent"] for a in administration.answer("observer", "agents", {})["agents"]] == ["local"]
    assert [a["agent"] for a in administration.answer("observer", "agents", {"agent": "local"})["agents"]] == ["local"]
    with pytest.raises(RequestError, match="local"):
        administration.answer("observer", "agents", {"agent": "other"})


async def test_a_fleet_is_told_in_pages_that_fit_into_a_message(administration: Administration) -> None:
    names = [f"a{number:04}" for number in range(3000)]
    for name in names:
        login = Login(agent=name, epoch=1, nonce="n", software="0" * 50, sources=("data",))
        administration.session.login(name.encode(), ("agent", name), login, 5.0)
    for op, key, expected in (("agents", "agents", names), ("payloads", "sides", ["fusion", *names])):
        found: list[str] = []
        after, pages = "", 0
        while pages == 0 or after:
            page = administration.answer("observer", op, {"after": after})
            assert len(encode(AdminReply(request="r", ok=True, data=page))) < CONTROL_LIMITS.size
            found += [one["agent"] for one in page[key]]
            after, pages = page["next"], pages + 1
        assert found == [*expected, "local"]
        assert pages > 2
    status = administration.answer("observer", "status", {})
    assert status["links"] == {"online": 3001}
    assert len(encode(AdminReply(request="r", ok=True, data=status))) < CONTROL_LIMITS.size
    with pytest.raises(RequestError, match=r"accepted: a0000, a0001, .*, …"):
        administration.answer("observer", "agents", {"agent": "other"})


@pytest.mark.parametrize("op", sorted(OPERATIONS))
async def test_every_operation_is_closed_to_other_roles(administration: Administration, op: str) -> None:
    for role in ("agent", "fusion", ""):
        with pytest.raises(RequestError, match="role"):
            administration.answer(role, op, {})
    assert OPERATIONS[op][0] <= ROLES


async def test_orders_are_for_those_who_act(administration: Administration) -> None:
    wanted = {"id": "0123456789", "target": "local", "kind": "restart", "payload": "watcher.data"}
    with pytest.raises(RequestError, match="deployer or operator is accepted"):
        administration.answer("observer", "order", wanted, by="eve")
    for missing in ("id", "target", "kind"):
        with pytest.raises(RequestError, match="required"):
            administration.answer("operator", "order", {k: v for k, v in wanted.items() if k != missing}, by="ann")
    with pytest.raises(RequestError, match="name is accepted"):
        administration.answer("operator", "order", {**wanted, "payload": 5}, by="ann")
    given = administration.answer("operator", "order", wanted, by="ann")
    assert (given["state"], given["final"], given["by"], given["number"]) == ("waiting", False, "ann", 1)
    assert administration.answer("observer", "order-state", {"id": "0123456789"}) == given
    assert [one["id"] for one in administration.answer("observer", "orders", {})] == ["0123456789"]
    with pytest.raises(RequestError, match="that was given"):
        administration.answer("observer", "order-state", {"id": "other"})


async def test_what_is_seen(administration: Administration) -> None:
    sides = administration.answer("observer", "payloads", {})["sides"]
    assert [side["agent"] for side in sides] == ["fusion", "local"]
    (side,) = administration.answer("observer", "payloads", {"agent": "local"})["sides"]
    assert side["agent"] == "local"
    (event,) = administration.answer("observer", "events", {"evidence": "yes"})["events"]
    assert (event["side"], event["payload"], event["evidence"]) == ("local", "watcher.data", "stacks")
    log = administration.answer("observer", "audit", {})
    assert ([entry["who"] for entry in log["entries"]], log["next"]) == (["ann"], 1)
    assert administration.answer("observer", "audit", {"after": "1"}) == {"entries": [], "next": 1}
    for op, field in (("events", "after"), ("audit", "after")):
        with pytest.raises(RequestError, match="whole number"):
            administration.answer("observer", op, {field: "-1"})


async def test_a_fetch_is_for_those_who_act(administration: Administration) -> None:
    with pytest.raises(RequestError, match="a diagnosis that is done"):
        await administration.answer("operator", "fetch", {"id": "x", "offset": "5"})
    with pytest.raises(RequestError, match="role"):
        administration.answer("observer", "fetch", {"id": "x"})


@pytest.mark.parametrize("op", ["config-push", "config-rollback", "config-unset"])
async def test_configurations_are_changed_by_deployers(administration: Administration, op: str) -> None:
    args = {"agent": "a", "reason": "r", "document": "", "revision": "1"}
    needed = {name: value for name, value in args.items() if name in OPERATIONS[op][1]}
    for role in ("observer", "operator"):
        with pytest.raises(RequestError, match="role deployer is accepted"):
            administration.answer(role, op, needed)
    with pytest.raises(RequestError, match="required"):
        administration.answer("deployer", op, {"agent": "a"}, by="ann")


async def test_what_needs_the_disk_is_awaitable(administration: Administration) -> None:
    for op in SLOW:
        needed = {name: "1" for name, default in OPERATIONS[op][1].items() if default is None}
        answer = administration.answer("deployer", op, needed, by="ann")
        with contextlib.suppress(RequestError, MachineError):
            await answer
