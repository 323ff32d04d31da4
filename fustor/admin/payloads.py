"""``fustor payloads``: every payload of every side, with what the kernel and its control actor say of it."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from fustor.admin.client import Client
from fustor.admin.console import print_json, stdout
from fustor.admin.options import JsonOption, StateOption, chosen_state
from fustor.admin.text import printable, size

_HEADINGS = (
    "payload",
    "state",
    "pid",
    "version",
    "revision",
    "restarts",
    "cause",
    "memory",
    "cpu",
    "fds",
    "lag",
    "progress",
    "complaint",
)
_RIGHT = frozenset({"pid", "restarts", "memory", "cpu", "fds", "lag"})
#: Columns that may take several lines, and those that a narrow window does without.
_LONG = frozenset({"progress", "complaint"})
_EXTRA = frozenset({"version", "revision", "lag", "progress"})
#: Columns of characters: below the first a window is narrow; the second is for what no window shows.
NARROW, WIDE = 130, 240


def command(
    agent: Annotated[str, typer.Argument(metavar="[AGENT]", help="One side (fusion for Fusion's own).")] = "",
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """List payloads with state, version, memory, CPU, progress and the cause of their last exit."""
    with Client(chosen_state(state)) as client:
        sides = client.every("payloads", "sides", agent=agent)
    if as_json:
        print_json(sides)
        return
    console = stdout()
    if not console.is_terminal:
        console.width = WIDE  # nobody's window: all columns
    console.print(listing(sides, console.width))


def listing(sides: list[dict[str, Any]], width: int = WIDE) -> Table:
    """One row per payload of the answer to ``payloads``; what is in :data:`_EXTRA` only where there is room."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    shown = [place for place, heading in enumerate(_HEADINGS) if width >= NARROW or heading not in _EXTRA]
    for place in shown:
        heading = _HEADINGS[place]
        table.add_column(heading, justify="right" if heading in _RIGHT else "left", no_wrap=heading not in _LONG)
    for side in sides:
        for one in side["payloads"]:
            cells = _cells(side["agent"], one)
            style = "" if one["state"] == "running" else "yellow"
            table.add_row(*[Text(cells[place]) for place in shown], style=style)
    return table


def _cells(agent: str, one: dict[str, Any]) -> tuple[str, ...]:
    vitals, lag = one.get("vitals", {}), one.get("gauges", {}).get("loop_lag_us")
    moved = sorted(((count, name) for name, count in one.get("counters", {}).items() if count), reverse=True)[:3]
    return (
        f"{agent}/{one['name']}",
        one["state"],
        str(one["pid"] or ""),
        one.get("software", ""),
        f"{one.get('revision', 0):x}"[:6] if one.get("revision") else "",
        str(one["restarts"]),
        one.get("cause", ""),
        size(vitals["rss_bytes"]) if vitals else "",
        f"{vitals['cpu_permille'] / 10:.1f} %" if vitals else "",
        str(vitals.get("fds", "")),
        f"{lag / 1000:.1f} ms" if lag is not None else "",
        " ".join(f"{name}={count}" for count, name in moved),
        printable(one.get("complaint", ""))[:80],
    )
