"""
Fusion's control actor: the sockets of agents and of people, and the shell around Fusion's payloads.

Each socket has its own task behind a guard, so agents can't delay an operator, and neither can hurt the payloads. What
this module does not do: decide (the session and supervision tables do), or touch data.
"""

from __future__ import annotations

import logging
import math
import os
import time
from typing import Any

import attrs
import trio
import zmq

from fustor.fusion.admin import SLOW, Administration
from fustor.fusion.bundles import BundleStore
from fustor.fusion.config import FusionConfig
from fustor.fusion.desired import Desired
from fustor.fusion.events import Events
from fustor.fusion.listening import ADMIN, CONTROL
from fustor.fusion.looks import Looks
from fustor.fusion.orders import Orders
from fustor.fusion.payloads import agent_endpoints, bundle_folder
from fustor.fusion.program import FusionGround
from fustor.fusion.rollouts import Rollouts
from fustor.runtime.audit import Audit
from fustor.runtime.control import serve
from fustor.runtime.converging import Converging
from fustor.runtime.keeper import Keeper
from fustor.runtime.keys import AuthorizedKeys, KeyPair, load_secret
from fustor.runtime.mesh import MeshSocket, PeerGone
from fustor.runtime.pace import next_multiple
from fustor.runtime.renewing import Renewing
from fustor.runtime.shell import LIFELINE, Shell
from fustor.runtime.sockets import ServerCurve, open_socket
from fustor.runtime.zap import Connection, Fence, KeyWithdrawn, ZapCounts, credentials_of, serve_zap
from protocols.codec import CONTROL_LIMITS, decode, encode
from protocols.errors import MachineError, ProtocolError, RequestError, VersionError
from protocols.ladder import Rung
from protocols.looks import JOBS, Enquiry, Findings, Look, Looked
from protocols.messages import (
    AdminReply,
    AdminRequest,
    Chunk,
    Document,
    Fetch,
    Goodbye,
    Happenings,
    Heartbeat,
    HeartbeatReply,
    Login,
    LoginReply,
    Order,
    OrderResult,
    WantDocument,
)
from protocols.orders import FUSION, ROLES
from protocols.session import FusionSession, LinkState

