"""
The session between an agent and Fusion: both ends, each with one table.

Agent::

    idle ──start──► logging-in ──accepted──► online ──► (3 intervals without a reply, or "log in again")
                      ▲   ▲  │                                  │
                      │   │  ├── refused ────► refused ─────────┤  each with its own pause, spread by jitter
                      │   │  └── superseded ─► superseded ──────┤
                      │   └────── tick ◄───── away ◄────────────┘
                      └ (any state ──stop──► closed)

Fusion, per agent: ``online``, ``lost`` (3 intervals without a heartbeat), ``closed`` (it said goodbye).

Rules:

- An agent is the name that its CURVE key carries (user id ``agent:<name>``). Any other claim is refused and counted.
- The session epoch grows with every start of an agent's control actor. A lower one is told ``superseded``. Two
  processes with one epoch (a copied state folder) are told apart by their ``instance``: while the first is heard, the
  second is superseded.
- A superseded agent sends no data, remembers the epoch it was told (so that its next start is above it), and goes on
  asking, slowly.
- Fusion dictates the interval of heartbeats, and makes it longer for a large fleet.

What this module does not do: send, receive, read a clock, or keep anything on disk. ``now`` is in seconds of a
monotonic clock. Messages that mean nothing in a state are counted and dropped.
"""

from __future__ import annotations

import enum
import heapq
import math
import random
from collections import deque
from collections.abc import Callable, Iterable
from typing import TypeAlias

import attrs

from protocols.bounds import positive
from protocols.happenings import Told
from protocols.messages import (
    ConfigurationStatus,
    Endpoints,
    Goodbye,
    Happening,
    Happenings,
    Heartbeat,
    HeartbeatReply,
    Login,
    LoginReply,
    PayloadStatus,
)
from protocols.restart import Backoff, BackoffPolicy

#: A peer that was not heard for this many intervals is lost.
MISSED_INTERVALS = 3
#: Share of an interval in which more news may come before a hurried heartbeat takes it.
HURRY = 0.1
#: Heartbeats of which is known when they were sent: an order that names an older one is too old.
REMEMBERED_HEARTBEATS = 256
#: Bounds of the interval between heartbeats, in milliseconds; dictated and believed.
SHORTEST_HEARTBEAT_MS, LONGEST_HEARTBEAT_MS = 50, 600_000


def _bounded(milliseconds: int) -> int:
    return min(max(milliseconds, SHORTEST_HEARTBEAT_MS), LONGEST_HEARTBEAT_MS)


# -- effects of the agent's side ------------------------------------------------------------------------------------


@attrs.frozen
class Send:
    """Send this message."""

    message: Login | Heartbeat | Goodbye


@attrs.frozen
class Reconnect:
    """Close the connection and open a new one: this one is not trusted any more."""


@attrs.frozen
class Accepted:
    """The session holds; where the sources send their data (every time that changes)."""

    endpoints: tuple[Endpoints, ...]


@attrs.frozen
class Superseded:
    """A later session of this agent exists: send no data. ``epoch``: the one that holds, to be remembered."""

    epoch: int
    reason: str


@attrs.frozen
class Refused:
    """Fusion does not want this agent; ``reason`` says why. It is asked again later."""

    reason: str


AgentEffect: TypeAlias = Send | Reconnect | Accepted | Superseded | Refused

# -- the agent's side -----------------------------------------------------------------------------------------------


class AgentState(enum.Enum):
    """Where an agent's session is. The value is what people see."""

    IDLE = "idle"
    LOGGING_IN = "logging-in"
    ONLINE = "online"
    AWAY = "away"
    REFUSED = "refused"
    SUPERSEDED = "superseded"
    CLOSED = "closed"


@attrs.frozen
class AgentPolicy:
    """
    Pauses of an agent's session, in seconds.

    Attributes:
        reply_seconds: how long a reply to a login is waited for.
        retry: pauses between logins while Fusion can't be reached or refuses.
        superseded_seconds: between logins while a later session exists.
    """

    reply_seconds: float = attrs.field(default=3.0, validator=positive)
    retry: BackoffPolicy = attrs.field(factory=lambda: BackoffPolicy(first_seconds=0.2, cap_seconds=3.0, jitter=0.5))
    superseded_seconds: float = attrs.field(default=60.0, validator=positive)


