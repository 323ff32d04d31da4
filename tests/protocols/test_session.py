"""Both ends of a session, joined by a wire that the test holds in its hand; all time is virtual."""

from __future__ import annotations

import random
from collections import deque
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from protocols.codec import decode, encode
from protocols.messages import (
    Endpoints,
    Goodbye,
    Heartbeat,
    HeartbeatReply,
    Login,
    LoginReply,
    PayloadStatus,
)
from protocols.session import (
    AGENT_REPLIES,
    AGENT_TICKS,
    LINKS,
    Accepted,
    AgentEffect,
    AgentLink,
    AgentSession,
    AgentState,
    FusionSession,
    LinkState,
    Reconnect,
    Refused,
    Send,
    Signal,
    Superseded,
)

HERE = Endpoints("data", "tcp://127.0.0.1:7710", "tcp://127.0.0.1:7711", "k" * 40)
THERE = Endpoints("data", "tcp://127.0.0.2:7710", "tcp://127.0.0.2:7711", "k" * 40)


class Wire:
    """
    Fusion and any number of agents.

    Whatever is sent passes through the codec; ``cut`` holds the agents whose messages are lost.
    """

    def __init__(self) -> None:
        self.now = 100.0
        self.endpoints: tuple[Endpoints, ...] = (HERE,)
        self.fusion = FusionSession(lambda agent: self.endpoints)
        self.agents: dict[bytes, AgentSession] = {}
        self.users: dict[bytes, tuple[str, str]] = {}
        self.cut: set[bytes] = set()
        self.seen: dict[bytes, list[AgentEffect]] = {}

    def add(self, peer: bytes, epoch: int, agent: str = "a", user: tuple[str, str] | None = None) -> AgentSession:
        session = AgentSession(agent, epoch, f"i-{peer!r}", "0.1.0", ("data",), random.Random(epoch))
        self.agents[peer], self.users[peer], self.seen[peer] = session, user or ("agent", agent), []
        return session

    def start(self, peer: bytes) -> None:
        self.carry(peer, self.agents[peer].start(self.now))

    def carry(self, peer: bytes, effects: list[AgentEffect]) -> None:
        """Deliver what an agent sends, and the answers, until nothing is under way."""
        todo = deque(effects)
        while todo:
            effect = todo.popleft()
            self.seen[peer].append(effect)
            if isinstance(effect, Send) and peer not in self.cut:
                reply = self.fusion_hears(peer, encode(effect.message))
                if reply is not None:
                    heard: Any = decode(encode(reply), LoginReply, HeartbeatReply)
                    todo += self.agents[peer].receive(heard, self.now)

    def fusion_hears(self, peer: bytes, frame: bytes) -> Any:
        message: Any = decode(frame, Login, Heartbeat, Goodbye)
        if isinstance(message, Login):
            return self.fusion.login(peer, self.users[peer], message, self.now)
        if isinstance(message, Heartbeat):
            return self.fusion.heartbeat(peer, self.users[peer], message, self.now)
        self.fusion.goodbye(peer, self.users[peer], message, self.now)
        return None

    def run(self, seconds: float) -> None:
        """Let time pass, waking whoever wants to be."""
        end = self.now + seconds
        while True:
            wakes = [s.wake_at for s in self.agents.values() if s.wake_at is not None]
            if self.fusion.wake_at is not None:
                wakes.append(self.fusion.wake_at)
            if not wakes or min(wakes) > end:
                self.now = end
                return
            self.now = max(self.now, min(wakes))
            self.fusion.tick(self.now)
            for peer, session in self.agents.items():
                self.carry(peer, session.tick(self.now))

    def outcomes(self, peer: bytes) -> list[AgentEffect]:
        return [effect for effect in self.seen[peer] if not isinstance(effect, Send)]

    def sent(self, peer: bytes, kind: type) -> int:
        return sum(isinstance(effect, Send) and isinstance(effect.message, kind) for effect in self.seen[peer])


def state_of(session: Any) -> Any:
    """The state of any end, unknown to a type checker that remembers the last one it saw."""
    return session.state


