"""Orders at both ends: scripted, and any sequence of events over a link that loses, repeats and delays."""

from __future__ import annotations

import math
from typing import Any

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from protocols.errors import ConfigError, RequestError
from protocols.messages import Order, OrderResult
from protocols.orders import (
    FINAL,
    FUSION,
    KINDS,
    ROLES,
    STEPS,
    Answer,
    Decided,
    Deliver,
    Issuer,
    IssuerEffect,
    Note,
    OrderPolicy,
    Perform,
    Performer,
    PerformerEffect,
    State,
    TooManyError,
    check_order,
    from_plain,
    plain,
)


def order(number: int = 1, what: str = "restart", payload: str = "p", **fields: Any) -> Order:
    args = {"signal": "9"} if what == "kill" else {}
    common: dict[str, Any] = {"ttl_ms": 5000, "by": "ann", "role": "operator", **fields}
    return Order(id=f"order-{number:04d}", number=number, what=what, payload=payload, args=args, **common)


def performer(*denied: str, **policy: int) -> Performer:
    return Performer(frozenset(denied), OrderPolicy(**policy))


def give(
    issuer: Issuer, number: int = 1, now: float = 0.0, *, by: str = "ann", role: str = "operator", kind: str = "restart"
) -> list[IssuerEffect]:
    return issuer.give("local", kind, "p", {}, order_id=f"order-{number:04d}", by=by, role=role, ttl=5.0, now=now)


def test_every_kind_says_who_may() -> None:
    for kind, known in KINDS.items():
        payload = "p" if known.payload else ""
        for role in ROLES | {"", "agent"}:
            if role in known.roles:
                check_order(kind, payload, {}, role)
            else:
                with pytest.raises(RequestError, match="role"):
                    check_order(kind, payload, {}, role)
    assert all("observer" not in known.roles for known in KINDS.values())


def test_the_steps_are_whole_and_end() -> None:
    assert set(STEPS) == set(State)
    assert all(STEPS[state] == frozenset() for state in FINAL)
    assert all(state not in STEPS[after] for state in STEPS for after in STEPS[state])


def test_an_order_travels_through_the_audit_log() -> None:
    one = order(what="kill")
    assert from_plain(plain(one)) == attrs.evolve(one, ttl_ms=0)  # type: ignore[misc]
    for broken in ({}, {**plain(one), "args": 5}, {**plain(one), "number": None}):
        with pytest.raises(ValueError, match="no order"):
            from_plain(broken)


# -- whoever performs -----------------------------------------------------------------------------------------------


def test_written_down_before_it_is_begun_and_after_it_is_done() -> None:
    side, one = performer(), order()
    assert side.take(one, 0.1, 0.0) == [Note(one, "begun"), Answer(one.id), Perform(one)]
    assert side.finished(one.id, True, "fine", {"pid": 3}, 1.0) == [Note(one, "done", "fine"), Answer(one.id)]
    assert side.result(one.id, "a", 7) == OrderResult(
        agent="a", epoch=7, id=one.id, state="done", text="fine", data={"pid": 3}
    )
    assert side.take(one, 0.1, 2.0) == [Answer(one.id)]
    assert side.finished(one.id, False, "again", {}, 2.0) == []


def test_too_old_unknown_age_and_questions_begin_nothing() -> None:
    side = performer()
    for number, (age, ttl) in enumerate(((5.0, 5000), (math.inf, 5000), (0.0, 0)), 1):
        effects = side.take(order(number, ttl_ms=ttl), age, 0.0)
        assert [type(effect) for effect in effects] == [Note, Answer]
        assert side.entries[f"order-{number:04d}"].state is State.EXPIRED


def test_denied_here_or_not_for_the_role_is_refused_whatever_fusion_says() -> None:
    side = performer("restart")
    for number, one in enumerate((order(1), order(2, role="observer"), order(3, what="format")), 1):
        side.take(one, 0.0, 0.0)
        assert side.entries[f"order-{number:04d}"].state is State.REFUSED
    assert "denied on this host" in side.entries["order-0001"].text


