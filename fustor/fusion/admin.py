"""
Questions and orders of people: one table of operations, with the roles that may ask for each.

========= ============== ================= ==========================================================================
op        arguments      roles             answer
========= ============== ================= ==========================================================================
ping                     observer operator ``{"pong": true}``
status                   observer operator software, pid, uptime, endpoints, views, counters, payloads, agents
agents    agent=""       observer operator list of agents (or the one named): link, epoch, rtt_us, sources, payloads
stacks    payload        operator          ``{"log": file}``: the stacks of its threads go to its log
restart   payload        operator          ``{"restarting": payload}``
========= ============== ================= ==========================================================================

What this module does not do: receive or send (see ``fustor.fusion.control``), or touch an agent's payloads.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import attrs

import fustor
from fustor.fusion.config import FusionConfig
from fustor.fusion.payloads import query_addresses, view_addresses
from fustor.runtime.shell import Shell
from fustor.runtime.zap import ZapCounts
from protocols.errors import RequestError
from protocols.session import AgentLink, FusionSession

_ANYBODY = frozenset({"observer", "operator"})
_OPERATOR = frozenset({"operator"})

#: Who may connect to the admin socket.
ROLES = _ANYBODY


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
    """

    config: FusionConfig
    session: FusionSession
    shell: Shell
    clock: Callable[[], float]
    zap: ZapCounts
    counters: Mapping[str, int]
    started: float

    def answer(self, role: str, op: str, args: Mapping[str, Any]) -> Any:
        """
        Plain data that answers ``op``.

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
        return act(self, **{name: args.get(name, default) for name, default in needed.items()})

    def _ping(self) -> Any:
        return {"pong": True}

    def _status(self) -> Any:
        section = self.config.fusion
        return {
            "software": fustor.__version__,
            "pid": os.getpid(),
            "incarnation": self.shell.incarnation,
            "uptime": self.clock() - self.started,
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
            },
            "failures": dict(self.shell.failures),
            "payloads": [_plain(status) for status in self.shell.statuses()],
            "agents": self._agents(""),
        }

    def _agents(self, agent: str) -> Any:
        if agent and agent not in self.session.links:
            known = ", ".join(sorted(self.session.links)) or "none yet"
            raise RequestError("agent", agent[:64], f"an agent that has logged in is accepted: {known}")
        return [self._link(link) for name, link in sorted(self.session.links.items()) if agent in ("", name)]

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
            "superseded": link.superseded,
            "farewell": link.farewell,
            "sources": list(link.sources),
            "payloads": [_plain(status) for status in link.payloads],
        }

    def _stacks(self, payload: str) -> Any:
        self.shell.dump_stacks(payload)
        return {"log": os.path.join(self.config.fusion.state, "log", f"{payload}.log")}

    def _restart(self, payload: str) -> Any:
        self.shell.restart(payload, "restart ordered")
        return {"restarting": payload}


def _plain(status: Any) -> dict[str, Any]:
    """A PayloadStatus as plain data (its decorator hides from type checkers that it is an attrs class)."""
    return attrs.asdict(status)


#: Operation → who may, its arguments with defaults (None: required), what it does.
OPERATIONS: dict[str, tuple[frozenset[str], dict[str, str | None], Callable[..., Any]]] = {
    "ping": (_ANYBODY, {}, Administration._ping),
    "status": (_ANYBODY, {}, Administration._status),
    "agents": (_ANYBODY, {"agent": ""}, Administration._agents),
    "stacks": (_OPERATOR, {"payload": None}, Administration._stacks),
    "restart": (_OPERATOR, {"payload": None}, Administration._restart),
}
