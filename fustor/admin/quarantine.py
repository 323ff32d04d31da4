"""``fustor quarantine list``: work that has killed whoever handled it, on every side that can be reached."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from fustor.admin.client import Client
from fustor.admin.console import print_json, stderr, stdout
from fustor.admin.exits import NotFoundError
from fustor.admin.options import JsonOption, StateOption, chosen_state
from fustor.admin.ordering import give
from fustor.admin.text import moment, printable
from protocols.errors import MachineError
from protocols.orders import FUSION

#: Seconds that a side has to answer before it is left out.
REACH_SECONDS = 5.0


def list_command(
    agent: Annotated[str, typer.Argument(metavar="[AGENT]", help="One side (fusion for Fusion's own).")] = "",
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """List items that are quarantined, suspected or released; fustor release AGENT ID lets one be handled again."""
    with Client(chosen_state(state)) as client:
        sides = [agent] if agent else [FUSION, *(one["agent"] for one in client.every("agents", "agents"))]
        answers = {side: give(client, side, "quarantine", ttl=REACH_SECONDS, quiet=True) for side in sides}
    found = [{"agent": s, **case} for s, order in answers.items() for case in order["data"].get("cases", ())]
    missing = {side: order["text"] for side, order in answers.items() if order["state"] != "done"}
    if as_json:
        print_json({"cases": found, "missing": missing})
    elif found:
        stdout().print(listing(found))
    elif not missing:
        stdout().print("nothing is quarantined, and nothing suspected")
    for side, why in missing.items():
        stderr().print(f"{printable(side)}: {printable(why)}", markup=False)
    if len(missing) == len(sides):
        raise MachineError("no side could be asked")


def listing(cases: list[dict[str, Any]]) -> Table:
    """One row per case."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("agent", "id", "state", "of", "deaths", "last", "item", "how"):
        table.add_column(heading, overflow="fold")
    for case in cases:
        cells = (
            case["agent"],
            case["id"],
            case["state"],
            case["group"],
            str(case["deaths"]),
            moment(case["last"]),
            printable(case["item"]),
            printable(case["how"])[:80],
        )
        table.add_row(*map(Text, cells), style="yellow" if case["state"] == "quarantined" else "")
    return table


def payload_of(client: Client, agent: str, item: str) -> str:
    """
    The payload that an order to release ``item`` is for.

    Raises:
        NotFoundError: nothing of this id is quarantined there.
        MachineError: the agent can't be asked.
    """
    order = give(client, agent, "quarantine", quiet=True)
    if order["state"] != "done":
        raise MachineError(f"{agent}: {order['text']}")
    for case in order["data"]["cases"]:
        if case["id"] == item:
            return str(case["payload"])
    raise NotFoundError(f"nothing on {agent} has the id {item}: see fustor quarantine list {agent}")