@attrs.define(eq=False)
class AgentSession:
    """
    The agent's end.

    Attributes:
        agent: its id.
        epoch: of this process; fixed.
        instance: of this process, drawn at random.
        software: version of the program.
        sources: names.
        rng: for jitter and nonces.
        state: see the module.
        wake_at: when :meth:`tick` is wanted; None for never.
        rtt_us: round trip of the last answered heartbeat; 0 for unknown.
        dropped: messages that meant nothing.
        logins, heartbeats, replies: how many were sent, sent and received.
        endpoints: the last ones told.
        configuration: asked for what a heartbeat says of it.
    """

    agent: str
    epoch: int
    instance: str
    software: str
    sources: tuple[str, ...]
    rng: random.Random
    policy: AgentPolicy = attrs.field(factory=AgentPolicy)
    state: AgentState = AgentState.IDLE
    wake_at: float | None = None
    rtt_us: int = 0
    dropped: int = 0
    logins: int = 0
    heartbeats: int = 0
    replies: int = 0
    endpoints: tuple[Endpoints, ...] = ()
    configuration: Callable[[], ConfigurationStatus] = ConfigurationStatus
    _nonce: str = ""
    _interval: float = 1.0
    _heard_at: float = 0.0
    _online_since: float = 0.0
    #: The next heartbeat comes early; the last one did.
    _hurrying: bool = False
    _hurried: bool = False
    #: Heartbeats without a reply yet: (seq, when sent); no more than fit into the time that makes a link lost.
    _pending: deque[tuple[int, float]] = attrs.field(factory=lambda: deque(maxlen=16))
    #: The last heartbeats: seq → when sent.
    _sent: deque[tuple[int, float]] = attrs.field(factory=lambda: deque(maxlen=REMEMBERED_HEARTBEATS))
    _backoff: Backoff = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._backoff = Backoff(self.policy.retry, self.rng)

    def age_of(self, seq: int, now: float) -> float:
        """Seconds since the heartbeat ``seq`` was sent; infinite when that is not known (any more)."""
        return next((now - at for number, at in self._sent if number == seq), math.inf)

    def start(self, now: float) -> list[AgentEffect]:
        """Log in for the first time. Called once."""
        if self.state is not AgentState.IDLE:
            raise RuntimeError(f"started in state {self.state.value}")
        return self._login(now)

    def stop(self, reason: str, now: float) -> list[AgentEffect]:
        """Say goodbye; nothing is sent after it."""
        known = self.state in (AgentState.ONLINE, AgentState.LOGGING_IN)
        self.state, self.wake_at = AgentState.CLOSED, None
        return [Send(Goodbye(agent=self.agent, epoch=self.epoch, reason=reason))] if known else []

    def hurry(self, now: float) -> None:
        """
        What heartbeats carry has changed: the next one is due soon instead of in time, unless the last one was hurried.
        """
        if self.state is AgentState.ONLINE and self.wake_at is not None and not self._hurried:
            self._hurrying = True
            self.wake_at = min(self.wake_at, now + HURRY * self._interval)

    def tick(self, now: float, payloads: Callable[[], tuple[PayloadStatus, ...]] = tuple) -> list[AgentEffect]:
        """Time has passed. ``payloads`` is asked for the status that a heartbeat carries, when one is due."""
        if self.wake_at is None or now < self.wake_at:
            return []
        return AGENT_TICKS[self.state](self, now, payloads)

    def receive(self, message: LoginReply | HeartbeatReply, now: float) -> list[AgentEffect]:
        """A message of Fusion."""
        return AGENT_REPLIES[self.state, type(message)](self, message, now)

    # -- ticks ------------------------------------------------------------------------------------------------------

    def _tick_nothing(self, now: float, payloads: Callable[[], tuple[PayloadStatus, ...]]) -> list[AgentEffect]:
        return []

    def _tick_login(self, now: float, payloads: Callable[[], tuple[PayloadStatus, ...]]) -> list[AgentEffect]:
        return self._login(now)

    def _tick_unanswered(self, now: float, payloads: Callable[[], tuple[PayloadStatus, ...]]) -> list[AgentEffect]:
        return self._leave(AgentState.AWAY, self._backoff.failed(), now, reconnect=True)

    def _tick_online(self, now: float, payloads: Callable[[], tuple[PayloadStatus, ...]]) -> list[AgentEffect]:
        if now - self._heard_at >= MISSED_INTERVALS * self._interval:
            # Everybody lost the same Fusion at the same time: do not come back together.
            return self._leave(AgentState.AWAY, self.rng.uniform(0, self._interval), now, reconnect=True)
        self.heartbeats += 1
        self._hurried = self._hurrying
        self._hurrying = False
        self._pending.append((self.heartbeats, now))
        self._sent.append((self.heartbeats, now))
        self.wake_at = now + self._interval
        beat = Heartbeat(
            agent=self.agent,
            epoch=self.epoch,
            seq=self.heartbeats,
            rtt_us=self.rtt_us,
            payloads=payloads(),
            configuration=self.configuration(),
        )
        return [Send(beat)]

    # -- replies ----------------------------------------------------------------------------------------------------

    def _drop(self, message: LoginReply | HeartbeatReply, now: float) -> list[AgentEffect]:
        self.dropped += 1
        return []

    def _logged_in(self, message: LoginReply, now: float) -> list[AgentEffect]:
        if message.nonce != self._nonce:
            return self._drop(message, now)
        if message.outcome == "accepted":
            self.state = AgentState.ONLINE
            self._heard_at = self._online_since = now
            self._pending.clear()
            self._dictate(message.heartbeat_ms)
            # The first heartbeat at once: it brings the status of the payloads.
            self.wake_at = now
            self._hurrying = self._hurried = False
            self.endpoints = message.endpoints
            return [Accepted(message.endpoints)]
        if message.outcome == "superseded":
            return self._superseded(message.epoch, message.reason, now)
        pause = self._backoff.failed()
        return [
            *self._leave(AgentState.REFUSED, pause, now, reconnect=False),
            Refused(message.reason or message.outcome),
        ]

    def _beaten(self, message: HeartbeatReply, now: float) -> list[AgentEffect]:
        sent = next((at for seq, at in self._pending if seq == message.seq), None)
        if sent is None:
            return self._drop(message, now)
        while self._pending and self._pending[0][0] <= message.seq:
            self._pending.popleft()
        self.replies += 1
        self._heard_at = now
        self.rtt_us = max(1, round((now - sent) * 1e6))
        if message.outcome == "superseded":
            return self._superseded(message.epoch, "", now)
        if message.outcome != "ok":
            # Fusion was started anew and asks the whole fleet.
            return self._leave(AgentState.AWAY, self.rng.uniform(0, self._interval), now, reconnect=False)
        if now - self._online_since >= self.policy.retry.stable_seconds:
            self._backoff.reset()
        self._dictate(message.heartbeat_ms)
        if message.endpoints == self.endpoints:
            return []
        self.endpoints = message.endpoints
        return [Accepted(message.endpoints)]

    # -- parts ------------------------------------------------------------------------------------------------------

    def _login(self, now: float) -> list[AgentEffect]:
        self.logins += 1
        self._nonce = f"{self.rng.getrandbits(64):016x}"
        self.state = AgentState.LOGGING_IN
        self.wake_at = now + self.policy.reply_seconds
        return [
            Send(
                Login(
                    agent=self.agent,
                    epoch=self.epoch,
                    nonce=self._nonce,
                    software=self.software,
                    sources=self.sources,
                    instance=self.instance,
                )
            )
        ]

    def _leave(self, state: AgentState, pause: float, now: float, *, reconnect: bool) -> list[AgentEffect]:
        self.state = state
        self.wake_at = now + pause
        self.rtt_us = 0
        return [Reconnect()] if reconnect else []

    def _superseded(self, epoch: int, reason: str, now: float) -> list[AgentEffect]:
        pause = self.policy.superseded_seconds * self.rng.uniform(0.75, 1.25)
        return [
            *self._leave(AgentState.SUPERSEDED, pause, now, reconnect=False),
            Superseded(epoch, reason or f"session epoch {epoch} holds, ours is {self.epoch}"),
        ]

    def _dictate(self, milliseconds: int) -> None:
        """Follow the dictated interval, within reason."""
        self._interval = _bounded(milliseconds) / 1000