def test_one_at_a_time_for_each_payload_and_looking_waits_for_nobody() -> None:
    side = performer()
    side.take(order(1), 0.0, 0.0)
    assert side.take(order(2, "kill"), 0.0, 0.0) == [Answer("order-0002")]
    assert Perform(order(3, "stacks")) in side.take(order(3, "stacks"), 0.0, 0.0)
    assert Perform(order(4, payload="other")) in side.take(order(4, payload="other"), 0.0, 0.0)
    assert side.wake_at == 5.0
    assert Perform(order(2, "kill")) in side.finished("order-0001", True, "", {}, 1.0)
    side.take(order(5), 0.0, 1.0)
    assert side.tick(5.9) == []
    assert [type(effect) for effect in side.tick(6.0)] == [Note, Answer]
    assert side.finished("order-0002", True, "", {}, 7.0)[2:] == []


def test_open_and_remembered_orders_are_bounded() -> None:
    side = performer(open=2, kept=3)
    for number in range(1, 4):
        side.take(order(number, payload=f"p{number}"), 0.0, 0.0)
    assert side.entries["order-0003"].state is State.REFUSED
    for number in range(1, 3):
        side.finished(f"order-{number:04d}", True, "", {}, 0.0)
    for number in range(4, 20):
        side.take(order(number), 0.0, 0.0)
        side.finished(f"order-{number:04d}", True, "", {}, 0.0)
    assert len(side.entries) <= 3 + 1  # those that are done, and the last one


def test_the_next_life_finishes_what_was_begun_and_answers_what_was_done() -> None:
    side = performer()
    side.restore(order(1), "begun", "")
    side.restore(order(1), "done", "fine")
    side.restore(order(2), "begun", "")
    side.restore(order(3), "refused", "no")
    assert side.resume() == [Perform(order(2))]
    assert side.take(order(1), 0.0, 0.0) == [Answer("order-0001")]
    assert side.entries["order-0001"].text == "fine"


# -- Fusion ---------------------------------------------------------------------------------------------------------


def test_delivered_again_until_its_outcome_is_known() -> None:
    issuer = Issuer(OrderPolicy())
    assert give(issuer) == [Decided("order-0001")]
    assert give(issuer) == []  # the same id
    assert issuer.tick({}, 0.5) == []
    (first,) = issuer.tick({"local": (7, 42)}, 1.0)
    assert isinstance(first, Deliver)
    assert (first.order.ttl_ms, first.order.epoch, first.order.beat) == (4000, 7, 42)
    assert issuer.tick({"local": (7, 43)}, 1.5) == []
    (again,) = issuer.tick({"local": (8, 1)}, 9.0)
    assert isinstance(again, Deliver)
    assert (again.order.ttl_ms, again.order.epoch) == (0, 8)  # now it only asks
    begun = OrderResult(agent="local", epoch=8, id="order-0001", state="performing")
    assert issuer.heard("local", begun, 9.0) == []  # the performer's own log has that
    assert issuer.tickets["order-0001"].state is State.PERFORMING
    done = OrderResult(agent="local", epoch=8, id="order-0001", state="done", text="fine")
    assert issuer.heard("other", done, 9.0) == []
    assert issuer.heard("local", done, 9.0) == [Decided("order-0001")]
    assert issuer.heard("local", OrderResult(agent="local", epoch=8, id="order-0001", state="performing"), 9.0) == []
    assert issuer.tick({"local": (8, 2)}, 99.0) == []


def test_who_is_never_reached_and_who_never_answers() -> None:
    issuer = Issuer(OrderPolicy())
    give(issuer, 1)
    assert issuer.tick({}, 5.0) == [Decided("order-0001")]
    assert issuer.tickets["order-0001"].state is State.EXPIRED
    give(issuer, 2, now=5.0)
    issuer.tick({"local": (7, 1)}, 5.0)
    assert issuer.tick({}, 69.0) == []
    assert issuer.tick({}, 70.0) == [Decided("order-0002")]
    assert issuer.tickets["order-0002"].state is State.UNKNOWN


