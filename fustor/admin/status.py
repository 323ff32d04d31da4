"""``fustor status``: how it goes, once or again and again."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from fustor.admin.client import Client
from fustor.admin.console import print_json, stdout
from fustor.admin.exits import NotRunningError
from fustor.admin.options import JsonOption, StateOption, chosen_state
from fustor.admin.probe import ask_root, url
from fustor.admin.processes import wait_guardian
from fustor.admin.progress import look
from fustor.admin.state import Side, State
from fustor.admin.watching import PATIENCE, picture, watch_sides
from fustor.runtime.access import own_key
from protocols.errors import MachineError


def command(
    follow: Annotated[bool, typer.Option("--watch", "-w", help="Go on until interrupted.")] = False,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the state of the tree, of Fusion and of its agents."""
    where = chosen_state(state)
    if follow and as_json:
        raise typer.BadParameter("is for people; ask again and again for JSON", param_hint="--watch")
    sides = _running(where)
    address = str(where.fusion_config()["http"])
    if not follow:
        _show(where, address, as_json)
        return
    try:
        watch_sides(where, address, sides)
    except KeyboardInterrupt:
        return
    raise NotRunningError("it has been stopped")


def _running(state: State) -> list[Side]:
    """The sides that run; Fusion's is among them, or NotRunningError."""
    found = []
    for side in state.sides:
        held = wait_guardian(side)
        if held is not None:
            held.close()
            found.append(side)
    if state.fusion not in found:
        raise NotRunningError(f"nothing runs in {state.folder}; start it: fustor up DIR")
    return found


def _show(state: State, address: str, as_json: bool) -> None:
    root = ask_root(address, PATIENCE, own_key(str(state.fusion.folder)))
    status: dict[str, Any] | None = None
    trouble = ""
    with Client(state, PATIENCE) as client:
        try:
            status = client.admin("status")
        except MachineError as error:
            trouble = str(error)  # the tree may answer all the same: show what there is
    if as_json:
        print_json({"url": url(address), "tree": root, "status": status, "error": trouble})
        return
    out = stdout()
    out.print(f"{url(address)}  {state.root()}", markup=False)
    out.print(picture(look(time.monotonic(), root, status), None))
    if trouble:
        raise MachineError(trouble)