def test_the_tables_are_whole() -> None:
    assert set(AGENT_TICKS) == set(AgentState)
    assert set(AGENT_REPLIES) == {(s, m) for s in AgentState for m in (LoginReply, HeartbeatReply)}
    assert set(LINKS) == {(s, e) for s in LinkState for e in Signal}


def test_login_then_heartbeats_in_the_dictated_interval() -> None:
    wire = Wire()
    session = wire.add(b"1", 7)
    wire.start(b"1")
    assert state_of(session) is AgentState.ONLINE
    assert wire.outcomes(b"1") == [Accepted((HERE,))]
    wire.run(10)
    assert wire.sent(b"1", Login) == 1
    assert wire.sent(b"1", Heartbeat) == session.replies == wire.fusion.links["a"].heartbeats == 11
    assert session.rtt_us > 0


def test_fusion_dictates_the_interval() -> None:
    wire = Wire()
    wire.fusion.heartbeat_seconds = 5.0
    wire.add(b"1", 7)
    wire.start(b"1")
    wire.run(50)
    assert wire.sent(b"1", Heartbeat) == 11


def test_a_large_fleet_beats_slower() -> None:
    wire = Wire()
    wire.fusion.heartbeats_per_second = 2.0
    for number in range(10):
        peer = b"%d" % number
        wire.add(peer, 1, f"a{number}")
        wire.start(peer)
    wire.run(20)
    before = sum(link.heartbeats for link in wire.fusion.links.values())
    wire.run(100)
    assert sum(link.heartbeats for link in wire.fusion.links.values()) - before <= 2 * 100 + 10
    assert all(link.state is LinkState.ONLINE for link in wire.fusion.links.values())


def test_what_has_changed_is_told_soon_and_at_most_once_in_an_interval() -> None:
    wire = Wire()
    session = wire.add(b"1", 7)
    session.hurry(wire.now)  # not in session: nothing happens
    wire.start(b"1")
    wire.run(1.5)
    beats = wire.sent(b"1", Heartbeat)
    for _ in range(20):
        session.hurry(wire.now)
        wire.run(0.02)
    assert wire.sent(b"1", Heartbeat) == beats + 1
    wire.run(1)
    assert wire.sent(b"1", Heartbeat) == beats + 2
    session.hurry(wire.now)
    wire.run(0.11)
    assert wire.sent(b"1", Heartbeat) == beats + 3
    # News without end cost twice the heartbeats, and no more.
    for _ in range(500):
        session.hurry(wire.now)
        wire.run(0.02)
    assert wire.sent(b"1", Heartbeat) <= beats + 3 + 2 * 10 + 1


def test_heartbeats_carry_the_payloads() -> None:
    wire = Wire()
    session = wire.add(b"1", 7)
    wire.start(b"1")
    status = (PayloadStatus("watcher.data", "running", 42, 3, "exit 1", {"events": 5}),)
    wire.carry(b"1", session.tick(wire.now, lambda: status))
    assert wire.fusion.links["a"].payloads == status


def test_changed_endpoints_arrive_with_the_next_heartbeat() -> None:
    wire = Wire()
    wire.add(b"1", 7)
    wire.start(b"1")
    wire.run(3)
    wire.endpoints = (THERE,)
    wire.run(1)
    assert wire.outcomes(b"1") == [Accepted((HERE,)), Accepted((THERE,))]


def test_a_cut_link_is_lost_on_both_ends_and_logged_in_again() -> None:
    wire = Wire()
    session = wire.add(b"1", 7)
    wire.start(b"1")
    wire.run(5)
    wire.cut.add(b"1")
    wire.run(5)
    assert wire.fusion.links["a"].state is LinkState.LOST
    assert session.state is not AgentState.ONLINE
    assert Reconnect() in wire.outcomes(b"1")
    wire.run(3600)
    assert state_of(session) in (AgentState.AWAY, AgentState.LOGGING_IN)
    wire.cut.clear()
    wire.run(8)
    assert state_of(session) is AgentState.ONLINE
    assert state_of(wire.fusion.links["a"]) is LinkState.ONLINE