_AGENTS = frozenset({"agent"})
#: What agents may say.
_OF_AGENTS = (Login, Heartbeat, Goodbye, Happenings, OrderResult, Chunk, WantDocument, Looked)
#: How often it is looked whether a key was withdrawn that is not heard of meanwhile.
KEYS_SECONDS = 0.5
#: Answers that need the disk, at a time.
SLOW_ANSWERS = 4


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
        self._fence = Fence(self._authorized, self.zap)
        #: Agent in session → its key, and the connection that it logged in by.
        self._keys: dict[str, tuple[str, Connection]] = {}
        #: Agents that speak another version of the protocol, of whom people know.
        self._foreign: set[str] = set()
        self.counters = dict.fromkeys(("logins", "heartbeats", "requests", "bad_messages", "unsent"), 0)
        endpoints = agent_endpoints(config, self._pair.public)
        section = config.fusion
        self.session = FusionSession(
            lambda agent: endpoints.get(agent, ()), section.heartbeat_seconds, section.heartbeats_per_second
        )
        state = config.fusion.state
        self.shell = Shell(
            self._context,
            keeper,
            log=log,
            policy=config.limits.shell,
            guardian_seconds=config.limits.guardian.silent_seconds,
            endpoint=lifeline,
            log_folder=os.path.join(state, "log"),
            holds=os.path.join(state, "holds.json"),
            quarantine=config.limits.quarantine,
            groups=config.limits.groups,
            events=config.limits.events,
            cases=os.path.join(state, "quarantine.json"),
            rungs=frozenset({Rung.CONFIGURATION}),
        )
        # Whoever follows goes on across our lives, so their numbers grow across them.
        self.events = Events(config.limits.events, last=time.time_ns() // 1_000_000)
        self._told = 0
        self.shell.on_news = self._hear_ourselves
        self.audit = Audit(os.path.join(state, "audit", "audit.jsonl"), config.limits.audit)
        self._agents_socket: MeshSocket | None = None
        self.bundles = BundleStore(bundle_folder(config), config.limits.bundles)
        ground = FusionGround(config, bundle=self.bundles.path, ask=lambda number: self.desired.ask(FUSION, number))
        self.renewing = Renewing(
            state,
            keeper,
            healthy=self._in_touch,
            faults=lambda: sum(self.shell.failures.values()),
            trial_seconds=config.limits.guardian.trial_seconds,
            proof_seconds=config.limits.guardian.proof_seconds,
            tell=lambda text, evidence: self.shell.tell("", "shell", text, evidence),
            logs=os.path.join(state, "log"),
            log=log,
        )
        self.program = Converging(ground, self.shell, self.renewing, log)
        self.shell.on_failed = self.program.failed
        self.shell.on_climbed = self.program.climbed
        self.desired = Desired(
            state,
            config.limits.configuration,
            self.session,
            self.audit,
            send=self._send_agent,
            own=self.program,
            has_bundle=self.bundles.has,
            log=log,
        )
        self.session.desired = self.desired.of
        self.orders = Orders(
            state,
            config.limits.orders,
            self.audit,
            self.session,
            self.shell,
            send=self._send_agent,
            describe=self._describe,
            log=log,
        )
        self.rollouts = Rollouts(
            state,
            self.session,
            self.desired,
            self.orders,
            has_bundle=self.bundles.has,
            program=self.program,
            tell=lambda text: self.shell.tell("", "rollout", text),
            log=log,
        )
        self.looks = Looks(
            config.limits.looks,
            {view.name: frozenset((s.agent, s.source) for s in view.sources) for view in config.views},
            pass_on=self._pass_on,
            tell=self.shell.say,
        )
        self.shell.on_look = self._hear_of_look
        self.administration = Administration(
            config,
            self.session,
            self.shell,
            trio.current_time,
            self.zap,
            self.counters,
            trio.current_time(),
            self.events,
            self.orders,
            self.desired,
            self.bundles,
            self.rollouts,
        )

    async def run(self) -> None:
        """Until SIGTERM; returns when the payloads are stopped."""
        self.program.begin()
        self.rollouts.begin()
        self.shell.set_desired(self.program.wanted())
        services = {
            "zap": self._serve_zap,
            "agents": self._serve_agents,
            "admin": self._serve_admin,
            "orders": self.orders.run,
            "keys": self._watch_keys,
            "configurations": self.desired.run,
            "program": self.program.run,
            "renewal": self.renewing.run,
            "rollouts": self.rollouts.run,
        }
        try:
            await serve(self._keeper, self.shell, services, log=self._log)
        finally:
            self.audit.close()
            self._context.term()

    def _hear_ourselves(self) -> None:
        for one in self.shell.story.after(self._told):
            self.events.add(FUSION, one)
        self._told = self.shell.story.last

    def _in_touch(self) -> bool:
        """An agent is in session, unless there is no key by which one could be."""
        in_session = any(link.state is LinkState.ONLINE for link in self.session.links.values())
        return in_session or not self._authorized.has_role("agent")

    def _describe(self) -> dict[str, Any]:
        return {
            "configuration": attrs.asdict(self.config),
            "counters": {
                **self.counters,
                **self.shell.counters,
                **self.orders.issuer.counters,
                **self.desired.counters,
                **self.looks.counters,
            },
            "failures": dict(self.shell.failures),
            "agents": [
                {"agent": link.agent, "link": link.state.value, "epoch": link.epoch, "rtt_us": link.rtt_us}
                for link in self.session.links.values()
            ],
        }

    def _open(self, name: str, endpoint: str, roles: frozenset[str]) -> MeshSocket:
        curve, held = ServerCurve(self._pair.secret, roles), self._keeper.listening.get(name)
        return MeshSocket(open_socket(self._context, zmq.ROUTER, bind=endpoint, curve=curve, held=held))

    async def _serve_zap(self) -> None:
        await serve_zap(self._context, self._authorized, _AGENTS | ROLES, counts=self.zap)

    async def _watch_keys(self) -> None:
        """End the sessions of keys that are withdrawn, also of agents that say nothing."""
        before: object = None
        while True:
            now = self._authorized.signature()
            if now != before:
                before = now
                for agent, (key, _) in list(self._keys.items()):
                    if not self._fence.holds("agent", agent, key):
                        self._revoked(agent)
            await next_multiple(KEYS_SECONDS)

    def _revoked(self, agent: str) -> None:
        """The key of an agent in session was withdrawn."""
        _, connection = self._keys.pop(agent)
        connection.end()
        if self.session.revoke(agent, trio.current_time()):
            text = "its key was revoked: its session is over"
            self._log.warning("session ended", extra={"agent": agent, "reason": text})
            self.shell.tell("", "side", f"agent {agent}: {text}")
            self.orders.note({"entry": "revoked", "target": agent, "text": text})

    # -- agents -----------------------------------------------------------------------------------------------------

    async def _serve_agents(self) -> None:
        socket = self._agents_socket = self._open(CONTROL, self.config.fusion.control, _AGENTS)
        try:
            while True:
                due = self.session.wake_at
                with trio.move_on_at(math.inf if due is None else due):
                    frames = await socket.receive_frames()
                    self._hear_agent(socket, frames)
                for link in self.session.tick(trio.current_time()):
                    self._log.warning("agent lost", extra={"agent": link.agent, "epoch": link.epoch})
                    self.shell.tell("", "side", f"agent {link.agent} lost, epoch {link.epoch}")
        finally:
            self._agents_socket = None
            socket.close()

    def _send_agent(self, agent: str, message: Order | Fetch | Document | Look) -> bool:
        if self._agents_socket is None or agent not in self._keys:
            return False
        if not self._fence.holds("agent", agent, self._keys[agent][0]):
            return False  # a withdrawn key is told nothing; whoever watches the keys ends its session
        return self._reply(self._agents_socket, self.session.links[agent].peer, encode(message))

    def _hear_agent(self, socket: MeshSocket, frames: list[zmq.Frame]) -> None:
        try:
            user = self._fence.user_of(frames[-1])
            message: Any = decode(frames[-1].bytes, *_OF_AGENTS)
        except KeyWithdrawn:
            _, agent, key = credentials_of(frames[-1])
            if agent in self._keys and self._keys[agent][0] == key:
                self._revoked(agent)
            return
        except VersionError as error:
            self.counters["bad_messages"] += 1
            self._not_understood(socket, frames, str(error))
            return
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
            if reply.outcome == "accepted":
                self._foreign.discard(message.agent)
                self._keys[message.agent] = credentials_of(frames[-1])[2], Connection.of(frames[-1])
                self.shell.tell("", "side", f"agent {message.agent} logged in, epoch {message.epoch}")
            self._log.info("login", extra=extra)
        elif isinstance(message, Heartbeat):
            self.counters["heartbeats"] += 1
            reply = self.session.heartbeat(peer, user, message, now)
        elif isinstance(message, Happenings):
            for one in self.session.happenings(peer, user, message):
                self.events.add(message.agent, one)
        elif isinstance(message, OrderResult | Chunk):
            if self.session.current(peer, user, message.agent, message.epoch) is not None:
                hear = self.orders.heard if isinstance(message, OrderResult) else self.orders.chunk
                hear(message.agent, message)  # type: ignore[arg-type]
        elif isinstance(message, Looked):
            if self.session.current(peer, user, message.agent, message.epoch) is not None:
                self.looks.heard(message.agent, message, now)
        elif isinstance(message, WantDocument):
            if self.session.current(peer, user, message.agent, message.epoch) is not None:
                self.desired.ask(message.agent, message.revision)
        else:
            self.session.goodbye(peer, user, message, now)
            self._log.info("goodbye", extra={"agent": message.agent[:64], "reason": message.reason[:200]})
        if reply is not None:
            self._reply(socket, peer, encode(reply))

    def _not_understood(self, socket: MeshSocket, frames: list[zmq.Frame], why: str) -> None:
        """An agent speaks another version of the protocol: it and people are told, people once."""
        _, agent, _ = credentials_of(frames[-1])
        if agent not in self._foreign:
            self._foreign.add(agent)
            text = f"agent {agent} is not understood: {why}"
            self._log.warning("agent not understood", extra={"agent": agent, "reason": why})
            self.shell.tell("", "side", text)
        self._reply(socket, frames[0].bytes, encode(LoginReply(outcome="refused", nonce="", epoch=0, reason=why)))

    # -- readers ----------------------------------------------------------------------------------------------------

    def _hear_of_look(self, name: str, message: Look | Looked | Enquiry) -> None:
        """A query worker wants a path looked at, or to know of looks and links."""
        now = trio.current_time()
        if isinstance(message, Look):
            self.looks.wanted(name, message, now)
        elif isinstance(message, Enquiry):
            rows = self.looks.rows(message.view, now) if message.what == JOBS else self._sessions(message.view, now)
            self.shell.say(name, Findings(request=message.request, rows=rows))

    def _pass_on(self, look: Look) -> bool:
        link = self.session.links.get(look.agent)
        if link is None or link.state is not LinkState.ONLINE:
            return False
        return self._send_agent(look.agent, attrs.evolve(look, epoch=link.epoch))  # type: ignore[misc]

    def _sessions(self, view: str, now: float) -> tuple[dict[str, Any], ...]:
        """The sources of a view, and the link with the agent of each."""
        sources = next((known.sources for known in self.config.views if known.name == view), ())
        rows = []
        for source in sources:
            link = self.session.links.get(source.agent)
            row: dict[str, Any] = {
                "agent": source.agent,
                "source": source.source,
                "mount": source.mount,
                "link": "never seen",
            }
            if link is not None:
                row |= {"link": link.state.value, "session_id": f"{link.agent}:{link.epoch}", "epoch": link.epoch}
                row |= {"since": now - link.since, "heard": now - link.heard_at, "software": link.software}
            rows.append(row)
        return tuple(rows)

    # -- people -----------------------------------------------------------------------------------------------------

    async def _serve_admin(self) -> None:
        socket = self._open(ADMIN, self.config.fusion.admin, ROLES)
        try:
            async with trio.open_nursery() as nursery:
                await self._answer_all(socket, nursery)
        finally:
            socket.close()

    async def _answer_all(self, socket: MeshSocket, nursery: trio.Nursery) -> None:
        under_way = trio.CapacityLimiter(SLOW_ANSWERS)
        while True:
            frames = await socket.receive_frames()
            try:
                role, name = self._fence.user_of(frames[-1])
                request = decode(frames[-1].bytes, AdminRequest)
            except ProtocolError as error:
                self.counters["bad_messages"] += 1
                self._log.debug("bad message of an administrator", extra={"error": str(error)})
                if isinstance(error, VersionError):
                    # In our version, which whoever asks does not understand: that says it all.
                    self._reply(socket, frames[0].bytes, encode(AdminReply(request="", ok=False, error=str(error))))
                continue
            self.counters["requests"] += 1
            peer = frames[0].bytes
            if request.op in SLOW:
                nursery.start_soon(self._answer_slowly, socket, peer, role, name, request, under_way)
            else:
                self._reply(socket, peer, self._answer(role, name, request))

    async def _answer_slowly(
        self,
        socket: MeshSocket,
        peer: bytes,
        role: str,
        name: str,
        request: AdminRequest,
        under_way: trio.CapacityLimiter,
    ) -> None:
        """What needs the disk; few at a time."""
        async with under_way:
            try:
                data = await self.administration.answer(role, request.op, request.args, by=name)
            except (RequestError, MachineError) as error:
                reply = encode(AdminReply(request=request.request, ok=False, error=str(error)))
            except Exception as error:
                reply = self._bug(request, error)
            else:
                reply = self._small(request, encode(AdminReply(request=request.request, ok=True, data=data)))
        self._reply(socket, peer, reply)

    def _answer(self, role: str, name: str, request: AdminRequest) -> bytes:
        try:
            data = self.administration.answer(role, request.op, request.args, by=name)
        except RequestError as error:
            return encode(AdminReply(request=request.request, ok=False, error=str(error)))
        except Exception as error:
            return self._bug(request, error)
        return self._small(request, encode(AdminReply(request=request.request, ok=True, data=data)))

    def _bug(self, request: AdminRequest, error: Exception) -> bytes:
        """In one operation: whoever asked is told, and everybody else is served on."""
        self._log.exception("operation failed", extra={"op": request.op})
        return encode(AdminReply(request=request.request, ok=False, error=f"failed by a bug: {error!r}"))

    @staticmethod
    def _small(request: AdminRequest, reply: bytes) -> bytes:
        if len(reply) > CONTROL_LIMITS.size:
            advice = f"the answer has {len(reply)} bytes, at most {CONTROL_LIMITS.size} are sent: ask about one agent"
            return encode(AdminReply(request=request.request, ok=False, error=advice))
        return reply

    def _reply(self, socket: MeshSocket, peer: bytes, frame: bytes) -> bool:
        try:
            socket.send_nowait([peer, frame])
        except (PeerGone, trio.WouldBlock):
            # It left, or does not read: a heartbeat or question will come again, or not.
            self.counters["unsent"] += 1
            return False
        return True
