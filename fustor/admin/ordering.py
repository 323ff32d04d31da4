"""
Give an order and follow it until its outcome is known.

The id is drawn here, so an order that has to be asked for again is still given once. What this module does not do:
decide who may, or carry anything out.
"""

from __future__ import annotations

import secrets
import time
from typing import Any

from fustor.admin.client import Client
from fustor.admin.console import print_json, stderr, stdout
from fustor.admin.exits import NotFoundError
from fustor.admin.state import State
from fustor.admin.text import printable
from protocols.errors import MachineError, RequestError

#: Seconds between two questions how far it is.
INTERVAL = 0.2


def target_of(text: str) -> tuple[str, str]:
    """
    ``AGENT/PAYLOAD`` as (agent, payload); Fusion's own side is called ``fusion``.

    Raises:
        RequestError: it is something else.
    """
    agent, slash, payload = text.partition("/")
    if not (agent and slash and payload) or "/" in payload:
        raise RequestError("payload", text, "AGENT/PAYLOAD is accepted (local/watcher.data, fusion/view.main)")
    return agent, payload


def give(
    client: Client, target: str, what: str, payload: str = "", *, ttl: float = 0.0, quiet: bool = False, **args: str
) -> dict[str, Any]:
    """
    Give an order and wait for what becomes of it; steps are said on stderr.

    Args:
        ttl: seconds within which it must be begun; 0 for Fusion's default.
        quiet: say no steps.

    Returns:
        Its last state, as the operation ``order-state`` answers.

    Raises:
        RequestError: it was refused at once.
        MachineError: Fusion does not answer any more.
    """
    order_id = secrets.token_hex(12)
    wanted = {"id": order_id, "target": target, "kind": what, "payload": payload, **args}
    if ttl:
        wanted["ttl"] = repr(ttl)
    order = _ask(client, "order", wanted)
    said = ""
    while not order["final"]:
        if order["state"] != said and not quiet:
            stderr().print(f"{what} {printable(f'{target}/{payload}' if payload else target)}: {order['state']}")
            said = order["state"]
        time.sleep(INTERVAL)
        order = _ask(client, "order-state", {"id": order_id})
    return order


def _ask(client: Client, op: str, args: dict[str, str]) -> dict[str, Any]:
    """Once more where the control actor was just being replaced; the id makes that harmless."""
    for left in (2, 1, 0):
        try:
            answer: dict[str, Any] = client.admin(op, **args)
        except MachineError:
            if not left:
                raise
        else:
            return answer
    raise AssertionError("unreachable")


def report(order: dict[str, Any], *, as_json: bool) -> None:
    """
    The outcome to stdout.

    Raises:
        RequestError: it was refused.
        MachineError: it failed, expired, or nobody knows.
    """
    if as_json:
        print_json(order)
    where = f"{order['target']}/{order['payload']}" if order["payload"] else order["target"]
    line = f"{order['kind']} {where}: {order['state']}" + (f": {order['text']}" if order["text"] else "")
    if order["state"] == "done":
        if not as_json:
            stdout().print(printable(line), markup=False)
    elif order["state"] == "refused":
        raise RequestError("", order["kind"], line)
    elif "is accepted" in order["text"] and order["text"].startswith("payload ="):
        raise NotFoundError(line)
    else:
        raise MachineError(line)


def order_and_report(state: State, text: str, what: str, *, as_json: bool, ttl: float = 0.0, **args: str) -> None:
    """All of a command that gives an order to one payload."""
    agent, payload = target_of(text)
    with Client(state) as client:
        order = give(client, agent, what, payload, ttl=ttl, quiet=as_json, **args)
    report(order, as_json=as_json)
