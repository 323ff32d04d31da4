"""
Fusion's control actor: the sockets of agents and of people, and the shell around Fusion's payloads.

Each socket has its own task behind a guard, so agents can't delay an operator, and neither can hurt the payloads. What
this module does not do: decide (the session and supervision tables do), or touch data.
"""

from __future__ import annotations

import logging
import math
import os
from typing import Any

import trio
import zmq

from fustor.fusion.admin import ROLES, Administration
from fustor.fusion.config import FusionConfig
from fustor.fusion.payloads import agent_endpoints, payloads
from fustor.runtime.control import serve
from fustor.runtime.keeper import Keeper
from fustor.runtime.keys import AuthorizedKeys, KeyPair, load_secret
from fustor.runtime.mesh import MeshSocket, PeerGone
from fustor.runtime.shell import LIFELINE, Shell
from fustor.runtime.sockets import ServerCurve, open_socket
from fustor.runtime.zap import ZapCounts, serve_zap, user_of
from protocols.codec import CONTROL_LIMITS, decode, encode
from protocols.errors import ProtocolError, RequestError
from protocols.messages import AdminReply, AdminRequest, Goodbye, Heartbeat, HeartbeatReply, Login, LoginReply
from protocols.session import FusionSession

_AGENTS = frozenset({"agent"})


class FusionControl:
    """
    Args:
        config: effective.
        keeper: not running yet.
        log: for everything.
        lifeline: endpoint for payloads.
    """

    def __init__(self, config: FusionConfig, keeper: Keeper, log: logging.Logger, *, lifeline: str = LIFELINE) -> None:
        self.config = config
        self._keeper = keeper
        self._log = log
        keys = os.path.join(config.fusion.state, "keys")
        self._pair: KeyPair = load_secret(os.path.join(keys, "fusion.key"))
        self._authorized = AuthorizedKeys(os.path.join(keys, "authorized"))
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.zap = ZapCounts()
        self.counters = dict.fromkeys(("logins", "heartbeats", "requests", "bad_messages", "unsent"), 0)
        self.session = FusionSession(self._endpoints, config.fusion.heartbeat_seconds)
        self.shell = Shell(self._context, keeper, log=log, policy=config.limits.shell, endpoint=lifeline)
        self.administration = Administration(
            config, self.session, self.shell, trio.current_time, self.zap, self.counters, trio.current_time()
        )

    async def run(self) -> None:
        """Until SIGTERM; returns when the payloads are stopped."""
        self.shell.set_desired(payloads(self.config))
        services = {"zap": self._serve_zap, "agents": self._serve_agents, "admin": self._serve_admin}
        try:
            await serve(self._keeper, self.shell, services, log=self._log)
        finally:
            self._context.term()

    def _endpoints(self, agent: str) -> tuple[Any, ...]:
        return agent_endpoints(self.config, self._pair.public, agent)

    def _open(self, endpoint: str, roles: frozenset[str]) -> MeshSocket:
        curve = ServerCurve(self._pair.secret, roles)
        return MeshSocket(open_socket(self._context, zmq.ROUTER, bind=endpoint, curve=curve))

    async def _serve_zap(self) -> None:
        await serve_zap(self._context, self._authorized, _AGENTS | ROLES, counts=self.zap)

    # -- agents -----------------------------------------------------------------------------------------------------

    async def _serve_agents(self) -> None:
        socket = self._open(self.config.fusion.control, _AGENTS)
        try:
            while True:
                due = self.session.wake_at
                with trio.move_on_at(math.inf if due is None else due):
                    frames = await socket.receive_frames()
                    self._hear_agent(socket, frames)
                for link in self.session.tick(trio.current_time()):
                    self._log.warning("agent lost", extra={"agent": link.agent, "epoch": link.epoch})
        finally:
            socket.close()

    def _hear_agent(self, socket: MeshSocket, frames: list[zmq.Frame]) -> None:
        try:
            user = user_of(frames[-1])
            message: Any = decode(frames[-1].bytes, Login, Heartbeat, Goodbye)
        except ProtocolError as error:
            self.counters["bad_messages"] += 1
            self._log.debug("bad message of an agent", extra={"error": str(error)})
            return
        peer, now = frames[0].bytes, trio.current_time()
        reply: LoginReply | HeartbeatReply | None = None
        if isinstance(message, Login):
            self.counters["logins"] += 1
            reply = self.session.login(peer, user, message, now)
            extra = {"agent": message.agent[:64], "epoch": message.epoch, "outcome": reply.outcome}
            if reply.reason:
                extra["reason"] = reply.reason
            self._log.info("login", extra=extra)
        elif isinstance(message, Heartbeat):
            self.counters["heartbeats"] += 1
            reply = self.session.heartbeat(peer, user, message, now)
        else:
            self.session.goodbye(peer, user, message, now)
            self._log.info("goodbye", extra={"agent": message.agent[:64], "reason": message.reason[:200]})
        if reply is not None:
            self._reply(socket, peer, encode(reply))

    # -- people -----------------------------------------------------------------------------------------------------

    async def _serve_admin(self) -> None:
        socket = self._open(self.config.fusion.admin, ROLES)
        try:
            while True:
                frames = await socket.receive_frames()
                try:
                    role, name = user_of(frames[-1])
                    request = decode(frames[-1].bytes, AdminRequest)
                except ProtocolError as error:
                    self.counters["bad_messages"] += 1
                    self._log.debug("bad message of an administrator", extra={"error": str(error)})
                    continue
                self.counters["requests"] += 1
                if request.op not in ("ping", "status", "agents"):
                    self._log.info(
                        "order", extra={"by": name, "op": request.op[:64], "arguments": repr(request.args)[:200]}
                    )
                self._reply(socket, frames[0].bytes, self._answer(role, request))
        finally:
            socket.close()

    def _answer(self, role: str, request: AdminRequest) -> bytes:
        try:
            data = self.administration.answer(role, request.op, request.args)
        except RequestError as error:
            return encode(AdminReply(request=request.request, ok=False, error=str(error)))
        except Exception as error:
            # A bug in one operation: whoever asked is told, and everybody else is served on.
            self._log.exception("operation failed", extra={"op": request.op})
            return encode(AdminReply(request=request.request, ok=False, error=f"failed by a bug: {error!r}"))
        reply = encode(AdminReply(request=request.request, ok=True, data=data))
        if len(reply) > CONTROL_LIMITS.size:
            advice = f"the answer has {len(reply)} bytes, at most {CONTROL_LIMITS.size} are sent: ask about one agent"
            return encode(AdminReply(request=request.request, ok=False, error=advice))
        return reply

    def _reply(self, socket: MeshSocket, peer: bytes, frame: bytes) -> None:
        try:
            socket.send_nowait([peer, frame])
        except (PeerGone, trio.WouldBlock):
            # It left, or does not read: a heartbeat or question will come again, or not.
            self.counters["unsent"] += 1
