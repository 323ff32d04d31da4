"""
The rollout of a program to agents: kept across our lives, carried out agent by agent, and taken back.

The ring around :mod:`protocols.rollout`. There is one rollout at a time, in ``rollout.json`` in the state folder, kept
after it was served, for agents that come later. What it wants of an agent is a revision of that agent's own: what runs
there, with another program. Its reason names the rollout, so what a killed control actor had pushed is recognised by
its successor.

What this module does not do: decide (the machine does), or judge a program (each agent does, of its own).
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import attrs
import trio

from fustor.fusion.desired import REASON_CHARACTERS, Desired
from fustor.fusion.orders import Orders
from fustor.fusion.program import FusionSide
from fustor.fusion.program import render as render_own
from fustor.fusion.rollout_state import WHAT, Current, Purpose, content_of, load
from fustor.runtime.converging import Converging
from fustor.runtime.document import Software, parse, render
from fustor.runtime.durable import write_json
from fustor.runtime.pace import next_multiple
from protocols.errors import FustorError, MachineError, RequestError
from protocols.messages import ConfigurationStatus
from protocols.orders import DEPLOYER, FUSION, TooManyError
from protocols.rollout import (
    Abort,
    Effect,
    Event,
    Keep,
    Member,
    NotPushed,
    Pause,
    Phase,
    Push,
    Pushed,
    Ran,
    Resume,
    Rollout,
    RolloutPolicy,
    Say,
    Seen,
    Sight,
    Standing,
)
from protocols.session import FusionSession, LinkState

#: Seconds between two looks at all agents.
LOOK_SECONDS = 1.0
#: Agents that are given it, or taken back, at a time.
AT_A_TIME = 8
#: Seconds in which an agent has to say what it runs.
ASK_SECONDS = 30.0
#: Seconds until an order is given again that was one too many.
_PACE_SECONDS = 0.1


class Rollouts:
    """
    Args:
        state: Fusion's state folder.
        session: the agents.
        desired: their configurations.
        program: of Fusion's own payloads, which are a target by name only.
        orders: by which an agent is asked what it runs.
        has_bundle: whether there is a bundle of this digest.
        tell: tells people.
        log: for steps.
    """

    def __init__(
        self,
        state: str,
        session: FusionSession,
        desired: Desired,
        orders: Orders,
        *,
        program: Converging[FusionSide],
        has_bundle: Callable[[str], bool],
        tell: Callable[[str], None],
        log: logging.Logger,
    ) -> None:
        self._path = os.path.join(state, "rollout.json")
        self._session = session
        self._desired = desired
        self._orders = orders
        self._program = program
        self._has_bundle = has_bundle
        self._tell = tell
        self._log = log
        self._current: Current | None = None
        self._todo: deque[Effect] = deque()
        self._poke = trio.Event()
        self._starting, self._writing = trio.Lock(), trio.Lock()
        #: Agents that are being given it, until that is done.
        self._giving: dict[str, trio.Event] = {}

    def begin(self) -> None:
        """Take up what was under way. Blocks; to be called once, before anybody is answered."""
        try:
            self._current = load(self._path, trio.current_time())
        except (ValueError, MachineError) as error:
            self._say(f"what was under way is lost: {error}")
            with contextlib.suppress(OSError):
                os.replace(self._path, self._path + ".unreadable")

    async def run(self) -> None:
        """Carry it on, until cancelled."""
        limiter = trio.CapacityLimiter(AT_A_TIME)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._look)
            while True:
                self._poke = trio.Event()
                while self._todo:
                    effect = self._todo.popleft()
                    match effect:
                        case Push(agent) if self._current is not None:
                            self._giving[agent] = trio.Event()
                            nursery.start_soon(self._push, agent, self._current, limiter)
                        case Keep():
                            await self._keep()
                        case Say(text):
                            self._say(text)
                await self._poke.wait()

    # -- people -----------------------------------------------------------------------------------------------------

    def state(self, after: str, most: int) -> dict[str, Any]:
        """
        How far it is; ``agents`` by name, at most ``most`` of those after ``after``, and ``next``: the last of them
        when there are more.
        """
        if self._current is None:
            return {"rollout": None, "agents": [], "next": ""}
        rollout = self._current.rollout
        names = sorted(name for name in rollout.members if name > after)
        return {
            "rollout": {
                **attrs.asdict(self._current.purpose),
                "phase": rollout.phase.value,
                "text": rollout.text,
                "served": rollout.served,
                "everyone": rollout.everyone,
                "wave": rollout.wave,
                "policy": attrs.asdict(rollout.policy),
                "counts": {one.value: rollout.counts()[one.value] for one in Standing},
            },
            "agents": [
                {
                    "agent": name,
                    "link": self._reach(name),
                    "standing": rollout.members[name].standing.value,
                    "revision": rollout.members[name].revision,
                    "text": rollout.members[name].text,
                }
                for name in names[:most]
            ],
            "next": names[most - 1] if len(names) > most else "",
        }

    async def start(
        self,
        bundle: str,
        agents: tuple[str, ...],
        policy: RolloutPolicy,
        reason: str,
        *,
        by: str,
        role: str,
        what: str = "payloads",
    ) -> dict[str, Any]:
        """
        Begin one; without ``agents`` it is for everyone, also who comes later. ``what`` of them shall run it: one of
        :data:`fustor.fusion.rollout_state.WHAT`.

        Raises:
            RequestError: another one is under way, there is no such bundle, or an agent is not known.
            MachineError: it can't be kept, or it is not known yet what is desired of whom.
        """
        if not self._desired.loaded:
            raise MachineError("what is desired of agents is not read yet: try again in a moment")
        if not 0 < len(reason.strip()) <= REASON_CHARACTERS // 2:
            raise RequestError("reason", reason[:64], f"1 to {REASON_CHARACTERS // 2} characters are accepted")
        if what not in WHAT:
            raise RequestError("what", what[:64], f"one of {', '.join(WHAT)} is accepted")
        unknown = sorted(set(agents) - self._session.links.keys() - {FUSION})
        if unknown:
            raise RequestError("agents", unknown[0][:64], f"agents that have logged in are accepted, and {FUSION}")
        if bundle and not await trio.to_thread.run_sync(self._has_bundle, bundle):
            raise RequestError("bundle", bundle[:64], "one that Fusion has is accepted: fustor bundle push FILE")
        async with self._starting:
            self._feed(Seen(self._sights()))  # it may be over since the last look
            before = self._current
            if before is not None and not before.rollout.over:
                raise RequestError("rollout", before.purpose.id, "none while another is under way: abort it first")
            at = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
            members = {name: Member() for name in agents or sorted(self._session.links)}
            begun = Current(
                Purpose(secrets.token_hex(4), bundle, reason, by, role, at, what),
                Rollout(policy, everyone=not agents, members=members),
            )
            await self._write(begun)
            self._current = begun
            self._todo.clear()
        self._note("started", by, role, reason)
        self._feed(Seen(self._sights()))
        return self.state("", 0)

    async def pause(self, reason: str, *, by: str, role: str) -> dict[str, Any]:
        """
        No further wave. Who tries it goes on.

        Raises:
            RequestError: there is none that runs.
        """
        return self._change(Pause(f"{by}: {reason}"), {Phase.RUNNING}, "paused", by, role, reason)

    async def resume(self, reason: str, *, by: str, role: str) -> dict[str, Any]:
        """
        Go on, whatever has failed so far.

        Raises:
            RequestError: there is none that is paused.
        """
        return self._change(Resume(), {Phase.PAUSED}, "resumed", by, role, reason)

    async def abort(self, reason: str, *, by: str, role: str) -> dict[str, Any]:
        """
        Give it to nobody else, for good. Who has it keeps it.

        Raises:
            RequestError: there is none that goes on.
        """
        phases = {Phase.RUNNING, Phase.PAUSED}
        return self._change(Abort(f"{by}: {reason}"), phases, "aborted", by, role, reason)

    async def rollback(self, reason: str, *, by: str, role: str) -> dict[str, Any]:
        """
        Abort it, and desire of each agent again what was good there before, all of them at once.

        Raises:
            RequestError: there is none.
        """
        current = self._current
        if current is None:
            raise RequestError("rollout", "", "there is none")
        self._feed(Abort(f"{by}: taken back: {reason}"))
        self._note("taken back", by, role, reason)
        for given in list(self._giving.values()):
            await given.wait()
        failed: dict[str, str] = {}
        having = [name for name, member in current.rollout.members.items() if member.revision]
        limiter = trio.CapacityLimiter(AT_A_TIME)
        # What was decided is carried out whole, whoever stops waiting for it.
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as nursery:
                for name in having:
                    nursery.start_soon(self._take_back, current, name, reason, by, role, failed, limiter)
        return {"agents": sorted(set(having) - failed.keys()), "failed": failed}

    def _change(self, event: Event, phases: set[Phase], done: str, by: str, role: str, reason: str) -> dict[str, Any]:
        if self._current is None or self._current.rollout.phase not in phases:
            accepted = " or ".join(sorted(phase.value for phase in phases))
            found = "none" if self._current is None else self._current.rollout.phase.value
            raise RequestError("rollout", found, f"one that is {accepted} is accepted")
        self._feed(event)
        self._note(done, by, role, reason)
        return self.state("", 0)

    # -- inside -----------------------------------------------------------------------------------------------------

    def _feed(self, event: Event) -> None:
        if self._current is not None:
            self._todo += self._current.rollout.handle(event, trio.current_time())
            self._poke.set()

    async def _look(self) -> None:
        while True:
            if self._current is not None and self._desired.loaded:
                self._feed(Seen(self._sights()))
            await next_multiple(LOOK_SECONDS)

    def _sights(self) -> dict[str, Sight]:
        sights = {}
        known = self._current.rollout.members.keys() if self._current is not None else set()
        for name in known | self._session.links.keys():
            link, status = self._session.links.get(name), ConfigurationStatus()
            if name == FUSION:
                status = self._program.status()
            elif link is not None:
                status = link.configuration
            sights[name] = Sight(
                online=self._reach(name) == LinkState.ONLINE.value,
                desired=self._desired.of(name)[0],
                good=status.good,
                attempted=status.attempted,
                outcome=status.outcome,
                error=status.error,
            )
        return sights

    def _reach(self, name: str) -> str:
        """The link with an agent, as people see it; Fusion itself is always there."""
        link = self._session.links.get(name)
        if link is None:
            return LinkState.ONLINE.value if name == FUSION else "never seen"
        return link.state.value

    async def _push(self, agent: str, current: Current, limiter: trio.CapacityLimiter) -> None:
        """Give one agent the program; says what became of it, whatever happens."""
        event: Event = NotPushed(agent, "it could not be given")
        try:
            async with limiter:
                if current is self._current and current.rollout.phase is not Phase.ABORTED:
                    event = await self._give(agent, current.purpose)
        except RequestError as error:
            event = NotPushed(agent, str(error), refused=True)
        except MachineError as error:
            event = NotPushed(agent, str(error))
        finally:
            self._giving.pop(agent).set()
            if current is self._current:
                self._feed(event)

    async def _give(self, agent: str, purpose: Purpose) -> Event:
        """
        Raises:
            RequestError: what it runs can't be had with this program.
            MachineError: it does not say what it runs, or that can't be kept.
        """
        mark = f"rollout {purpose.id}: "
        history = (await self._desired.history(agent))["revisions"]
        if history and history[0]["reason"].startswith(mark):
            # By the control actor before us, which did not come to say so.
            return Pushed(agent, history[0]["number"])
        document = await self._document(agent, purpose)
        if not document:
            return Ran(agent)
        made = await self._desired.push(
            agent, document, mark + purpose.reason, "(rollout)", by=purpose.by, role=purpose.role, proven=True
        )
        return Pushed(agent, made["number"])

    async def _document(self, agent: str, purpose: Purpose) -> str:
        """
        What it runs, with the other program; empty when it runs that.

        Raises:
            MachineError: as :meth:`_running`.
        """
        if agent == FUSION:
            own = self._program.side.software
            wanted = _changed(own, purpose)
            return "" if own == wanted else render_own(FusionSide(wanted))
        side = parse((await self._running(agent, purpose)).encode())
        wanted = _changed(side.software, purpose)
        return "" if side.software == wanted else render(attrs.evolve(side, software=wanted))

    async def _running(self, agent: str, purpose: Purpose) -> str:
        """
        The document that an agent runs.

        Raises:
            MachineError: it does not say so.
        """
        order_id, who = secrets.token_hex(12), {"by": f"rollout {purpose.id}", "role": DEPLOYER}
        with trio.move_on_after(ASK_SECONDS):
            while True:
                with contextlib.suppress(TooManyError):
                    self._orders.give(agent, "configuration", "", {}, order_id=order_id, ttl=ASK_SECONDS, **who)
                    break
                await trio.sleep(_PACE_SECONDS)  # as fast as orders may be given
            order = await self._orders.outcome(order_id)
            if order["state"] == "done":
                return str(order["data"]["text"])
            raise MachineError(f"what it runs can't be known: {order['text']}")
        raise MachineError(f"it did not say within {ASK_SECONDS:g} s what it runs")

    async def _take_back(
        self,
        current: Current,
        agent: str,
        reason: str,
        by: str,
        role: str,
        failed: dict[str, str],
        limiter: trio.CapacityLimiter,
    ) -> None:
        member = current.rollout.members[agent]
        text = f"rollout {current.purpose.id} taken back: {reason}"
        async with limiter:
            try:
                history = (await self._desired.history(agent))["revisions"]
                if self._desired.of(agent)[0] != member.revision:
                    failed[agent] = "something else is desired of it by now"
                elif member.before in [one["number"] for one in history]:
                    await self._desired.rollback(agent, member.before, text, by=by, role=role)
                else:
                    # It ran the default, or its own file.
                    await self._desired.unset(agent, text, by=by, role=role)
            except FustorError as error:
                failed[agent] = str(error)

    def _say(self, text: str) -> None:
        self._log.warning("rollout", extra={"text": text})
        self._tell(f"rollout: {text}")

    def _note(self, state: str, by: str, role: str, reason: str) -> None:
        assert self._current is not None
        purpose = self._current.purpose
        entry = {"entry": "rollout", "target": purpose.bundle[:16] or "installed", "id": purpose.id}
        self._orders.note({**entry, "by": by, "role": role, "state": state, "text": reason[:REASON_CHARACTERS]})

    # -- disk -------------------------------------------------------------------------------------------------------

    async def _keep(self) -> None:
        try:
            if self._current is not None:
                await self._write(self._current)
        except MachineError as error:
            # It goes on: a successor finds out what was pushed by itself.
            self._log.error("a rollout can't be kept", extra={"error": str(error)})

    async def _write(self, current: Current) -> None:
        async with self._writing:
            await trio.to_thread.run_sync(write_json, self._path, content_of(current))


def _changed(software: Software, purpose: Purpose) -> Software:
    bundle = purpose.bundle if purpose.what in ("payloads", "all") else software.bundle
    shell = purpose.bundle if purpose.what in ("shell", "all") else software.shell
    return Software(bundle, shell)
