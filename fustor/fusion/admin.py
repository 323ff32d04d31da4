"""
Questions and orders of people: one table of operations, with the roles that may ask for each.

=========== =================================== ======== ============================================================
op          arguments                           roles    answer
=========== =================================== ======== ============================================================
ping                                            anybody  ``{"pong": true}``
status                                          anybody  software, pid, endpoints, views, counters, payloads, agents
agents      agent=""                            anybody  list of agents (or one): link, epoch, rtt_us, payloads …
payloads    agent=""                            anybody  list of ``{agent, payloads}``, Fusion's own as ``fusion``
events      after="0" side="" evidence=""       anybody  ``{events, next, lost}``: what happened anywhere
audit       after="0"                           anybody  ``{entries, next}``: recent entries of the audit log
orders                                          anybody  the orders that are remembered, newest last
order       id target kind payload="" ttl=""    by kind  the order, as ``order-state``; signal="", lines="" for its kind
            signal="" lines="" item=""
order-state id                                  anybody  id, number, target, kind, payload, by, state, final, text, data
fetch       id offset="0"                       actors   ``{total, data}``: a piece of a diagnosis
config      agent="" revision=""                anybody  a configuration and what its agent makes of it
config-     revision                            anybody  ``{agent}``: whose it is
 owner
config-     agent=""                            anybody  ``{revisions, removed}``
 history
config-push agent="" document reason file=""    deployer the revision that it became
config-     agent="" revision reason            deployer the same
 rollback
config-     agent="" reason                     deployer the same
 unset
rollout     after=""                            anybody  ``{rollout, agents, next}``: the last one, and a page of agents
rollout-    bundle reason agents="" canary=""   deployer the same; agents: names with commas between, empty for everyone
 start      share="" failures="" seconds=""           what: one of :data:`fustor.fusion.rollout_state.WHAT`
            what="payloads"
rollout-    reason                              deployer the same
 pause, -resume, -abort
rollout-    reason                              deployer ``{agents, failed}``: who was given back what was there before
 rollback
=========== =================================== ======== ============================================================

Everybody who may connect has one of the roles observer, operator and deployer; what an order needs is in
:data:`protocols.orders.KINDS`. All arguments are text. For configurations the empty agent is the fleet-wide default.

Operations in :data:`SLOW` need the disk: their answers are awaitable.

What this module does not do: receive or send (see ``fustor.fusion.control``), or carry an order out.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import msgpack
import trio

from fustor.fusion.bundles import BundleStore
from fustor.fusion.config import FusionConfig
from fustor.fusion.desired import Desired
from fustor.fusion.events import Events
from fustor.fusion.listening import query_addresses, view_addresses
from fustor.fusion.orders import Orders
from fustor.fusion.rollouts import Rollouts
from fustor.runtime.renewing import software
from fustor.runtime.shell import Shell
from fustor.runtime.zap import ZapCounts
from protocols.errors import ConfigError, RequestError
from protocols.orders import DEPLOYER, FUSION, OPERATOR, ROLES
from protocols.rollout import RolloutPolicy
from protocols.session import AgentLink, FusionSession

#: Bytes of the agents in one answer, or of one agent more; what is left of a control message is for the rest.
PAGE_BYTES = 256 << 10
#: Agents of a rollout in one answer.
_ROLLOUT_PAGE = 500
#: Agents named in a refusal.
_NAMED = 20

_ANYBODY = ROLES
_ACTORS = frozenset({OPERATOR, DEPLOYER})
_DEPLOYERS = frozenset({DEPLOYER})


@attrs.define(eq=False)
class Administration:
    """
    Answers operations.

    Attributes:
        config: what runs.
        session: the agents.
        shell: our payloads.
        clock: seconds, monotonic; the same that the session is fed with.
        zap: handshakes counted.
        counters: more of them, for ``status``.
        started: when this control actor did.
        events: what happened anywhere.
        orders: gives and follows them.
        desired: the configurations of agents.
        bundles: that agents may fetch.
        rollouts: of programs, to agents.
    """

    config: FusionConfig
    session: FusionSession
    shell: Shell
    clock: Callable[[], float]
    zap: ZapCounts
    counters: Mapping[str, int]
    started: float
    events: Events
    orders: Orders
    desired: Desired
    bundles: BundleStore
    rollouts: Rollouts

    def answer(self, role: str, op: str, args: Mapping[str, Any], *, by: str = "") -> Any:
        """
        Plain data that answers ``op`` of ``by``.

        Raises:
            RequestError: no such operation, not for this role, or a wrong argument.
        """
        known = OPERATIONS.get(op)
        if known is None:
            raise RequestError("op", op[:64], f"one of {', '.join(OPERATIONS)} is accepted")
        roles, needed, act = known
        if role not in roles:
            raise RequestError("op", op, f"role {' or '.join(sorted(roles))} is accepted, this key has role {role}")
        unknown = sorted(set(args) - set(needed))
        if unknown:
            raise RequestError(unknown[0][:64], "", f"arguments of {op}: {', '.join(needed) or 'none'}")
        for name in needed:
            value = args.get(name, needed[name])
            if not isinstance(value, str):
                shown = repr(value)[:64]
                raise RequestError(name, shown, "a name is accepted" if value is not None else "it is required: a name")
        given = {name: args.get(name, default) for name, default in needed.items()}
        return act(self, **given, by=by, role=role) if op in _CHANGES else act(self, **given)

    def _ping(self) -> Any:
        return {"pong": True}

    def _status(self) -> Any:
        section = self.config.fusion
        return {
            "software": software(),
            "pid": os.getpid(),
            "incarnation": self.shell.incarnation,
            "uptime": self.clock() - self.started,
            "heartbeat_ms": self.session.heartbeat_ms,
            "endpoints": {
                "http": f"http://{section.http}",
                "control": section.control,
                "admin": section.admin,
                "query": [address.zmq for address in query_addresses(self.config)],
            },
            "views": [
                {
                    "name": view.name,
                    "data": view_addresses(self.config, index)[0].zmq,
                    "sources": [attrs.asdict(source) for source in view.sources],
                }
                for index, view in enumerate(self.config.views)
            ],
            "counters": {
                **self.counters,
                **self.shell.counters,
                "refused": self.session.refused,
                "zap_refused": self.zap.refused,
                "fenced": self.zap.fenced,
                "audit_failures": self.orders.audit.failures,
                **{f"orders_{name}": count for name, count in self.orders.issuer.counters.items()},
            },
            "failures": dict(self.shell.failures),
            "payloads": [_plain(status) for status in self.shell.statuses()],
            "links": Counter(link.state.value for link in self.session.links.values()),
            **self._agents("", ""),
        }

    def _agents(self, agent: str, after: str) -> Any:
        """A page of the agents, by name: those after ``after``. ``next``: the last of them when there are more."""
        if agent and agent not in self.session.links:
            first = sorted(self.session.links)[:_NAMED]
            known = ", ".join(first) + (", …" if len(self.session.links) > _NAMED else "") if first else "none yet"
            raise RequestError("agent", agent[:64], f"an agent that has logged in is accepted: {known}")
        page: list[dict[str, Any]] = []
        room = PAGE_BYTES
        for name in [agent] if agent else sorted(name for name in self.session.links if name > after):
            if room <= 0:
                return {"agents": page, "next": page[-1]["agent"]}
            page.append(self._link(self.session.links[name]))
            room -= len(msgpack.packb(page[-1]))
        return {"agents": page, "next": ""}

    def _link(self, link: AgentLink) -> dict[str, Any]:
        now = self.clock()
        return {
            "agent": link.agent,
            "link": link.state.value,
            "since": now - link.since,
            "heard": now - link.heard_at,
            "epoch": link.epoch,
            "software": link.software,
            "rtt_us": link.rtt_us,
            "logins": link.logins,
            "heartbeats": link.heartbeats,
            "seq": link.seq,
            "beats": link.beats,
            "losses": link.losses,
            "superseded": link.superseded,
            "farewell": link.farewell,
            "sources": list(link.sources),
            "payloads": [_plain(status) for status in link.payloads],
            "configuration": _plain(link.configuration),
        }

    def _payloads(self, agent: str, after: str) -> Any:
        """The same of payloads; Fusion's own are on the first page."""
        sides: list[dict[str, Any]] = []
        if agent == FUSION or not (agent or after):
            sides.append({"agent": FUSION, "payloads": [_plain(status) for status in self.shell.statuses()]})
        if agent == FUSION:
            return {"sides": sides, "next": ""}
        page = self._agents(agent, after)
        sides += [{"agent": link["agent"], "payloads": link["payloads"]} for link in page["agents"]]
        return {"sides": sides, "next": page["next"]}

    def _events(self, after: str, side: str, evidence: str) -> Any:
        return self.events.after(_number("after", after), side, evidence=bool(evidence))

    def _audit(self, after: str) -> Any:
        entries = self.orders.audit.after(_number("after", after))
        return {"entries": entries, "next": entries[-1]["n"] if entries else _number("after", after)}

    def _orders(self) -> Any:
        return [{**self.orders.state(order_id), "data": {}} for order_id in self.orders.issuer.tickets]

    def _order_state(self, id: str) -> Any:  # noqa: A002 - the name of the argument on the wire
        return self.orders.state(id)

    def _order(self, id: str, target: str, kind: str, payload: str, ttl: str, by: str, role: str, **more: str) -> Any:  # noqa: A002
        try:
            seconds = float(ttl) if ttl else self.config.limits.orders.ttl_seconds
        except ValueError:
            seconds = math.nan
        args = {name: value for name, value in more.items() if value}
        return self.orders.give(target, kind, payload, args, order_id=id, by=by, role=role, ttl=seconds)

    def _fetch(self, id: str, offset: str) -> Any:  # noqa: A002
        return self.orders.piece(id, _number("offset", offset))

    async def _bundles(self) -> Any:
        return await trio.to_thread.run_sync(self.bundles.rows)

    async def _bundle_put(self, digest: str, offset: str, total: str, data: str, by: str, role: str) -> Any:
        at, size = _number("offset", offset), _number("total", total)
        done = await trio.to_thread.run_sync(self.bundles.put, digest, at, size, data)
        if done["next"] == size:
            self.orders.note({"entry": "bundle", "target": digest, "by": by, "role": role, "text": "pushed"})
        return done

    async def _bundle_remove(self, digest: str, by: str, role: str) -> Any:
        await trio.to_thread.run_sync(self.bundles.remove, digest)
        self.orders.note({"entry": "bundle", "target": digest, "by": by, "role": role, "text": "removed"})
        return {}

    def _config(self, agent: str, revision: str) -> Any:
        return self.desired.show(agent, _number("revision", revision or "0"))

    def _config_owner(self, revision: str) -> Any:
        return self.desired.owner(_number("revision", revision))

    def _config_history(self, agent: str) -> Any:
        return self.desired.history(agent)

    def _config_push(self, agent: str, document: str, reason: str, file: str, by: str, role: str) -> Any:
        return self.desired.push(agent, document, reason, file or "(document)", by=by, role=role)

    def _config_rollback(self, agent: str, revision: str, reason: str, by: str, role: str) -> Any:
        return self.desired.rollback(agent, _number("revision", revision), reason, by=by, role=role)

    def _config_unset(self, agent: str, reason: str, by: str, role: str) -> Any:
        return self.desired.unset(agent, reason, by=by, role=role)

    def _rollout(self, after: str) -> Any:
        return self.rollouts.state(after, _ROLLOUT_PAGE)

    def _rollout_start(
        self,
        bundle: str,
        reason: str,
        agents: str,
        canary: str,
        share: str,
        failures: str,
        seconds: str,
        what: str,
        by: str,
        role: str,
    ) -> Any:
        wanted = {"canary": canary, "failures": failures, "share": share, "verdict_seconds": seconds}
        given: dict[str, Any] = {}
        for name, value in wanted.items():
            if value:
                given[name] = _number(name, value) if name in ("canary", "failures") else _fraction(name, value)
        try:
            policy = RolloutPolicy(**given)
        except ConfigError as error:
            raise RequestError(error.field, str(error.value), error.accepted) from None
        names = tuple(sorted({name for name in agents.split(",") if name}))
        return self.rollouts.start(bundle, names, policy, reason, by=by, role=role, what=what)

    def _rollout_pause(self, reason: str, by: str, role: str) -> Any:
        return self.rollouts.pause(reason, by=by, role=role)

    def _rollout_resume(self, reason: str, by: str, role: str) -> Any:
        return self.rollouts.resume(reason, by=by, role=role)

    def _rollout_abort(self, reason: str, by: str, role: str) -> Any:
        return self.rollouts.abort(reason, by=by, role=role)

    def _rollout_rollback(self, reason: str, by: str, role: str) -> Any:
        return self.rollouts.rollback(reason, by=by, role=role)