def test_what_one_person_may_order_is_bounded_and_comes_back() -> None:
    issuer = Issuer(OrderPolicy(burst=2, per_second=1.0))
    give(issuer, 1)
    give(issuer, 2)
    with pytest.raises(RequestError, match="at most 2 orders at once, 1 a second"):
        give(issuer, 3)
    give(issuer, 3, by="bob")
    give(issuer, 4, now=1.0)
    assert issuer.counters["limited"] == 1


def test_refusals_cost_budget_too_and_the_book_of_budgets_is_bounded() -> None:
    issuer = Issuer(OrderPolicy(burst=1, per_second=1.0, kept=2))
    with pytest.raises(RequestError, match="role observer"):
        give(issuer, 1, role="observer")
    with pytest.raises(TooManyError):
        give(issuer, 1, role="observer")
    for number in range(2, 9):
        give(issuer, number, by=f"person {number}", now=number * 10.0)
    assert len(issuer._budgets) <= 3


def test_an_id_stands_for_one_order() -> None:
    issuer = Issuer(OrderPolicy())
    give(issuer, 1)
    assert give(issuer, 1) == []
    with pytest.raises(RequestError, match="another order has this id"):
        give(issuer, 1, kind="kill")


def test_only_the_last_data_is_kept() -> None:
    issuer = Issuer(OrderPolicy(kept=5, kept_data=1))
    for number in range(1, 4):
        give(issuer, number, now=number * 10.0)
        result = OrderResult(agent="local", epoch=1, id=f"order-{number:04d}", state="done", data={"text": "x"})
        issuer.heard("local", result, number * 10.0)
    give(issuer, 4, now=40.0)
    assert [ticket.data for ticket in issuer.tickets.values()] == [{}, {}, {"text": "x"}, {}]


def test_open_orders_are_bounded_at_fusion_too() -> None:
    issuer = Issuer(OrderPolicy(open=1))
    give(issuer, 1)
    with pytest.raises(RequestError, match="1 orders are open"):
        give(issuer, 2)


def test_the_next_life_only_asks() -> None:
    issuer = Issuer(OrderPolicy())
    issuer.restore(order(5), "local", "waiting", "", 0.0)
    issuer.restore(order(6), FUSION, "performing", "", 0.0)
    issuer.restore(order(6), FUSION, "done", "fine", 0.0)
    assert issuer.tickets["order-0006"].text == "fine"
    (deliver,) = issuer.tick({"local": (1, 1), FUSION: (0, 0)}, 0.0)
    assert isinstance(deliver, Deliver)
    assert (deliver.target, deliver.order.ttl_ms) == ("local", 0)
    give(issuer, 7)
    assert issuer.tickets["order-0007"].order.number == 7


@pytest.mark.parametrize("field", ["kept", "open", "burst"])
def test_a_policy_has_bounds(field: str) -> None:
    bad: dict[str, Any] = {field: 0}
    with pytest.raises(ConfigError, match="1 to 10000"):
        OrderPolicy(**bad)