def test_lost_is_three_intervals_and_not_less() -> None:
    wire = Wire()
    wire.add(b"1", 7)
    wire.start(b"1")
    wire.run(1)
    heard = wire.fusion.links["a"].heard_at
    assert wire.fusion.tick(heard + 2.999) == []
    assert [link.agent for link in wire.fusion.tick(heard + 3.0)] == ["a"]
    assert wire.fusion.tick(heard + 9.0) == []


def test_a_fusion_started_anew_asks_everybody_to_log_in_and_they_do_not_come_at_once() -> None:
    wire = Wire()
    for number in range(50):
        peer = b"%d" % number
        wire.add(peer, number, f"a{number}")
        wire.start(peer)
    wire.run(5)
    wire.fusion = FusionSession(lambda agent: wire.endpoints)
    moments = set()
    for _ in range(400):
        wire.run(0.01)
        moments.add(len(wire.fusion.links))
    assert all(session.state is AgentState.ONLINE for session in wire.agents.values())
    assert len(moments) > 20


def test_an_earlier_epoch_is_superseded() -> None:
    wire = Wire()
    old, new = wire.add(b"1", 7), wire.add(b"2", 8)
    wire.start(b"1")
    wire.run(2)
    wire.start(b"2")
    wire.run(2)
    assert (old.state, new.state) == (AgentState.SUPERSEDED, AgentState.ONLINE)
    (superseded,) = [e for e in wire.outcomes(b"1") if isinstance(e, Superseded)]
    assert superseded.epoch == 8
    before = wire.sent(b"1", Login)
    wire.run(600)
    assert 8 <= wire.sent(b"1", Login) - before <= 14  # slowly, and for ever
    assert wire.fusion.links["a"].epoch == 8
    assert wire.fusion.links["a"].peer == b"2"


def test_a_superseded_agent_comes_back_when_the_other_is_unknown() -> None:
    wire = Wire()
    old = wire.add(b"1", 7)
    wire.add(b"2", 8)
    wire.start(b"2")
    wire.start(b"1")
    assert state_of(old) is AgentState.SUPERSEDED
    wire.cut.add(b"2")
    wire.fusion = FusionSession(lambda agent: wire.endpoints)
    wire.run(80)
    assert state_of(old) is AgentState.ONLINE
    assert wire.outcomes(b"1")[-1] == Accepted((HERE,))


def test_two_processes_with_one_epoch_are_never_both_in_session() -> None:
    wire = Wire()
    first, second = wire.add(b"1", 7), wire.add(b"2", 7)
    wire.start(b"1")
    wire.start(b"2")
    for _ in range(200):
        wire.run(1)
        assert (first.state, second.state) == (AgentState.ONLINE, AgentState.SUPERSEDED)


def test_the_same_process_may_come_back_on_another_connection() -> None:
    wire = Wire()
    session = wire.add(b"1", 7)
    wire.start(b"1")
    wire.run(2)
    wire.agents[b"9"], wire.users[b"9"], wire.seen[b"9"] = session, ("agent", "a"), []
    del wire.agents[b"1"]
    wire.run(10)
    assert state_of(session) is AgentState.ONLINE
    assert wire.fusion.links["a"].peer == b"9"
    assert wire.fusion.links["a"].superseded == 0


@pytest.mark.parametrize("user", [("agent", "b"), ("operator", "a"), ("", "")])
def test_an_agent_is_the_name_in_its_key(user: tuple[str, str]) -> None:
    wire = Wire()
    session = wire.add(b"1", 7, "a", user)
    wire.start(b"1")
    assert state_of(session) is AgentState.REFUSED
    assert wire.fusion.links == {}
    assert wire.fusion.refused == 1
    (refused,) = wire.outcomes(b"1")
    assert isinstance(refused, Refused)
    wire.run(60)
    assert wire.fusion.refused > 10  # asked again and again
    wire.users[b"1"] = ("agent", "a")
    wire.run(5)
    assert state_of(session) is AgentState.ONLINE


