"""
Orders: who may give which, and the life of one at both ends.

Fusion (:class:`Issuer`)::

    waiting ──sent──► sent ──► queued ──► performing ──► done | failed | refused
       │                │         └── expired
       └─ ttl ─► expired└─ the outcome never came ─► unknown

Whoever performs (:class:`Performer`), an agent or Fusion for its own payloads::

    queued ──► performing ──► done | failed          (one at a time for each payload)
       └── its ttl is over ──► expired     refused: at once

Rules:

- An order is performed at most once, however often it comes: a known id is answered with what became of it.
- It is written down before it is begun, and again with its outcome (:class:`Note`).
- Its age is measured by the performer's own clock, since the performer sent the heartbeat that the order names: that
  is never less than the order's true age, whoever was frozen in between, and no two clocks are compared.
- It is sent again until its outcome is known. An order with ttl 0 only asks, and begins nothing.
- What is denied on the spot can't be ordered by anybody.

What this module does not do: send, write, act on a payload, or read a clock. ``now`` is in seconds of a monotonic
clock.
"""

from __future__ import annotations

import enum
import re
import signal
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import attrs

from protocols.bounds import between, positive
from protocols.errors import RequestError
from protocols.messages import Order, OrderResult

#: Who may look, who may act, and who may act and deploy.
OBSERVER, OPERATOR, DEPLOYER = "observer", "operator", "deployer"
ROLES = frozenset({OBSERVER, OPERATOR, DEPLOYER})
_ACTS = frozenset({OPERATOR, DEPLOYER})

#: Fusion's name among those who can be ordered; no agent may have it.
FUSION = "fusion"
#: Signals that ``kill`` sends: those that end a process.
SIGNALS = tuple(signal.Signals(number) for number in (2, 3, 6, 9, 15))

_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")


def is_id(text: str) -> bool:
    """Whether ``text`` can be the id of an order. It becomes part of a file name: no slash, no dot."""
    return _ID.fullmatch(text) is not None


def _signal(value: str) -> bool:
    return value.isascii() and value.isdigit() and int(value) in SIGNALS


def _lines(value: str) -> bool:
    return value.isascii() and value.isdigit() and len(value) < 6 and 1 <= int(value) <= 1000


def _yes(value: str) -> bool:
    return value == "yes"


