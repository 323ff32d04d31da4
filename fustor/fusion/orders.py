"""
Orders given at Fusion: to agents over their links, to Fusion's own payloads directly.

The ring around :class:`protocols.orders.Issuer`: its decisions go to the audit log, its deliveries to whoever shall
perform them. What an agent's diagnosis yields is fetched from it piece by piece, one piece under way at a time.

What this module does not do: receive from agents or people (``fustor.fusion.control`` does), or decide.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import trio

from fustor.runtime.audit import Audit
from fustor.runtime.diagnosis import MOST_BYTES, Diagnoses, prune, read_piece
from fustor.runtime.durable import write_durably
from fustor.runtime.performing import Executor
from fustor.runtime.shell import Shell
from protocols.errors import RequestError
from protocols.messages import Chunk, Fetch, Order, OrderResult
from protocols.orders import (
    FINAL,
    FUSION,
    Decided,
    Deliver,
    Issuer,
    IssuerEffect,
    OrderPolicy,
    Performer,
    State,
    TooManyError,
    from_plain,
    plain,
)
from protocols.session import FusionSession

#: Entries that wait for the disk, at most.
WAITING_NOTES = 4096
#: Seconds until a piece is asked for again, and times without any answer after which it is given up.
FETCH_SECONDS, FETCH_TRIES = 2.0, 15


@attrs.define(eq=False)
class _Bundle:
    """A diagnosis on its way from an agent: pieces, and why it ended early."""

    agent: str
    data: bytearray = attrs.field(factory=bytearray)
    total: int | None = None
    came: trio.Event = attrs.field(factory=trio.Event)


class Orders:
    """
    Args:
        state: Fusion's state folder.
        policy: bounds.
        audit: opened.
        session: who can be reached.
        shell: our payloads.
        send: sends a message to an agent; False when it can't be now.
        describe: for our own diagnosis.
        log: for decisions.
    """

    def __init__(
        self,
        state: str,
        policy: OrderPolicy,
        audit: Audit,
        session: FusionSession,
        shell: Shell,
        *,
        send: Callable[[str, Order | Fetch], bool],
        describe: Callable[[], dict[str, Any]],
        log: logging.Logger,
    ) -> None:
        self.issuer = Issuer(policy)
        self._state = state
        self.audit = audit
        self._session = session
        self._shell = shell
        self._send = send
        self._log = log
        self._poke = trio.Event()
        #: Set, and made anew, whenever something has become of an order.
        self._decided = trio.Event()
        #: For the audit log, in turn.
        self._notes: deque[dict[str, Any]] = deque()
        self._bundles: dict[str, _Bundle] = {}
        self._diagnoses = Diagnoses(os.path.join(state, "diagnoses"), shell, audit, describe)
        self.executor = Executor(
            FUSION,
            Performer(frozenset(), policy),
            shell,
            audit,
            answer=self._heard_ourselves,
            diagnose=self._diagnoses.make,
            log=log,
            forbid=self._forbid,
            reset=self._reset,
        )
        now = trio.current_time()
        for entry in audit.recent:
            if entry.get("entry") == "order":
                with contextlib.suppress(KeyError, ValueError):
                    text = str(entry.get("text", ""))
                    self.issuer.restore(from_plain(entry), str(entry["target"]), str(entry["state"]), text, now)

    async def run(self) -> None:
        """Deliver, follow and write down, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.executor.run)
            nursery.start_soon(self._follow, nursery)

    # -- people -----------------------------------------------------------------------------------------------------

    def give(self, target: str, kind: str, payload: str, args: Mapping[str, str], **who: Any) -> dict[str, Any]:
        """
        Give an order; arguments as of :meth:`protocols.orders.Issuer.give`.

        Raises:
            RequestError: refused; the refusal is in the log.
        """
        if target != FUSION and target not in self._session.links:
            known = ", ".join([FUSION, *sorted(self._session.links)])
            raise RequestError("target", target[:64], f"one of {known} is accepted")
        try:
            effects = self.issuer.give(target, kind, payload, args, now=trio.current_time(), **who)
        except TooManyError:
            # Counted, and not written down: else whoever floods would fill the log.
            raise
        except RequestError as error:
            refusal = {"id": who["order_id"][:64], "kind": kind[:64], "payload": payload[:100], "target": target}
            who_is = {"by": who["by"], "role": who["role"]}
            self.note({"entry": "denied", **refusal, **who_is, "text": str(error)[:500]})
            self._log.warning("order denied", extra={**refusal, **who_is, "error": str(error)})
            raise
        self._carry_out(effects)
        self._poke.set()
        return self.state(who["order_id"])

    def state(self, order_id: str) -> dict[str, Any]:
        """
        How far an order is.

        Raises:
            RequestError: there is none of this id.
        """
        ticket = self.issuer.tickets.get(order_id)
        if ticket is None:
            raise RequestError("id", order_id[:64], "the id of an order that was given is accepted")
        return {
            "id": order_id,
            "number": ticket.order.number,
            "target": ticket.target,
            "kind": ticket.order.what,
            "payload": ticket.order.payload,
            "by": ticket.order.by,
            "state": ticket.state.value,
            "final": ticket.state in FINAL,
            "text": ticket.text,
            "data": ticket.data,
        }

    async def outcome(self, order_id: str) -> dict[str, Any]:
        """
        What became of an order, as :meth:`state`, once that is known.

        Raises:
            RequestError: there is none of this id (any more).
        """
        while not (order := self.state(order_id))["final"]:
            await self._decided.wait()
        return order

    async def piece(self, order_id: str, offset: int) -> dict[str, Any]:
        """
        A piece of what a diagnosis has yielded: ``{"total", "data"}``; ``total`` is null while it is not here yet.

        Raises:
            RequestError: no such order, or what it yielded is gone.
        """
        ticket = self.issuer.tickets.get(order_id)
        if ticket is None or ticket.order.what != "diagnose" or ticket.state is not State.DONE:
            raise RequestError("id", order_id[:64], "the id of a diagnosis that is done is accepted")
        path = self._diagnoses.path(order_id)
        total, data = await trio.to_thread.run_sync(read_piece, path, offset)
        if total >= 0:
            return {"total": total, "data": data}
        bundle = self._bundles.get(order_id)
        if bundle is None:
            raise RequestError("id", order_id, "it is gone: give the order again")
        return {"total": None, "data": b"", "fetched": len(bundle.data)}

    def note(self, entry: dict[str, Any]) -> None:
        """Write an entry into the audit log, in turn; it counts as one that could not be written when too many wait."""
        if len(self._notes) >= WAITING_NOTES:
            self.audit.failures += 1
            self._log.error("the audit log is too slow: an entry is lost", extra={"entry": entry["entry"]})
            return
        self._notes.append(entry)
        self._poke.set()

    # -- agents -----------------------------------------------------------------------------------------------------

    def heard(self, agent: str, result: OrderResult) -> None:
        """An agent says how far an order is."""
        self._carry_out(self.issuer.heard(agent, result, trio.current_time()))
        ticket = self.issuer.tickets.get(result.id)
        if ticket is not None and ticket.state is State.DONE and ticket.order.what == "diagnose":
            self._bundles.setdefault(result.id, _Bundle(agent))
        self._poke.set()

    def chunk(self, agent: str, chunk: Chunk) -> None:
        """A piece has come; one that was not asked for, or is empty before the end, is dropped."""
        bundle = self._bundles.get(chunk.id)
        if bundle is None or bundle.agent != agent or chunk.offset != len(bundle.data):
            return
        if not chunk.data and chunk.total > chunk.offset:
            return
        bundle.total = chunk.total
        bundle.data += chunk.data
        bundle.came.set()

    # -- inside -----------------------------------------------------------------------------------------------------

    def _heard_ourselves(self, order_id: str) -> None:
        result = self.executor.performer.result(order_id, FUSION, 0)
        self._carry_out(self.issuer.heard(FUSION, result, trio.current_time()))
        self._poke.set()

    def _forbid(self, kind: str, payload: str) -> str:
        """fs/tree always answers: the last query worker that does is not taken away."""
        if kind not in ("pause", "drain") or not payload.startswith("query."):
            return ""
        others = [s for s in self._shell.statuses() if s.name.startswith("query.") and s.name != payload]
        return "" if any(s.state == "running" for s in others) else "no other query worker runs: fs/tree must answer"

    def _reset(self, payload: str, cancel: bool) -> None:
        """The view looks for this file when it starts (:class:`fustor.treestore.place.Place`)."""
        path = os.path.join(self._state, "views", payload.removeprefix("view."), "reset")
        if not cancel:
            write_durably(path, b"")
            return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)

    async def _follow(self, nursery: trio.Nursery) -> None:
        fetching: set[str] = set()
        while True:
            # Nothing is delivered before it is written down that it was given.
            while self._notes:
                await self.audit.note(self._notes.popleft(), self._log)
            online = {**self._session.reachable(), FUSION: (0, 0)}
            self._carry_out(self.issuer.tick(online, trio.current_time()))
            for order_id in self._bundles.keys() - fetching:
                fetching.add(order_id)
                nursery.start_soon(self._fetch, order_id, fetching)
            if self._notes:
                continue
            is_open = any(ticket.state not in FINAL for ticket in self.issuer.tickets.values())
            with trio.move_on_after(self.issuer.policy.resend_seconds if is_open else math.inf):
                await self._poke.wait()
            self._poke = trio.Event()

    def _carry_out(self, effects: list[IssuerEffect]) -> None:
        for effect in effects:
            match effect:
                case Deliver(target, order) if target == FUSION:
                    self.executor.take(order, 0.0)
                case Deliver(target, order):
                    self._send(target, order)
                case Decided(order_id):
                    ticket = self.issuer.tickets[order_id]
                    entry = {"entry": "order", "state": ticket.state.value, "target": ticket.target}
                    self.note({**entry, **plain(ticket.order), "text": ticket.text[:2000]})
                    self._decided.set()
                    self._decided = trio.Event()

    async def _fetch(self, order_id: str, fetching: set[str]) -> None:
        bundle, path, tries = self._bundles[order_id], self._diagnoses.path(order_id), 0
        try:
            while tries < FETCH_TRIES and (bundle.total is None or 0 <= len(bundle.data) < bundle.total <= MOST_BYTES):
                bundle.came = trio.Event()
                reach = self._session.reachable().get(bundle.agent)
                if reach is not None:
                    self._send(bundle.agent, Fetch(id=order_id, epoch=reach[0], offset=len(bundle.data)))
                with trio.move_on_after(FETCH_SECONDS) as waited:
                    await bundle.came.wait()
                tries = tries + 1 if waited.cancelled_caught else 0
            if bundle.total is not None and len(bundle.data) == bundle.total:
                await trio.to_thread.run_sync(_keep, path, bytes(bundle.data))
            else:
                self._log.warning("a diagnosis could not be fetched", extra={"id": order_id, "agent": bundle.agent})
        except OSError as error:
            self._log.error("a diagnosis can't be kept", extra={"file": path, "error": error.strerror or ""})
        finally:
            del self._bundles[order_id]
            fetching.discard(order_id)


def _keep(path: str, data: bytes) -> None:
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    with open(path + ".tmp", "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(data)
    os.rename(path + ".tmp", path)
    prune(os.path.dirname(path))
