"""The table of operations: who may do what, with which arguments. Over real sockets: ``test_control``."""

from __future__ import annotations

import logging
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import zmq

from fustor.fusion.admin import OPERATIONS, ROLES, Administration
from fustor.fusion.config import build
from fustor.runtime.keeper import Keeper
from fustor.runtime.shell import Shell
from fustor.runtime.zap import ZapCounts
from protocols.codec import encode
from protocols.errors import RequestError
from protocols.messages import AdminReply, Login
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
    yield Administration(
        build({"fusion": {"state": "/s"}}), session, shell, lambda: 12.5, ZapCounts(), {"logins": 1}, 2.5
    )
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
    assert [a["agent"] for a in administration.answer("observer", "agents", {})] == ["local"]
    assert [a["agent"] for a in administration.answer("observer", "agents", {"agent": "local"})] == ["local"]
    with pytest.raises(RequestError, match="local"):
        administration.answer("observer", "agents", {"agent": "other"})


@pytest.mark.parametrize("op", sorted(OPERATIONS))
async def test_every_operation_is_closed_to_other_roles(administration: Administration, op: str) -> None:
    for role in ("agent", "fusion", ""):
        with pytest.raises(RequestError, match="role"):
            administration.answer(role, op, {})
    assert OPERATIONS[op][0] <= ROLES


@pytest.mark.parametrize("op", ["stacks", "restart"])
async def test_orders_are_for_operators(administration: Administration, op: str) -> None:
    with pytest.raises(RequestError, match="operator is accepted"):
        administration.answer("observer", op, {"payload": "view.main"})
    with pytest.raises(RequestError, match="required"):
        administration.answer("operator", op, {})
    with pytest.raises(RequestError, match="name is accepted"):
        administration.answer("operator", op, {"payload": 5})
    with pytest.raises(RequestError, match="none is accepted"):
        administration.answer("operator", op, {"payload": "view.main"})


async def test_unknown_things_are_named(administration: Administration) -> None:
    with pytest.raises(RequestError, match=r"op = 'nix': one of ping, status"):
        administration.answer("operator", "nix", {})
    with pytest.raises(RequestError, match=r"colour.*arguments of ping: none"):
        administration.answer("operator", "ping", {"colour": "red"})
