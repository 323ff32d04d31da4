"""
Agents without payloads, many in one thread: the real link and session of each, which takes what Fusion desires at its
word and says at once what the test wants said of it.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import attrs
import trio
import zmq

from fustor.agent.link import Link
from fustor.runtime.document import DataSide, digest_of, parse, render
from fustor.runtime.keys import KeyPair
from fustor.runtime.sockets import ClientCurve
from protocols.messages import ConfigurationStatus, Document, HeartbeatReply, Order, OrderResult, WantDocument
from protocols.session import AgentSession

#: What an agent makes of a program: its name and the digest of the bundle → an outcome of ``protocols.desired``.
Verdict = Callable[[str, str], str]


@attrs.define(eq=False)
class Agent:
    """
    Attributes:
        name: its id.
        verdict: on programs.
        side: what it runs.
        status: what it says of its configuration.
        taken: digests of the bundles that it was given, in order; empty for what is installed.
    """

    name: str
    verdict: Verdict
    side: DataSide = attrs.field(factory=lambda: DataSide(sources=()))
    status: ConfigurationStatus = attrs.Factory(ConfigurationStatus)
    taken: list[str] = attrs.Factory(list)
    link: Link | None = None

    def confirmed(self, reply: HeartbeatReply) -> None:
        """Fusion says what it desires."""
        assert self.link is not None
        if reply.revision and reply.revision != self.status.attempted:
            if not reply.digest:
                self._take(reply.revision, "", DataSide(sources=()))
            else:
                self.link.send(WantDocument(agent=self.name, epoch=self.link.session.epoch, revision=reply.revision))

    def asked(self, message: Any) -> None:
        """Fusion wants to know what runs, or brings a document."""
        assert self.link is not None
        if isinstance(message, Order):
            self.link.send(
                OrderResult(
                    agent=self.name,
                    epoch=self.link.session.epoch,
                    id=message.id,
                    state="done",
                    text="",
                    data={"text": render(self.side)},
                )
            )
        elif isinstance(message, Document):
            self._take(message.revision, digest_of(message.text), parse(message.text))

    def _take(self, revision: int, digest: str, side: DataSide) -> None:
        assert self.link is not None
        if revision == self.status.attempted:
            return
        bundle = side.software.bundle
        outcome = self.verdict(self.name, bundle)
        self.taken.append(bundle)
        if outcome == "good":
            self.side = side
        self.status = attrs.evolve(  # type: ignore[misc]
            self.status,
            desired=revision,
            desired_digest=digest,
            attempted=revision,
            attempted_digest=digest,
            outcome=outcome,
            good=revision if outcome == "good" else self.status.good,
            error="it is bad" if outcome in ("failed", "refused") else "",
        )
        self.link.hurry()


class Fleet:
    """
    Args:
        endpoint: of Fusion's control actor.
        curve: what the owner of a key needs to talk to it.
        verdict: what agents make of programs.
    """

    def __init__(self, endpoint: str, curve: Callable[[KeyPair], ClientCurve], verdict: Verdict) -> None:
        self.agents: dict[str, Agent] = {}
        self._endpoint = endpoint
        self._curve = curve
        self._verdict = verdict
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._token: trio.lowlevel.TrioToken | None = None
        self._nursery: trio.Nursery | None = None
        self._scopes: dict[str, trio.CancelScope] = {}
        self._runs = threading.Event()
        self._thread = threading.Thread(target=trio.run, args=(self._run,), daemon=True)

    def come(self, pairs: Sequence[KeyPair]) -> None:
        """Agents with these keys log in; who was there before runs what it ran."""
        for pair in pairs:
            self._on_loop(partial(self._start, pair))

    def go(self, *names: str) -> None:
        """Agents fall silent."""
        for name in names:
            self._on_loop(self._scopes[name].cancel)

    def _on_loop(self, call: Callable[[], None]) -> None:
        assert self._token is not None
        trio.from_thread.run_sync(call, trio_token=self._token)

    def _start(self, pair: KeyPair) -> None:
        assert self._nursery is not None
        agent = self.agents.setdefault(pair.name, Agent(pair.name, self._verdict))
        session = AgentSession(
            agent=pair.name,
            epoch=time.time_ns() // 1_000_000,
            instance=pair.public[:16],
            software="fleet",
            sources=(),
            rng=random.Random(pair.public),
            configuration=lambda: agent.status,
        )
        curve, log = self._curve(pair), logging.getLogger(__name__)
        agent.link = Link(
            self._context,
            self._endpoint,
            lambda: curve,
            session,
            statuses=tuple,
            on_outcome=lambda outcome: None,
            log=log,
            on_request=agent.asked,
            on_reply=agent.confirmed,
        )
        self._scopes[pair.name] = trio.CancelScope()
        self._nursery.start_soon(self._live, agent.link, self._scopes[pair.name])

    @staticmethod
    async def _live(link: Link, scope: trio.CancelScope) -> None:
        with scope:
            await link.run()

    async def _run(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        async with trio.open_nursery() as self._nursery:
            self._runs.set()
            await trio.sleep_forever()

    def begin(self) -> None:
        """Nobody is there yet."""
        self._thread.start()
        assert self._runs.wait(30)

    def end(self) -> None:
        """Everybody falls silent."""
        assert self._nursery is not None
        self._on_loop(self._nursery.cancel_scope.cancel)
        self._thread.join(30)
        self._context.term()


@contextmanager
def fleet(endpoint: str, curve: Callable[[KeyPair], ClientCurve], verdict: Verdict) -> Iterator[Fleet]:
    """A fleet that is gone afterwards."""
    made = Fleet(endpoint, curve, verdict)
    made.begin()
    try:
        yield made
    finally:
        made.end()