def test_a_stranger_can_neither_beat_nor_part_for_another() -> None:
    wire = Wire()
    wire.add(b"1", 7)
    wire.start(b"1")
    evil = ("agent", "b")
    assert wire.fusion.heartbeat(b"1", evil, Heartbeat(agent="a", epoch=7, seq=1), wire.now) is None
    wire.fusion.goodbye(b"1", evil, Goodbye(agent="a", epoch=7), wire.now)
    wire.fusion.goodbye(b"2", ("agent", "a"), Goodbye(agent="a", epoch=7), wire.now)
    wire.fusion.goodbye(b"1", ("agent", "a"), Goodbye(agent="a", epoch=6), wire.now)
    assert wire.fusion.links["a"].state is LinkState.ONLINE
    assert wire.fusion.refused == 2


def test_goodbye_closes_and_nothing_is_sent_after_it() -> None:
    wire = Wire()
    session = wire.add(b"1", 7)
    wire.start(b"1")
    wire.run(2)
    wire.carry(b"1", session.stop("stopped", wire.now))
    sent = len(wire.seen[b"1"])
    wire.run(100)
    assert len(wire.seen[b"1"]) == sent
    assert wire.fusion.links["a"].state is LinkState.CLOSED
    assert wire.fusion.links["a"].farewell == "stopped"


def test_a_revoked_key_ends_the_session_and_another_may_begin_one() -> None:
    wire = Wire()
    wire.add(b"1", 7)
    wire.start(b"1")
    wire.run(2)
    assert wire.fusion.reachable() == {"a": (7, 3)}
    assert wire.fusion.revoke("a", wire.now)
    link = wire.fusion.links["a"]
    assert (link.state, link.farewell) == (LinkState.CLOSED, "its key was revoked")
    assert wire.fusion.reachable() == {}
    assert not wire.fusion.revoke("a", wire.now)
    assert not wire.fusion.revoke("nobody", wire.now)
    wire.cut.add(b"1")
    wire.add(b"2", 8)
    wire.start(b"2")
    assert (link.state, link.farewell) == (LinkState.ONLINE, "")


def test_replies_that_answer_nothing_are_dropped() -> None:
    wire = Wire()
    session = wire.add(b"1", 7)
    wire.cut.add(b"1")
    wire.start(b"1")
    assert session.receive(LoginReply(outcome="accepted", nonce="old", epoch=7), wire.now) == []
    assert session.receive(HeartbeatReply(outcome="superseded", seq=1, epoch=9), wire.now) == []
    assert state_of(session) is AgentState.LOGGING_IN
    wire.cut.clear()
    wire.run(5)
    assert session.receive(HeartbeatReply(outcome="superseded", seq=10**6, epoch=9), wire.now) == []
    assert state_of(session) is AgentState.ONLINE
    assert session.dropped == 3


def test_an_absurd_interval_is_bounded() -> None:
    wire = Wire()
    wire.fusion.heartbeat_seconds = 1e-9
    session = wire.add(b"1", 7)
    wire.start(b"1")
    wire.run(1)
    assert (session.heartbeats, session.logins) == (21, 1)


def test_starting_twice_is_a_bug() -> None:
    wire = Wire()
    wire.add(b"1", 7)
    wire.start(b"1")
    with pytest.raises(RuntimeError, match="online"):
        wire.start(b"1")


