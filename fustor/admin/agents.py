"""``fustor agents``: the agents that Fusion knows."""

from __future__ import annotations

from typing import Any

from rich.table import Table
from rich.text import Text

from fustor.admin.client import Client
from fustor.admin.console import print_json, stdout
from fustor.admin.options import JsonOption, StateOption, chosen_state


def command(state: StateOption = None, as_json: JsonOption = False) -> None:
    """List the agents with their link and their actors."""
    with Client(chosen_state(state)) as client:
        agents = client.every("agents", "agents")
    if as_json:
        print_json(agents)
        return
    if not agents:
        stdout().print("no agent has logged in yet")
        return
    stdout().print(listing(agents))


def listing(agents: list[dict[str, Any]]) -> Table:
    """One row per agent of the answer to ``agents``."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("agent", "link", "round trip", "epoch", "software", "sources", "actors"):
        table.add_column(heading)
    for agent in agents:
        payloads = agent.get("payloads", ())
        running = sum(payload["state"] == "running" for payload in payloads)
        trip = agent.get("rtt_us")
        cells = (
            str(agent["agent"]),
            str(agent.get("link", agent.get("state", ""))),
            f"{trip / 1000:.1f} ms" if trip else "",
            str(agent.get("epoch", "")),
            str(agent.get("software", "")),
            ", ".join(map(str, agent.get("sources", ()))),
            f"{running} of {len(payloads)} running",
        )
        table.add_row(*map(Text, cells))
    return table