def _number(name: str, value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) < 16):
        raise RequestError(name, value[:64], "a whole number is accepted")
    return int(value)


def _fraction(name: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise RequestError(name, value[:64], "a number is accepted") from None


def _plain(status: Any) -> dict[str, Any]:
    """A record of a message as plain data (its decorator hides from type checkers that it is an attrs class)."""
    return attrs.asdict(status)


#: Operation → who may, its arguments with defaults (None: required), what it does.
OPERATIONS: dict[str, tuple[frozenset[str], dict[str, str | None], Callable[..., Any]]] = {
    "ping": (_ANYBODY, {}, Administration._ping),
    "status": (_ANYBODY, {}, Administration._status),
    "agents": (_ANYBODY, {"agent": "", "after": ""}, Administration._agents),
    "payloads": (_ANYBODY, {"agent": "", "after": ""}, Administration._payloads),
    "events": (_ANYBODY, {"after": "0", "side": "", "evidence": ""}, Administration._events),
    "audit": (_ANYBODY, {"after": "0"}, Administration._audit),
    "orders": (_ANYBODY, {}, Administration._orders),
    "order": (
        _ANYBODY,
        {
            "id": None,
            "target": None,
            "kind": None,
            "payload": "",
            "ttl": "",
            "signal": "",
            "lines": "",
            "item": "",
            "cancel": "",
        },
        Administration._order,
    ),
    "order-state": (_ANYBODY, {"id": None}, Administration._order_state),
    "fetch": (_ACTORS, {"id": None, "offset": "0"}, Administration._fetch),
    "bundles": (_ANYBODY, {}, Administration._bundles),
    "bundle-put": (
        _DEPLOYERS,
        {"digest": None, "offset": None, "total": None, "data": None},
        Administration._bundle_put,
    ),
    "bundle-remove": (_DEPLOYERS, {"digest": None}, Administration._bundle_remove),
    "config": (_ANYBODY, {"agent": "", "revision": ""}, Administration._config),
    "config-owner": (_ANYBODY, {"revision": None}, Administration._config_owner),
    "config-history": (_ANYBODY, {"agent": ""}, Administration._config_history),
    "config-push": (
        _DEPLOYERS,
        {"agent": "", "document": None, "reason": None, "file": ""},
        Administration._config_push,
    ),
    "config-rollback": (
        _DEPLOYERS,
        {"agent": "", "revision": None, "reason": None},
        Administration._config_rollback,
    ),
    "config-unset": (_DEPLOYERS, {"agent": "", "reason": None}, Administration._config_unset),
    "rollout": (_ANYBODY, {"after": ""}, Administration._rollout),
    "rollout-start": (
        _DEPLOYERS,
        {
            "bundle": None,
            "reason": None,
            "agents": "",
            "canary": "",
            "share": "",
            "failures": "",
            "seconds": "",
            "what": "payloads",
        },
        Administration._rollout_start,
    ),
    "rollout-pause": (_DEPLOYERS, {"reason": None}, Administration._rollout_pause),
    "rollout-resume": (_DEPLOYERS, {"reason": None}, Administration._rollout_resume),
    "rollout-abort": (_DEPLOYERS, {"reason": None}, Administration._rollout_abort),
    "rollout-rollback": (_DEPLOYERS, {"reason": None}, Administration._rollout_rollback),
}
#: Operations that are told who asked.
_CHANGES = frozenset(
    {"order", "bundle-put", "bundle-remove", "config-push", "config-rollback", "config-unset"}
    | {op for op in OPERATIONS if op.startswith("rollout-")}
)
#: Operations whose answers need the disk, and are awaitable.
SLOW = frozenset({"fetch"} | {op for op in OPERATIONS if op.startswith(("config", "bundle", "rollout-"))})
