"""
The agent's control actor: a session with Fusion, and the shell around the payloads of the sources.

It works for days without Fusion: what Fusion said last is on disk. What this module does not do: decide (the session
and supervision tables do), or touch data.
"""

from __future__ import annotations

import logging
import os
import random
import secrets
from typing import Any

import attrs
import trio
import zmq

from fustor.agent.config import AgentConfig
from fustor.agent.desired import AgentGround
from fustor.agent.link import Link
from fustor.agent.memory import Memory
from fustor.agent.payloads import courier, payloads
from fustor.runtime.audit import Audit
from fustor.runtime.control import serve
from fustor.runtime.converging import Converging
from fustor.runtime.diagnosis import Diagnoses
from fustor.runtime.document import DataSide, render
from fustor.runtime.endpoint import parse_endpoint
from fustor.runtime.keeper import Keeper
from fustor.runtime.keys import KeyPair, load_public, load_secret
from fustor.runtime.payload import PayloadSpec
from fustor.runtime.performing import Executor
from fustor.runtime.renewing import Renewing, software
from fustor.runtime.shell import LIFELINE, Shell
from fustor.runtime.sockets import ClientCurve
from protocols.desired import Mark
from protocols.happenings import Teller
from protocols.ladder import Rung
from protocols.looks import REFUSED, Enquiry, Look, Looked
from protocols.messages import (
    CHUNK_BYTES,
    Chunk,
    Document,
    Endpoints,
    Fetch,
    Happenings,
    HeartbeatReply,
    Order,
    WantDocument,
)
from protocols.orders import Performer
from protocols.session import Accepted, AgentPolicy, AgentSession, AgentState, Refused, Superseded