#: What a wake-up means in each state.
AGENT_TICKS: dict[AgentState, Callable[..., list[AgentEffect]]] = {
    AgentState.IDLE: AgentSession._tick_nothing,
    AgentState.LOGGING_IN: AgentSession._tick_unanswered,
    AgentState.ONLINE: AgentSession._tick_online,
    AgentState.AWAY: AgentSession._tick_login,
    AgentState.REFUSED: AgentSession._tick_login,
    AgentState.SUPERSEDED: AgentSession._tick_login,
    AgentState.CLOSED: AgentSession._tick_nothing,
}
#: Every state × every message.
AGENT_REPLIES: dict[tuple[AgentState, type], Callable[..., list[AgentEffect]]] = {
    (state, kind): AgentSession._drop for state in AgentState for kind in (LoginReply, HeartbeatReply)
}
AGENT_REPLIES |= {
    (AgentState.LOGGING_IN, LoginReply): AgentSession._logged_in,
    (AgentState.ONLINE, HeartbeatReply): AgentSession._beaten,
}

# -- Fusion's side --------------------------------------------------------------------------------------------------


class LinkState(enum.Enum):
    """Where an agent is, seen from Fusion. The value is what people see."""

    ONLINE = "online"
    LOST = "lost"
    CLOSED = "closed"