class Weather(RuleBasedStateMachine):
    """Two lives of one agent, in any weather."""

    def __init__(self) -> None:
        super().__init__()
        self.wire = Wire()
        self.epochs = 0
        self.lives = 0

    @precondition(lambda self: self.lives < 4)
    @rule(same=st.booleans())
    def begin(self, same: bool) -> None:
        """Another process; ``same``: from a copy of the state folder."""
        self.lives += 1
        self.epochs += 0 if same and self.epochs else 1
        peer = b"%d" % self.lives
        self.wire.add(peer, self.epochs)
        self.wire.start(peer)

    @precondition(lambda self: self.lives)
    @rule(number=st.integers(1, 4), cut=st.booleans())
    def weather(self, number: int, cut: bool) -> None:
        peer = b"%d" % min(number, self.lives)
        (self.wire.cut.add if cut else self.wire.cut.discard)(peer)

    @rule()
    def fusion_dies(self) -> None:
        self.wire.fusion = FusionSession(lambda agent: self.wire.endpoints)

    @rule(seconds=st.floats(0.01, 100))
    def pass_time(self, seconds: float) -> None:
        self.wire.run(seconds)

    @rule()
    def news(self) -> None:
        for session in self.wire.agents.values():
            session.hurry(self.wire.now)

    @invariant()
    def epochs_never_fall(self) -> None:
        link = self.wire.fusion.links.get("a")
        floor = getattr(self, "floor", (None, 0))
        if link is not None:
            if floor[0] is self.wire.fusion:
                assert link.epoch >= floor[1]
            self.floor = (self.wire.fusion, link.epoch)

    @invariant()
    def everybody_has_a_next_step(self) -> None:
        for session in self.wire.agents.values():
            assert session.wake_at is not None
            assert session.wake_at - self.wire.now <= 75 + 1e-6

    def teardown(self) -> None:
        """In good weather exactly one life is in session, of the highest epoch, and the others know it."""
        if not self.lives:
            return
        self.wire.cut.clear()
        self.wire.run(300)
        online = [s for s in self.wire.agents.values() if s.state is AgentState.ONLINE]
        assert len(online) == 1
        assert online[0].epoch == max(s.epoch for s in self.wire.agents.values())
        others = [s for s in self.wire.agents.values() if s is not online[0]]
        assert all(s.state in (AgentState.SUPERSEDED, AgentState.LOGGING_IN) for s in others)


TestWeather = Weather.TestCase
TestWeather.settings = settings(max_examples=40, stateful_step_count=25)


class Fleet(RuleBasedStateMachine):
    """Who is online and when somebody has to be looked at, beside counting everybody anew each time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.fusion = FusionSession(lambda agent: ())

    @rule(agent=st.sampled_from("abcd"), epoch=st.integers(1, 3))
    def login(self, agent: str, epoch: int) -> None:
        message = Login(agent=agent, epoch=epoch, nonce="n", software="", sources=(), instance="i")
        self.fusion.login(agent.encode(), ("agent", agent), message, self.now)

    @rule(agent=st.sampled_from("abcd"))
    def heartbeat(self, agent: str) -> None:
        link = self.fusion.links.get(agent)
        message = Heartbeat(agent=agent, epoch=link.epoch if link else 1, seq=1, rtt_us=0, payloads=())
        self.fusion.heartbeat(agent.encode(), ("agent", agent), message, self.now)

    @rule(agent=st.sampled_from("abcd"), revoked=st.booleans())
    def part(self, agent: str, revoked: bool) -> None:
        link = self.fusion.links.get(agent)
        if revoked:
            self.fusion.revoke(agent, self.now)
        elif link is not None:
            message = Goodbye(agent=agent, epoch=link.epoch, reason="")
            self.fusion.goodbye(agent.encode(), ("agent", agent), message, self.now)

    @rule(seconds=st.floats(0.1, 30))
    def dictate(self, seconds: float) -> None:
        self.fusion.heartbeat_seconds = seconds

    @rule(seconds=st.floats(0, 40))
    def pass_time(self, seconds: float) -> None:
        """In the steps that the session asks for."""
        end = self.now + seconds
        while self.fusion.wake_at is not None and self.fusion.wake_at <= end:
            self.now = max(self.now, self.fusion.wake_at)
            due = {link.agent for link in self.online() if self.now >= link.heard_at + 3 * link.interval}
            assert {link.agent for link in self.fusion.tick(self.now)} == due
        self.now = end

    def online(self) -> list[AgentLink]:
        return [link for link in self.fusion.links.values() if link.state is LinkState.ONLINE]

    @invariant()
    def nobody_is_forgotten(self) -> None:
        assert self.fusion.online == len(self.online())
        for link in self.online():
            assert self.fusion.wake_at is not None
            assert self.fusion.wake_at <= link.heard_at + 3 * link.interval
            assert self.now < link.heard_at + 3 * link.interval


TestFleet = Fleet.TestCase
TestFleet.settings = settings(max_examples=100, stateful_step_count=40)