class AgentControl:
    """
    Args:
        config: effective.
        keeper: not running yet.
        log: for everything.
        lifeline: endpoint for payloads.
        policy: pauses of the session.
    """

    def __init__(
        self,
        config: AgentConfig,
        keeper: Keeper,
        log: logging.Logger,
        *,
        lifeline: str = LIFELINE,
        policy: AgentPolicy | None = None,
    ) -> None:
        self.config = config
        self._keeper = keeper
        self._log = log
        self._pair: KeyPair = load_secret(os.path.join(config.agent.state, "keys", "agent.key"))
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._superseded = False
        self.memory = Memory(os.path.join(config.agent.state, "session.json"), log)
        self.memory.begin()
        state = config.agent.state
        self.shell = Shell(
            self._context,
            keeper,
            log=log,
            policy=config.limits.shell,
            guardian_seconds=config.limits.guardian.silent_seconds,
            endpoint=lifeline,
            log_folder=os.path.join(state, "log"),
            holds=os.path.join(state, "holds.json"),
            rungs=frozenset({Rung.CONFIGURATION}),
            quarantine=config.limits.quarantine,
            groups=config.limits.groups,
            events=config.limits.events,
            cases=os.path.join(state, "quarantine.json"),
        )
        ground = AgentGround(config, specs=self._specs, courier=self._courier, ask=self._want_document, log=log)
        limits = config.limits.guardian
        self.renewing = Renewing(
            state,
            keeper,
            healthy=lambda: self.link.session.state is AgentState.ONLINE,
            faults=lambda: sum(self.shell.failures.values()),
            trial_seconds=limits.trial_seconds,
            proof_seconds=limits.proof_seconds,
            tell=lambda text, evidence: self.shell.tell("", "shell", text, evidence),
            logs=os.path.join(state, "log"),
            log=log,
        )
        self.desired = Converging(ground, self.shell, self.renewing, log)
        self.shell.on_failed = self.desired.failed
        self.shell.on_climbed = self.desired.climbed
        self.teller = Teller(self.shell.story)
        self.shell.on_news = self._hear_shell
        self.shell.on_look = self._looked
        self.audit = Audit(os.path.join(state, "audit", "audit.jsonl"), config.limits.audit)
        self.diagnoses = Diagnoses(os.path.join(state, "diagnoses"), self.shell, self.audit, self._describe)
        self.executor = Executor(
            config.agent.id,
            Performer(frozenset(config.deny.orders), config.limits.orders),
            self.shell,
            self.audit,
            answer=self._answer,
            diagnose=self.diagnoses.make,
            log=log,
            configuration=lambda: render(self.desired.side),
        )
        self._fetches, self._fetched = trio.open_memory_channel[Fetch](4)
        session = AgentSession(
            agent=config.agent.id,
            epoch=self.memory.epoch,
            instance=secrets.token_hex(8),
            software=software(),
            sources=tuple([source.name for source in config.sources]),
            rng=random.Random(),
            policy=policy or AgentPolicy(),
            configuration=self.desired.status,
        )
        self.link = Link(
            self._context,
            config.agent.fusion,
            self._curve,
            session,
            statuses=self.shell.statuses,
            on_outcome=self._heed,
            log=log,
            on_request=self._ask,
            on_reply=self._confirmed,
        )

    async def run(self) -> None:
        """Until SIGTERM; returns when the payloads are stopped and Fusion was told."""
        self.desired.begin()
        self._set_desired()
        try:
            await serve(
                self._keeper,
                self.shell,
                {
                    "link": self.link.run,
                    "memory": self.memory.keep,
                    "orders": self.executor.run,
                    "configuration": self.desired.run,
                    "fetches": self._serve_fetches,
                    "renewal": self.renewing.run,
                },
                log=self._log,
                farewell=lambda: self.link.goodbye("stopped"),
            )
        finally:
            self.audit.close()
            self._context.term()

    # -- orders and news --------------------------------------------------------------------------------------------

    def _ask(self, message: Order | Fetch | Document | Look) -> None:
        """Fusion wants something, or brings it."""
        if isinstance(message, Look):
            self._look(message)
            return
        if isinstance(message, Document):
            self.desired.arrived(message)
            return
        if isinstance(message, Order):
            self.executor.take(message, self.link.session.age_of(message.beat, trio.current_time()))
            return
        try:
            self._fetches.send_nowait(message)
        except trio.WouldBlock:
            self.link.counters["unsent"] += 1  # Fusion asks again

    def _look(self, wanted: Look) -> None:
        """Somebody wants a path looked at: its watcher does it, if there is one that hears."""
        if self.shell.say(f"watcher.{wanted.source}", wanted):
            return
        known = {source.name for source in self.desired.side.sources}
        text = "its watcher does not run" if wanted.source in known else "there is no such source"
        self._looked(
            f"watcher.{wanted.source}",
            Looked(id=wanted.id, agent="", source=wanted.source, state=REFUSED, text=text),
        )

    def _looked(self, name: str, message: Look | Looked | Enquiry) -> None:
        """How far a look is; it is asked for again when this is lost."""
        if isinstance(message, Looked) and name == f"watcher.{message.source}":
            self.link.send(attrs.evolve(message, agent=self.config.agent.id, epoch=self.memory.epoch))  # type: ignore[misc]

    def _answer(self, order_id: str) -> None:
        self.link.send(self.executor.performer.result(order_id, self.config.agent.id, self.memory.epoch))

    def _hear_shell(self) -> None:
        """Something has happened to a payload: Fusion gets the news, and soon what is the case now."""
        self._tell()
        self.link.hurry()

    def _tell(self) -> None:
        """One message of news, small enough that a heartbeat behind it is not late."""
        before = self.teller.sent
        news = self.teller.due(CHUNK_BYTES)
        if news and not self.link.send(
            Happenings(agent=self.config.agent.id, epoch=self.memory.epoch, happenings=news)
        ):
            self.teller.sent = before

    def _confirmed(self, reply: HeartbeatReply) -> None:
        self.teller.confirm(reply.happenings)
        self._tell()
        self.desired.told(Mark(reply.revision, reply.digest))

    def _want_document(self, revision: int) -> None:
        """What is not answered is asked for again."""
        self.link.send(WantDocument(agent=self.config.agent.id, epoch=self.memory.epoch, revision=revision))

    async def _serve_fetches(self) -> None:
        async for wanted in self._fetched:
            total, data = await trio.to_thread.run_sync(self.diagnoses.piece, wanted.id, wanted.offset)
            agent, epoch = self.config.agent.id, self.memory.epoch
            self.link.send(Chunk(agent=agent, epoch=epoch, id=wanted.id, offset=wanted.offset, total=total, data=data))

    def _describe(self) -> dict[str, Any]:
        session = self.link.session
        return {
            "configuration": attrs.asdict(self.config),
            "data_side": attrs.asdict(self.desired.side),
            "desired": attrs.asdict(self.desired.status()),  # type: ignore[arg-type]
            "session": {
                "state": session.state.value,
                "epoch": session.epoch,
                "rtt_us": session.rtt_us,
                "logins": session.logins,
                "heartbeats": session.heartbeats,
            },
            "counters": {
                **self.shell.counters,
                **self.link.counters,
                **self.executor.performer.counters,
                **self.desired.counters,
            },
            "failures": dict(self.shell.failures),
        }

    # -- session ----------------------------------------------------------------------------------------------------

    def _curve(self) -> ClientCurve:
        key = self.config.agent.fusion_key or load_public(self.config.fusion_key_file).public
        return ClientCurve(key, self._pair.public, self._pair.secret)

    def _heed(self, outcome: Accepted | Superseded | Refused) -> None:
        """What follows from an answer of Fusion."""
        match outcome:
            case Accepted(endpoints):
                self._log.info("session accepted", extra={"epoch": self.memory.epoch, "endpoints": len(endpoints)})
                self.memory.told_endpoints([e for e in endpoints if self._usable(e)])
                self._superseded = False
            case Superseded(epoch, reason):
                self._log.error("superseded: nothing is sent any more", extra={"epoch": epoch, "reason": reason})
                self.memory.told_epoch(epoch)
                self._superseded = True
            case Refused(reason):
                self._log.error("refused by Fusion", extra={"reason": reason})
                return
        self._set_desired()

    def _usable(self, endpoints: Endpoints) -> bool:
        try:
            parse_endpoint(endpoints.data)
            parse_endpoint(endpoints.acks)
        except ValueError as error:
            self._log.error("unusable endpoints", extra={"source": endpoints.source[:64], "error": str(error)})
            return False
        return True

    def _specs(self, side: DataSide) -> list[PayloadSpec]:
        return payloads(self.config, side, self.memory.endpoints, superseded=self._superseded)

    def _courier(self, side: DataSide, digest: str) -> PayloadSpec | None:
        return courier(self.config, side, digest, self.memory.endpoints)

    def _set_desired(self) -> None:
        """Where the payloads' data goes, or whether it may, has changed; what they do has not."""
        self.desired.renew()
        self.shell.set_desired(self.desired.wanted())