class Signal(enum.Enum):
    """What can happen to a link."""

    LOGIN = "login"
    HEARTBEAT = "heartbeat"
    GOODBYE = "goodbye"
    SILENCE = "silence"
    REVOKED = "revoked"


#: A heartbeat on a link that is not online is answered with "log in again" and changes nothing.
LINKS: dict[tuple[LinkState, Signal], LinkState] = {
    (LinkState.ONLINE, Signal.LOGIN): LinkState.ONLINE,
    (LinkState.ONLINE, Signal.HEARTBEAT): LinkState.ONLINE,
    (LinkState.ONLINE, Signal.GOODBYE): LinkState.CLOSED,
    (LinkState.ONLINE, Signal.SILENCE): LinkState.LOST,
    (LinkState.ONLINE, Signal.REVOKED): LinkState.CLOSED,
    (LinkState.LOST, Signal.LOGIN): LinkState.ONLINE,
    (LinkState.LOST, Signal.HEARTBEAT): LinkState.LOST,
    (LinkState.LOST, Signal.GOODBYE): LinkState.CLOSED,
    (LinkState.LOST, Signal.SILENCE): LinkState.LOST,
    (LinkState.LOST, Signal.REVOKED): LinkState.CLOSED,
    (LinkState.CLOSED, Signal.LOGIN): LinkState.ONLINE,
    (LinkState.CLOSED, Signal.HEARTBEAT): LinkState.CLOSED,
    (LinkState.CLOSED, Signal.GOODBYE): LinkState.CLOSED,
    (LinkState.CLOSED, Signal.SILENCE): LinkState.CLOSED,
    (LinkState.CLOSED, Signal.REVOKED): LinkState.CLOSED,
}


@attrs.define(eq=False)
class AgentLink:
    """
    One agent, as Fusion knows it.

    Attributes:
        agent: its id.
        peer: routing id of the connection that holds the session.
        epoch, instance, software, sources: of the last accepted login.
        state: see the module.
        heard_at: when its last message came.
        since: when it entered its state.
        interval: seconds between heartbeats that it was told.
        rtt_us: what it measured; 0 for unknown.
        payloads, configuration: as in its last heartbeat.
        logins, heartbeats: accepted.
        superseded: logins and heartbeats of earlier sessions.
        farewell: reason of the last goodbye, or why it was shut out.
        seq: of its last heartbeat; in a session without losses as many were accepted.
        beats: heartbeats of this session.
        losses: how often it was lost.
        told: what it told; numbered anew in each of its sessions.
        watched_at: when the session looks whether it is lost; infinite: never.
    """

    agent: str
    peer: bytes = b""
    epoch: int = 0
    instance: str = ""
    software: str = ""
    sources: tuple[str, ...] = ()
    state: LinkState = LinkState.CLOSED
    heard_at: float = 0.0
    since: float = 0.0
    interval: float = 1.0
    rtt_us: int = 0
    payloads: tuple[PayloadStatus, ...] = ()
    configuration: ConfigurationStatus = attrs.field(factory=ConfigurationStatus)
    logins: int = 0
    heartbeats: int = 0
    superseded: int = 0
    farewell: str = ""
    seq: int = 0
    beats: int = 0
    losses: int = 0
    told: Told = attrs.field(factory=Told)
    watched_at: float = math.inf

    def happens(self, signal: Signal, now: float) -> None:
        """Take a transition of the table."""
        state = LINKS[self.state, signal]
        if state is not self.state:
            self.state, self.since = state, now


