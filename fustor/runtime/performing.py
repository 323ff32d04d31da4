"""
Orders carried out on the payloads of this side, written down before and after.

The ring around :class:`protocols.orders.Performer`: its notes go to the audit log (in a thread, for the disk may be
slow), its answers to whoever ordered, and what is to be done to the shell. An order that an earlier control actor had
begun is finished by this one: the log names the process that it was for, so nothing is done twice.

What this module does not do: decide whether an order is carried out (the performer does), or what follows for a payload
(supervision does).
"""

from __future__ import annotations

import faulthandler
import logging
import math
import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import trio

from fustor.runtime.audit import Audit
from fustor.runtime.evidence import last_lines
from fustor.runtime.isolation import readable
from fustor.runtime.shell import Shell
from fustor.runtime.vitals import ProcessGone, Vitals
from protocols.errors import FustorError, RequestError
from protocols.happenings import cut
from protocols.messages import Order
from protocols.orders import Answer, Note, Perform, Performer, PerformerEffect, from_plain, plain
from protocols.supervision import ALIVE, CONNECTED, RESTING, Drain, Pause, Restart, Resume, State, Strike, Supervisor

#: Log lines when nothing is said.
LOG_LINES = 50
#: Looks at whether a process stands still, seconds apart.
_LOOK_SECONDS = 0.02
#: States in which a payload does what it can.
_UP = frozenset({State.RUNNING, State.WAITING, State.REFUSED})

#: Cases of the quarantine that are shown, the last ones, and characters of an item in them.
MOST_CASES, ITEM_CHARACTERS = 200, 500

#: ok, text for people, data.
Outcome = tuple[bool, str, dict[str, Any]]