class Links(RuleBasedStateMachine):
    """
    Fusion, an agent, and a link between them that loses, repeats and delays; both may die at any time and read their
    logs. Whatever happens: nothing is begun twice, nothing is begun when it is too old, and every outcome that Fusion
    tells is what happened.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.policy = OrderPolicy(burst=10_000, per_second=10_000.0)
        self.issuer, self.side = Issuer(self.policy), Performer(frozenset(), self.policy)
        self.given: dict[str, float] = {}
        self.begun: set[str] = set()
        self.fusion_log: list[tuple[Order, State, str]] = []
        self.agent_log: list[tuple[Order, str, str]] = []
        self.performing: set[str] = set()
        self.orders: list[Order] = []
        self.results: list[OrderResult] = []
        self.beat = 0
        self.beats = {0: -math.inf}
        self.number = 0

    def issue(self, effects: list[IssuerEffect]) -> None:
        for effect in effects:
            if isinstance(effect, Deliver):
                self.orders.append(effect.order)
            else:
                ticket = self.issuer.tickets[effect.id]
                self.fusion_log.append((ticket.order, ticket.state, ticket.text))

    def perform(self, effects: list[PerformerEffect]) -> None:
        for effect in effects:
            match effect:
                case Note(one, what, text):
                    if what == "begun":
                        assert one.id not in self.begun, "begun twice"
                        assert self.now - self.given[one.id] < 5.0, "begun too old"
                        self.begun.add(one.id)
                    self.agent_log.append((one, what, text))
                case Perform(one):
                    self.performing.add(one.id)
                case Answer(order_id):
                    self.results.append(self.side.result(order_id, "local", 1))

    @rule(what=st.sampled_from(["restart", "kill", "stacks"]), payload=st.sampled_from("pq"))
    def give(self, what: str, payload: str) -> None:
        self.number += 1
        order_id = f"order-{self.number:04d}"
        self.given[order_id] = self.now
        who = {"by": "ann", "role": "operator"}
        self.issue(self.issuer.give("local", what, payload, {}, order_id=order_id, ttl=5.0, now=self.now, **who))

    @rule(heard=st.booleans())
    def heartbeat(self, heard: bool) -> None:
        number = max(self.beats) + 1
        self.beats[number] = self.now
        if heard:
            self.beat = number

    @rule(seconds=st.floats(0.0, 3.0), online=st.booleans())
    def pass_time(self, seconds: float, online: bool) -> None:
        self.now += seconds
        self.issue(self.issuer.tick({"local": (1, self.beat)} if online and self.beat else {}, self.now))
        self.perform(self.side.tick(self.now))

    @precondition(lambda self: self.orders)
    @rule(data=st.data(), repeated=st.booleans())
    def order_arrives(self, data: st.DataObject, repeated: bool) -> None:
        index = data.draw(st.integers(0, len(self.orders) - 1))
        one = self.orders[index] if repeated else self.orders.pop(index)
        self.perform(self.side.take(one, self.now - self.beats[one.beat], self.now))

    @precondition(lambda self: self.results)
    @rule(data=st.data(), lost=st.booleans())
    def result_arrives(self, data: st.DataObject, lost: bool) -> None:
        result = self.results.pop(data.draw(st.integers(0, len(self.results) - 1)))
        if not lost:
            self.issue(self.issuer.heard("local", result, self.now))

    @precondition(lambda self: self.performing)
    @rule(ok=st.booleans())
    def done(self, ok: bool) -> None:
        order_id = min(self.performing)
        self.performing.discard(order_id)
        self.perform(self.side.finished(order_id, ok, "", {}, self.now))

    @rule()
    def agent_dies(self) -> None:
        self.side, self.performing = Performer(frozenset(), self.policy), set()
        for one, what, text in self.agent_log:
            self.side.restore(one, what, text)
        self.perform(self.side.resume())

    @rule()
    def fusion_dies(self) -> None:
        self.issuer = Issuer(self.policy)
        for one, state, text in self.fusion_log:
            self.issuer.restore(one, "local", state.value, text, self.now)

    @invariant()
    def what_fusion_tells_is_true(self) -> None:
        truth = {one.id: what for one, what, _ in self.agent_log}
        for order_id, ticket in self.issuer.tickets.items():
            if ticket.state in (State.DONE, State.FAILED, State.REFUSED):
                assert truth[order_id] == ticket.state.value
            if ticket.state is State.EXPIRED:
                assert order_id not in self.begun

    def teardown(self) -> None:
        """However it got here: with a link that works, every outcome is known in bounded time."""
        for _ in range(200):
            self.now += 1.0
            self.heartbeat(True)
            self.pass_time(0.0, True)
            orders, self.orders = self.orders, []
            for one in orders:
                self.perform(self.side.take(one, self.now - self.beats[one.beat], self.now))
            while self.performing:
                self.done(True)
            results, self.results = self.results, []
            for result in results:
                self.issue(self.issuer.heard("local", result, self.now))
        assert all(ticket.state in FINAL for ticket in self.issuer.tickets.values())


TestLinks = Links.TestCase
TestLinks.settings = settings(max_examples=40, stateful_step_count=40)
