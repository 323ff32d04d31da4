"""
``fustor upgrade AGENT DIGEST``: let the payloads of an agent run the program of a bundle, or what is installed again.

The program is a part of an agent's configuration: it is tried, proved and left again as that is, and its history is
the history of the configuration.
"""

from __future__ import annotations

from typing import Annotated

import attrs
import typer

from fustor.admin.client import Client
from fustor.admin.config import VALIDATION_SECONDS, ReasonOption, follow
from fustor.admin.options import JsonOption, StateOption, chosen_state
from fustor.admin.ordering import give
from fustor.runtime.document import Software, parse, render
from protocols.errors import MachineError, RequestError

#: What is said instead of a digest for the program that is installed on the host.
INSTALLED = "installed"


def command(
    agent: Annotated[str, typer.Argument(metavar="AGENT", help="An agent that is there.")],
    digest: Annotated[str, typer.Argument(metavar="DIGEST", help="Of a bundle (its beginning), or: installed.")],
    reason: ReasonOption,
    wait: Annotated[
        float, typer.Option("--wait", metavar="SECONDS", help="For the agent to say running or refused; 0: do not.")
    ] = 120.0,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let an agent run the program of a bundle. It leaves it again by itself when that is bad."""
    with Client(chosen_state(state), timeout=VALIDATION_SECONDS) as client:
        bundle = "" if digest == INSTALLED else _whole(digest, [one["digest"] for one in client.admin("bundles")])
        order = give(client, agent, "configuration", quiet=True)
        if order["state"] != "done":
            raise MachineError(f"what {agent} runs can't be known: {order['text']}")
        side = parse(order["data"]["text"].encode())
        document = render(attrs.evolve(side, software=Software(bundle)))
        revision = client.admin("config-push", agent=agent, document=document, reason=reason, file="(upgrade)")
        follow(client, agent, revision, wait, as_json=as_json)


def _whole(digest: str, known: list[str]) -> str:
    """The one digest that begins so."""
    found = [one for one in known if one.startswith(digest)]
    if len(found) != 1 or len(digest) < 4:
        accepted = f"the beginning of one digest, or {INSTALLED}, is accepted: {', '.join(one[:16] for one in known)}"
        raise RequestError("DIGEST", digest, accepted)
    return found[0]