@attrs.define(eq=False)
class FusionSession:
    """
    Fusion's end: all agents.

    Attributes:
        endpoints: where the sources of an agent send their data.
        heartbeat_seconds: interval for a small fleet.
        heartbeats_per_second: the most that the whole fleet shall send; the interval grows to keep it.
        desired: the configuration of an agent: (revision, digest), revision 0 when there is nothing to say.
        links: by agent; one that was ever accepted stays.
        refused: messages of users that are not the agent they say.
    """

    endpoints: Callable[[str], Iterable[Endpoints]]
    heartbeat_seconds: float = 1.0
    heartbeats_per_second: float = 250.0
    desired: Callable[[str], tuple[int, str]] = attrs.field(default=lambda agent: (0, ""))
    links: dict[str, AgentLink] = attrs.Factory(dict)
    refused: int = 0
    #: How many links are online.
    online: int = attrs.field(default=0, init=False)
    #: When which link is looked at, a heap; what a heartbeat costs must not depend on how many agents there are.
    _watched: list[tuple[float, str]] = attrs.field(factory=list, init=False)

    @property
    def heartbeat_ms(self) -> int:
        """The interval to dictate now."""
        return _bounded(math.ceil(1000 * max(self.heartbeat_seconds, self.online / self.heartbeats_per_second)))

    @property
    def wake_at(self) -> float | None:
        """When :meth:`tick` is wanted, at the latest when the next link is lost; None when none is online."""
        return self._watched[0][0] if self._watched else None

    def login(self, peer: bytes, user: tuple[str, str], message: Login, now: float) -> LoginReply:
        """
        An agent introduces itself.

        Args:
            peer: routing id of its connection.
            user: (role, name) that its key proved.
        """
        agent = message.agent
        if user != ("agent", agent):
            self.refused += 1
            reason = f"the key of this connection is {user[1]!r} with role {user[0]!r}, not agent {agent[:64]!r}"
            return LoginReply(outcome="refused", nonce=message.nonce, epoch=0, reason=reason)
        link = self.links.get(agent)
        if link is None:
            link = self.links[agent] = AgentLink(agent, since=now)
        twin = message.epoch == link.epoch and message.instance != link.instance and link.state is LinkState.ONLINE
        if message.epoch < link.epoch or twin:
            link.superseded += 1
            reason = f"epoch {link.epoch} of this agent is in session" + (" in another process" if twin else "")
            return LoginReply(outcome="superseded", nonce=message.nonce, epoch=link.epoch, reason=reason)
        if (link.epoch, link.instance) != (message.epoch, message.instance):
            link.told = Told(lost=link.told.lost)
        link.seq = link.beats = 0
        link.peer, link.epoch, link.instance = peer, message.epoch, message.instance
        link.software, link.sources = message.software, message.sources
        link.logins += 1
        link.farewell = ""
        self._happens(link, Signal.LOGIN, now)
        return LoginReply(
            outcome="accepted",
            nonce=message.nonce,
            epoch=link.epoch,
            heartbeat_ms=self._heard(link, now),
            endpoints=tuple(self.endpoints(agent)),
        )

    def heartbeat(self, peer: bytes, user: tuple[str, str], message: Heartbeat, now: float) -> HeartbeatReply | None:
        """A heartbeat; None when it is of somebody else, who gets no answer."""
        if user != ("agent", message.agent):
            self.refused += 1
            return None
        link = self.links.get(message.agent)
        if link is not None and message.epoch < link.epoch:
            link.superseded += 1
            return HeartbeatReply(outcome="superseded", seq=message.seq, epoch=link.epoch)
        if link is None or link.state is not LinkState.ONLINE or link.peer != peer or message.epoch != link.epoch:
            return HeartbeatReply(outcome="login", seq=message.seq, epoch=message.epoch)
        self._happens(link, Signal.HEARTBEAT, now)
        link.heartbeats += 1
        link.beats += 1
        link.seq = message.seq
        link.rtt_us = message.rtt_us
        link.payloads = message.payloads
        link.configuration = message.configuration
        revision, digest = self.desired(message.agent)
        return HeartbeatReply(
            outcome="ok",
            seq=message.seq,
            epoch=link.epoch,
            heartbeat_ms=self._heard(link, now),
            endpoints=tuple(self.endpoints(message.agent)),
            happenings=link.told.last,
            revision=revision,
            digest=digest,
        )

    def current(self, peer: bytes, user: tuple[str, str], agent: str, epoch: int) -> AgentLink | None:
        """The link of ``agent`` if this peer and epoch hold its session; None for anybody else, who is counted."""
        link = self.links.get(agent)
        if user != ("agent", agent) or link is None or (link.peer, link.epoch) != (peer, epoch):
            self.refused += 1
            return None
        return link

    def happenings(self, peer: bytes, user: tuple[str, str], message: Happenings) -> list[Happening]:
        """News of an agent: those that were not known."""
        link = self.current(peer, user, message.agent, message.epoch)
        return [] if link is None else [one for one in message.happenings if link.told.take(one.number)]

    def reachable(self) -> dict[str, tuple[int, int]]:
        """Agents that are online and were heard: (session epoch, seq of the last heartbeat)."""
        return {
            agent: (link.epoch, link.seq)
            for agent, link in self.links.items()
            if link.state is LinkState.ONLINE and link.seq
        }

    def goodbye(self, peer: bytes, user: tuple[str, str], message: Goodbye, now: float) -> None:
        """The agent stops on purpose; of an earlier session or another connection it means nothing."""
        if user != ("agent", message.agent):
            self.refused += 1
            return
        link = self.links.get(message.agent)
        if link is not None and link.peer == peer and link.epoch == message.epoch:
            link.farewell = message.reason
            self._happens(link, Signal.GOODBYE, now)

    def revoke(self, agent: str, now: float) -> bool:
        """The key of its session has been withdrawn; False when it has none. Another key may log in again."""
        link = self.links.get(agent)
        if link is None or link.state is LinkState.CLOSED:
            return False
        link.farewell, link.peer = "its key was revoked", b""
        self._happens(link, Signal.REVOKED, now)
        return True

    def tick(self, now: float) -> list[AgentLink]:
        """Time has passed: the links that were lost by it."""
        lost = []
        while self._watched and now >= self._watched[0][0]:
            at, agent = heapq.heappop(self._watched)
            link = self.links[agent]
            if at != link.watched_at:
                continue  # it is looked at earlier
            link.watched_at = math.inf
            if link.state is LinkState.ONLINE and now >= self._lost_at(link):
                link.losses += 1
                self._happens(link, Signal.SILENCE, now)
                lost.append(link)
            self._watch(link)
        return lost

    def _happens(self, link: AgentLink, signal: Signal, now: float) -> None:
        self.online -= link.state is LinkState.ONLINE
        link.happens(signal, now)
        self.online += link.state is LinkState.ONLINE

    def _watch(self, link: AgentLink) -> None:
        """One that is online is looked at when it is lost unless it is heard, or before."""
        at = self._lost_at(link)
        if link.state is LinkState.ONLINE and at < link.watched_at:
            heapq.heappush(self._watched, (at, link.agent))
            link.watched_at = at

    def _heard(self, link: AgentLink, now: float) -> int:
        """It was heard; the interval that it is told, in milliseconds."""
        link.heard_at = now
        interval = self.heartbeat_ms
        link.interval = interval / 1000
        self._watch(link)
        return interval

    @staticmethod
    def _lost_at(link: AgentLink) -> float:
        return link.heard_at + MISSED_INTERVALS * link.interval