class Executor:
    """
    Args:
        target: name of this side in the log: an agent's id, or ``fusion``.
        performer: fresh.
        shell: the payloads.
        audit: the log; its entries of earlier lives are taken up.
        answer: told the id of an order whose state is to be told.
        diagnose: makes a diagnosis under the id of an order, returns its data.
        configuration: the document of what runs, as text; None where there is no such thing.
        reset: asks for another store of a payload, or (True) does so no more; blocks. None where no payload has one.
        forbid: why a kind of order is not carried out on a payload just now; empty when it is.
        log: for decisions.
    """

    def __init__(
        self,
        target: str,
        performer: Performer,
        shell: Shell,
        audit: Audit,
        *,
        answer: Callable[[str], None],
        diagnose: Callable[[str], Awaitable[dict[str, Any]]],
        log: logging.Logger,
        forbid: Callable[[str, str], str] = lambda kind, payload: "",
        configuration: Callable[[], str] | None = None,
        reset: Callable[[str, bool], None] | None = None,
    ) -> None:
        self.target = target
        self.performer = performer
        self._shell = shell
        self._audit = audit
        self._answer = answer
        self._diagnose = diagnose
        self._configuration = configuration
        self._reset_store = reset
        self._forbid = forbid
        self._log = log
        # Bounded by :meth:`take`, and by the orders that may be open.
        self._put, self._effects = trio.open_memory_channel[list[PerformerEffect]](math.inf)
        #: Order → token of the process that it was for when it was begun.
        self._meant: dict[str, str] = {}
        for entry in audit.recent:
            if entry.get("entry") == "performed" and entry.get("target") == target:
                try:
                    performer.restore(from_plain(entry), str(entry["state"]), str(entry.get("text", "")))
                    self._meant[str(entry["id"])] = str(entry.get("token", ""))
                except (KeyError, ValueError):
                    continue
        self._put.send_nowait(performer.resume())

    def take(self, order: Order, age: float) -> None:
        """
        An order has come; ``age`` as for :meth:`protocols.orders.Performer.take`.

        It is dropped, and counted, when more have come than can be written down: whoever gave it gives it again.
        """
        if self._effects.statistics().current_buffer_used > 2 * self.performer.policy.open:
            self.performer.counters["dropped"] += 1
            return
        self._put.send_nowait(self.performer.take(order, age, trio.current_time()))

    async def run(self) -> None:
        """Carry out, until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                due = self.performer.wake_at
                effects: list[PerformerEffect] = []
                with trio.move_on_at(math.inf if due is None else due):
                    effects = await self._effects.receive()
                effects += self.performer.tick(trio.current_time())
                for effect in effects:
                    match effect:
                        case Note(order, what, text):
                            await self._note(order, what, text)
                        case Answer(order_id):
                            self._answer(order_id)
                        case Perform(order):
                            nursery.start_soon(self._perform, order)

    async def _note(self, order: Order, what: str, text: str) -> None:
        if what == "begun" and order.id not in self._meant:
            self._meant[order.id] = self._token(order.payload)
        elif what != "begun":
            self._meant.pop(order.id, None)
        entry = {"entry": "performed", "state": what, "target": self.target, **plain(order), "text": text[:2000]}
        if what == "begun":
            entry["token"] = self._meant[order.id]
        self._log.info("order", extra={"id": order.id, "kind": order.what, "payload": order.payload, "state": what})
        where = order.payload or "the whole side"
        said = f": {text}" if text else ""
        self._shell.tell(order.payload, "order", f"{order.what} of {where} by {order.by}: {what}{said}"[:1000])
        await self._audit.note(entry, self._log)

    def _token(self, payload: str) -> str:
        try:
            return self._shell.view(payload).token
        except RequestError:
            return ""

    async def _perform(self, order: Order) -> None:
        seconds = self.performer.policy.perform_seconds
        outcome: Outcome = (False, f"not done within {seconds:g} s", {})
        with trio.move_on_after(seconds):
            try:
                outcome = await _DO[order.what](self, order)
            except FustorError as error:
                outcome = (False, str(error), {})
            except Exception as error:
                # A bug in one kind of order: whoever gave it is told, and the others are carried out.
                self._log.exception("order failed", extra={"id": order.id, "kind": order.what})
                outcome = (False, f"failed by a bug: {error!r}", {})
        ok, text, data = outcome
        if not ok and text.startswith("not done"):
            text += self._how_it_is(order.payload)
        self._put.send_nowait(self.performer.finished(order.id, ok, text, data, trio.current_time()))

    def _how_it_is(self, payload: str) -> str:
        try:
            view = self._shell.view(payload)
        except RequestError:
            return ""
        return f": it is {view.state.value}" + (f", {view.complaint}" if view.complaint else "")

    # -- what each kind does ----------------------------------------------------------------------------------------

    async def _until(self, name: str, condition: Callable[[Supervisor], bool]) -> Supervisor:
        """The life of a payload, once it is as wanted."""
        while not condition(view := self._shell.view(name)):
            await self._shell.wait_changed()
        return view

    def _check(self, order: Order) -> Supervisor:
        view = self._shell.view(order.payload)
        reason = self._forbid(order.what, order.payload)
        if reason:
            raise RequestError("payload", order.payload, reason)
        return view

    async def _restart(self, order: Order) -> Outcome:
        view = self._check(order)
        meant, pid = self._meant.get(order.id, ""), view.pid
        if view.state is State.DRAINED or view.held:
            raise RequestError("payload", order.payload, "it is drained: resume starts it")
        if view.token == meant or not view.token:
            self._shell.order(order.payload, Restart(f"restart ordered by {order.by}", ordered=True))
        view = await self._until(order.payload, lambda v: v.token not in ("", meant) and v.state in _UP)
        return True, f"pid {pid} ended ({view.last_exit}), pid {view.pid} is {view.state.value}", {"pid": view.pid}

    async def _reset(self, order: Order) -> Outcome:
        """The store of a view is built anew behind the one that is answered from: the next life of the view does it."""
        view, cancel = self._check(order), "cancel" in order.args
        if self._reset_store is None or not order.payload.startswith("view."):
            raise RequestError("payload", order.payload, "a view is accepted: what others keep can't be reset")
        if view.token == self._meant.get(order.id, ""):
            await trio.to_thread.run_sync(self._reset_store, order.payload, cancel)
        ok, text, data = await self._restart(order)
        said = "nothing is built anew" if cancel else "the tree is built anew, and the old one answered until it is"
        return ok, f"{said}: {text}", data

    async def _kill(self, order: Order) -> Outcome:
        view = self._check(order)
        number = signal.Signals(int(order.args.get("signal", "15")))
        meant, pid = self._meant.get(order.id, ""), view.pid
        if view.token == meant:
            if not view.pid:
                raise RequestError("payload", order.payload, f"it does not run ({view.state.value})")
            self._shell.order(order.payload, Strike(number))
        view = await self._until(order.payload, lambda v: v.token != meant)
        return True, f"pid {pid} ended: {view.last_exit}", {"cause": view.cause}

    async def _pause(self, order: Order) -> Outcome:
        view = self._check(order)
        if view.state not in CONNECTED | {State.STARTING, State.PAUSED}:
            raise RequestError("payload", order.payload, f"it is {view.state.value}: what runs can be paused")
        self._shell.order(order.payload, Pause())
        vitals = Vitals(view.pid)
        try:
            while vitals.sample().code not in ("T", "t"):  # noqa: ASYNC110 - the kernel makes it true
                await trio.sleep(_LOOK_SECONDS)
        except ProcessGone:
            raise RequestError("payload", order.payload, "it ended meanwhile") from None
        finally:
            vitals.close()
        return True, f"pid {view.pid} stands still", {}

    async def _resume(self, order: Order) -> Outcome:
        self._check(order)
        self._shell.order(order.payload, Resume())
        view = await self._until(order.payload, lambda v: v.state in _UP)
        return True, f"pid {view.pid} is {view.state.value}", {"pid": view.pid}

    async def _drain(self, order: Order) -> Outcome:
        view = self._check(order)
        pid = view.pid
        self._shell.order(order.payload, Drain())
        view = await self._until(order.payload, lambda v: v.state not in ALIVE)
        return True, f"pid {pid} ended ({view.last_exit}), it is {view.state.value}", {}

    async def _release(self, order: Order) -> Outcome:
        view = self._check(order)
        if order.args.get("item"):
            case = self._shell.release(order.args["item"])
            return True, f"{readable(case.item)} is handled again", {"item": case.id}
        if view.state not in RESTING | {State.AWAITING}:
            return True, f"nothing held it: it is {view.state.value}", {}
        return await self._resume(order)

    async def _stacks(self, order: Order) -> Outcome:
        text = own_stacks() if order.payload == "control" else await self._shell.stacks_of(order.payload)
        if not text:
            return False, "it wrote none in time: it is stopped, or C code never gives the interpreter's lock back", {}
        return True, "", {"text": cut(text)}

    async def _lines(self, order: Order) -> Outcome:
        if order.payload not in ("control", "guardian"):
            self._shell.view(order.payload)
        lines = int(order.args.get("lines", str(LOG_LINES)))
        text = await trio.to_thread.run_sync(last_lines, self._shell.log_of(order.payload), lines)
        return True, "", {"text": cut(text, 200_000)}

    async def _document(self, order: Order) -> Outcome:
        if self._configuration is None:
            raise RequestError(
                "target", self.target, "an agent is accepted: the configuration of this side is its file"
            )
        return True, "", {"text": self._configuration()}

    async def _diagnosis(self, order: Order) -> Outcome:
        data = await self._diagnose(order.id)
        return True, f"{data['bytes']} bytes", data

    async def _quarantine(self, order: Order) -> Outcome:
        cases = [case.plain() for case in self._shell.cases()][-MOST_CASES:]
        for case in cases:
            case["item"] = cut(readable(case["item"]), ITEM_CHARACTERS)
        return True, f"{sum(case['state'] == 'quarantined' for case in cases)} quarantined", {"cases": cases}


_DO: Mapping[str, Callable[[Executor, Order], Awaitable[Outcome]]] = {
    "restart": Executor._restart,
    "kill": Executor._kill,
    "pause": Executor._pause,
    "resume": Executor._resume,
    "drain": Executor._drain,
    "release": Executor._release,
    "reset": Executor._reset,
    "stacks": Executor._stacks,
    "log": Executor._lines,
    "diagnose": Executor._diagnosis,
    "quarantine": Executor._quarantine,
    "configuration": Executor._document,
}


def own_stacks() -> str:
    """The stacks of this process's threads."""
    fd = os.memfd_create("stacks", os.MFD_CLOEXEC)
    try:
        faulthandler.dump_traceback(fd, all_threads=True)
        return os.pread(fd, 1 << 20, 0).decode("utf-8", "replace")
    finally:
        os.close(fd)