def _item(value: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{10}", value) is not None


@attrs.frozen
class Kind:
    """
    A kind of order.

    Attributes:
        roles: who may give it.
        payload: it is for one payload, not for a whole side.
        looks: it changes nothing, so it waits for no other order.
        args: name → (test, what is accepted in words). All are text, and may be left out.
    """

    roles: frozenset[str] = _ACTS
    payload: bool = True
    looks: bool = False
    args: Mapping[str, tuple[Callable[[str], bool], str]] = attrs.Factory(dict)


KINDS: dict[str, Kind] = {
    "restart": Kind(),
    "kill": Kind(args={"signal": (_signal, f"one of {', '.join(str(int(s)) for s in SIGNALS)} is accepted")}),
    "pause": Kind(),
    "resume": Kind(),
    "drain": Kind(),
    "release": Kind(args={"item": (_item, "the id of a quarantined item is accepted, 10 characters of 0-9a-f")}),
    "reset": Kind(args={"cancel": (_yes, "'yes' is accepted")}),
    "stacks": Kind(looks=True),
    "log": Kind(looks=True, args={"lines": (_lines, "1 to 1000 is accepted")}),
    "diagnose": Kind(payload=False, looks=True),
    "quarantine": Kind(payload=False, looks=True),
    "configuration": Kind(payload=False, looks=True),
}


def check_order(kind: str, payload: str, args: Mapping[str, str], role: str) -> None:
    """
    Raises:
        RequestError: no such kind, not for this role, or a wrong argument.
    """
    known = KINDS.get(kind)
    if known is None:
        raise RequestError("kind", kind[:64], f"one of {', '.join(KINDS)} is accepted")
    if role not in known.roles:
        roles = " or ".join(sorted(known.roles))
        raise RequestError("kind", kind, f"role {roles} is accepted, this key has role {role or 'none'}")
    if bool(payload) != known.payload:
        accepted = "the name of a payload is accepted" if known.payload else "it is for a whole side: none is accepted"
        raise RequestError("payload", payload[:100], accepted)
    for name, value in args.items():
        if name not in known.args:
            raise RequestError(name[:64], str(value)[:64], f"arguments of {kind}: {', '.join(known.args) or 'none'}")
        test, accepted = known.args[name]
        if not isinstance(value, str) or not test(value):
            raise RequestError(name, str(value)[:64], accepted)


@attrs.frozen
class OrderPolicy:
    """
    Bounds of orders.

    Attributes:
        kept: finished orders that are remembered, at each end.
        kept_data: of these, the last ones whose data (stacks, log lines) is remembered too.
        open: orders that are not finished, at each end.
        per_second: orders that one person may give in the long run.
        burst: and at once.
        ttl_seconds: how old an order may be when it is begun, unless it says so itself.
        perform_seconds: how long one may take, from its beginning.
        resend_seconds: until an order without an answer is sent again.
        answer_seconds: how long an outcome is asked for when the order can't be begun any more.
    """

    kept: int = attrs.field(default=256, validator=between(1, 10_000))
    kept_data: int = attrs.field(default=32, validator=between(1, 10_000))
    open: int = attrs.field(default=64, validator=between(1, 10_000))
    per_second: float = attrs.field(default=5.0, validator=positive)
    burst: int = attrs.field(default=20, validator=between(1, 10_000))
    ttl_seconds: float = attrs.field(default=30.0, validator=positive)
    perform_seconds: float = attrs.field(default=60.0, validator=positive)
    resend_seconds: float = attrs.field(default=1.0, validator=positive)
    answer_seconds: float = attrs.field(default=60.0, validator=positive)


class TooManyError(RequestError):
    """A person gives orders faster than the policy allows."""


class State(enum.Enum):
    """Where an order is. The value is what people and messages see."""

    WAITING = "waiting"
    SENT = "sent"
    QUEUED = "queued"
    PERFORMING = "performing"
    DONE = "done"
    FAILED = "failed"
    REFUSED = "refused"
    EXPIRED = "expired"
    UNKNOWN = "unknown"


#: Nothing follows on these.
FINAL = frozenset({State.DONE, State.FAILED, State.REFUSED, State.EXPIRED, State.UNKNOWN})
#: Every step that an order may take; what is not here is dropped.
STEPS: dict[State, frozenset[State]] = {
    State.WAITING: FINAL | {State.SENT, State.QUEUED, State.PERFORMING},
    State.SENT: FINAL | {State.QUEUED, State.PERFORMING},
    State.QUEUED: FINAL | {State.PERFORMING},
    State.PERFORMING: FINAL,
} | dict.fromkeys(FINAL, frozenset())

# -- whoever performs -----------------------------------------------------------------------------------------------


@attrs.frozen
class Answer:
    """Tell Fusion how far an order is."""

    id: str


@attrs.frozen
class Note:
    """Write down, durably, before the effects behind it: ``what`` is ``begun`` or a final state."""

    order: Order
    what: str
    text: str = ""


@attrs.frozen
class Perform:
    """Do it, and say :meth:`Performer.finished`."""

    order: Order


PerformerEffect: TypeAlias = Answer | Note | Perform


@attrs.define(eq=False)
class Entry:
    """An order and what became of it."""

    order: Order
    state: State
    text: str = ""
    data: dict[str, Any] = attrs.Factory(dict)
    expires: float = 0.0


@attrs.define(eq=False)
class Performer:
    """
    The orders of one side.

    Attributes:
        denied: kinds that nobody may order here.
        policy: bounds.
        entries: by id, oldest first.
        counters: ``performed``, ``repeated``, ``refused``, ``expired``; ``dropped`` before they came here.
    """

    denied: frozenset[str]
    policy: OrderPolicy
    entries: dict[str, Entry] = attrs.Factory(dict)
    counters: dict[str, int] = attrs.Factory(
        lambda: dict.fromkeys(("performed", "repeated", "refused", "expired", "dropped"), 0)
    )

    def take(self, order: Order, age: float, now: float) -> list[PerformerEffect]:
        """
        An order has come.

        Args:
            age: seconds since it was given, at most; infinite when that can't be told.
        """
        if order.id in self.entries:
            self.counters["repeated"] += 1
            return [Answer(order.id)]
        left = order.ttl_ms / 1000 - age
        state, text = State.QUEUED, ""
        try:
            if not is_id(order.id):
                raise RequestError("id", order.id[:64], "8 to 64 letters, digits, '-' and '_' are accepted")
            check_order(order.what, order.payload, order.args, order.role)
            if order.what in self.denied:
                raise RequestError("kind", order.what, "denied on this host, see [deny] in its configuration")
            if left <= 0:
                state, text = State.EXPIRED, "it was not begun in time"
            elif sum(entry.state not in FINAL for entry in self.entries.values()) >= self.policy.open:
                raise RequestError("id", order.id, f"at most {self.policy.open} orders are open at a time")
        except RequestError as error:
            state, text = State.REFUSED, str(error)
        self._remember(Entry(order, state, text, expires=now + left))
        if state in FINAL:
            self.counters[state.value] += 1
            return [Note(order, state.value, text), Answer(order.id)]
        if KINDS[order.what].looks:
            return self._begin(self.entries[order.id])
        return self._next(order.payload, now) or [Answer(order.id)]

    def finished(
        self, order_id: str, ok: bool, text: str, data: Mapping[str, Any], now: float
    ) -> list[PerformerEffect]:
        """An order that was to be performed has been, or has failed."""
        entry = self.entries.get(order_id)
        if entry is None or entry.state is not State.PERFORMING:
            return []
        entry.state, entry.text, entry.data = (State.DONE if ok else State.FAILED), text, dict(data)
        self.counters["performed"] += 1
        effects: list[PerformerEffect] = [Note(entry.order, entry.state.value, text), Answer(order_id)]
        return effects + self._next(entry.order.payload, now)

    def tick(self, now: float) -> list[PerformerEffect]:
        """Time has passed: those that were not begun in time."""
        effects: list[PerformerEffect] = []
        for entry in list(self.entries.values()):
            if entry.state is State.QUEUED and now >= entry.expires:
                entry.state, entry.text = State.EXPIRED, "it was not begun in time: another order was under way"
                self.counters["expired"] += 1
                effects += [Note(entry.order, entry.state.value, entry.text), Answer(entry.order.id)]
        return effects

    @property
    def wake_at(self) -> float | None:
        """When :meth:`tick` is wanted; None for never."""
        return min((e.expires for e in self.entries.values() if e.state is State.QUEUED), default=None)

    def restore(self, order: Order, what: str, text: str) -> None:
        """What an earlier control actor wrote down, oldest first."""
        if what == "begun":
            self._remember(Entry(order, State.PERFORMING))
        elif order.id in self.entries:
            self.entries[order.id].state, self.entries[order.id].text = State(what), text
        else:
            self._remember(Entry(order, State(what), text))

    def resume(self) -> list[PerformerEffect]:
        """After restoring: what was begun and not finished is done again, which every kind of order bears."""
        return [Perform(entry.order) for entry in self.entries.values() if entry.state is State.PERFORMING]

    def result(self, order_id: str, agent: str, epoch: int) -> OrderResult:
        """What there is to say of a known order."""
        entry = self.entries[order_id]
        return OrderResult(
            agent=agent, epoch=epoch, id=order_id, state=entry.state.value, text=entry.text, data=entry.data
        )

    def _next(self, payload: str, now: float) -> list[PerformerEffect]:
        """Begin the oldest queued order for ``payload`` unless another is under way."""
        of_it = [e for e in self.entries.values() if e.order.payload == payload and e.state not in FINAL]
        acts = [entry for entry in of_it if not KINDS[entry.order.what].looks]
        if any(entry.state is State.PERFORMING for entry in acts):
            return []
        due = [entry for entry in acts if now < entry.expires]
        return self._begin(due[0]) if due else []

    @staticmethod
    def _begin(entry: Entry) -> list[PerformerEffect]:
        entry.state = State.PERFORMING
        return [Note(entry.order, "begun"), Answer(entry.order.id), Perform(entry.order)]

    def _remember(self, entry: Entry) -> None:
        self.entries[entry.order.id] = entry
        _forget(self.entries, self.policy)


# -- Fusion ---------------------------------------------------------------------------------------------------------


@attrs.frozen
class Deliver:
    """Send ``order`` to ``target``."""

    target: str
    order: Order


@attrs.frozen
class Decided:
    """Write down that a ticket was given, or what became of it."""

    id: str


IssuerEffect: TypeAlias = Deliver | Decided


@attrs.define(eq=False)
class Ticket:
    """
    An order as Fusion follows it.

    Attributes:
        order: as it was given; ``ttl_ms`` is the whole of it.
        target: an agent, or :data:`FUSION`.
        state, text, data: as last heard.
        given: when.
        sent: when it was sent last; None for not yet.
        heard: when its target last said anything of it.
    """

    order: Order
    target: str
    given: float
    state: State = State.WAITING
    text: str = ""
    data: dict[str, Any] = attrs.Factory(dict)
    sent: float | None = None
    heard: float = 0.0

    def step(self, state: State, text: str = "") -> bool:
        """Take a step of the table; False when there is none such."""
        if state not in STEPS[self.state]:
            return False
        self.state, self.text = state, text
        return True


@attrs.define(eq=False)
class Issuer:
    """
    All orders that Fusion follows.

    Attributes:
        policy: bounds.
        tickets: by id, oldest first.
        number: of the last one.
        counters: ``given``, ``limited``, ``denied``, ``strays`` (results of nobody's order).
    """

    policy: OrderPolicy
    tickets: dict[str, Ticket] = attrs.Factory(dict)
    number: int = 0
    counters: dict[str, int] = attrs.Factory(lambda: dict.fromkeys(("given", "limited", "denied", "strays"), 0))
    _budgets: dict[str, tuple[float, float]] = attrs.Factory(dict)

    def give(
        self,
        target: str,
        kind: str,
        payload: str,
        args: Mapping[str, str],
        *,
        order_id: str,
        by: str,
        role: str,
        ttl: float,
        now: float,
    ) -> list[IssuerEffect]:
        """
        A person gives an order; the same id again changes nothing.

        Raises:
            TooManyError: of this person; nothing else was looked at.
            RequestError: it is none, not for this role, too many are open, or its id is another order's.
        """
        known = self.tickets.get(order_id)
        if known is not None:
            order = known.order
            if (known.target, order.what, order.payload, order.args) != (target, kind, payload, dict(args)):
                raise RequestError("id", order_id, "another order has this id: a new one is accepted")
            return []
        self._spend(by, now)
        if not is_id(order_id):
            raise RequestError("id", order_id[:64], "8 to 64 letters, digits, '-' and '_' are accepted")
        try:
            check_order(kind, payload, args, role)
        except RequestError:
            self.counters["denied"] += 1
            raise
        if not 0 < ttl <= 86_400:
            raise RequestError("ttl", ttl, "seconds above 0 and up to 86400 are accepted")
        if sum(ticket.state not in FINAL for ticket in self.tickets.values()) >= self.policy.open:
            self.counters["limited"] += 1
            raise RequestError("id", order_id, f"{self.policy.open} orders are open already; try again later")
        self.number += 1
        self.counters["given"] += 1
        order = Order(
            id=order_id,
            number=self.number,
            what=kind,
            payload=payload,
            args=dict(args),
            ttl_ms=round(ttl * 1000),
            by=by,
            role=role,
        )
        self._keep(Ticket(order, target, now, heard=now))
        return [Decided(order_id)]

    def heard(self, target: str, result: OrderResult, now: float) -> list[IssuerEffect]:
        """``target`` says how far an order is."""
        ticket = self.tickets.get(result.id)
        if ticket is None or ticket.target != target:
            self.counters["strays"] += 1
            return []
        try:
            state = State(result.state)
        except ValueError:
            self.counters["strays"] += 1
            return []
        ticket.heard = now
        if not ticket.step(state, result.text):
            return []
        ticket.data = result.data
        return [Decided(result.id)] if state in FINAL else []

    def tick(self, online: Mapping[str, tuple[int, int]], now: float) -> list[IssuerEffect]:
        """
        Time has passed.

        Args:
            online: who can be reached → (session epoch, seq of its last heartbeat).
        """
        effects: list[IssuerEffect] = []
        policy = self.policy
        for ticket in self.tickets.values():
            if ticket.state in FINAL:
                continue
            order = ticket.order
            left = order.ttl_ms - round((now - ticket.given) * 1000)
            if ticket.sent is None and left <= 0:
                ticket.step(State.EXPIRED, f"{ticket.target} was not reached in time")
                effects.append(Decided(order.id))
                continue
            if left <= 0 and now - max(ticket.heard, ticket.given + order.ttl_ms / 1000) >= policy.answer_seconds:
                ticket.step(State.UNKNOWN, f"{ticket.target} never said what became of it")
                effects.append(Decided(order.id))
                continue
            reach = online.get(ticket.target)
            if reach is None or (ticket.sent is not None and now - ticket.sent < policy.resend_seconds):
                continue
            ticket.sent = now
            ticket.step(State.SENT)
            wanted = attrs.evolve(order, ttl_ms=max(0, left), epoch=reach[0], beat=reach[1])  # type: ignore[misc]
            effects.append(Deliver(ticket.target, wanted))
        return effects

    def restore(self, order: Order, target: str, state: str, text: str, now: float) -> None:
        """What an earlier control actor wrote down, oldest first. What was open is only asked after: it has no ttl."""
        self.number = max(self.number, order.number)
        known = self.tickets.get(order.id)
        if known is None:
            asked = attrs.evolve(order, ttl_ms=0)  # type: ignore[misc]
            known = Ticket(asked, target, now, state=State.SENT, sent=now - self.policy.resend_seconds, heard=now)
            self._keep(known)
        known.step(State(state), text)

    def _spend(self, by: str, now: float) -> None:
        """One order from the budget of ``by``."""
        policy = self.policy
        if len(self._budgets) > policy.kept:  # those who have been quiet for long have all of it anyway
            full = policy.burst / policy.per_second
            self._budgets = {one: (left, at) for one, (left, at) in self._budgets.items() if now - at < full}
        left, at = self._budgets.get(by, (float(policy.burst), now))
        left = min(float(policy.burst), left + (now - at) * policy.per_second)
        if left < 1:
            self.counters["limited"] += 1
            raise TooManyError("by", by, f"at most {policy.burst} orders at once, {policy.per_second:g} a second")
        self._budgets[by] = (left - 1, now)

    def _keep(self, ticket: Ticket) -> None:
        self.tickets[ticket.order.id] = ticket
        _forget(self.tickets, self.policy)


def _forget(book: dict[str, Entry] | dict[str, Ticket], policy: OrderPolicy) -> None:
    """What is finished is bounded: first the data of the oldest, then they themselves."""
    final = [key for key, kept in book.items() if kept.state in FINAL]
    for key in final[: max(0, len(final) - policy.kept_data)]:
        book[key].data = {}
    for key in final[: max(0, len(final) - policy.kept)]:
        del book[key]


def plain(order: Order) -> dict[str, Any]:
    """An order for the audit log."""
    return {
        "id": order.id,
        "number": order.number,
        "kind": order.what,
        "payload": order.payload,
        "args": dict(order.args),
        "by": order.by,
        "role": order.role,
    }


def from_plain(entry: Mapping[str, Any]) -> Order:
    """
    The order in an entry of the audit log.

    Raises:
        ValueError: there is none.
    """
    try:
        return Order(
            id=str(entry["id"]),
            number=int(entry["number"]),
            what=str(entry["kind"]),
            payload=str(entry["payload"]),
            args={str(name): str(value) for name, value in entry["args"].items()},
            by=str(entry["by"]),
            role=str(entry["role"]),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no order: {error}") from None
