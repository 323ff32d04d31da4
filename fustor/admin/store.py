"""``fustor store check``: read a whole tree store and verify every invariant. It only reads; it may run any time."""

from __future__ import annotations

from typing import Annotated

import typer

from fustor.admin.console import print_json, stdout
from fustor.admin.exits import NotFoundError
from fustor.admin.options import JsonOption, StateOption, chosen_state
from protocols.errors import MachineError


def check_command(
    view: Annotated[str, typer.Option(help="Only this view.", show_default="all")] = "",
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Verify the tree stores; exit code 1 when something is wrong."""
    from fustor.treestore.check import check  # here: LMDB is loaded by the one command that needs it

    where = chosen_state(state)
    views = where.views()
    if view and view not in views:
        raise NotFoundError(f"{view}: no such view; configured are: {', '.join(views)}")
    found: dict[str, list[str]] = {}
    for name in (view,) if view else views:
        folder = where.fusion.folder / "views" / name / "front"
        if not folder.exists():
            raise NotFoundError(f"{folder}: not there yet; it is made when Fusion runs: fustor up DIR")
        found[name] = [str(fault) for fault in check(str(folder))]
    if as_json:
        print_json(found)
    else:
        for name, faults in found.items():
            verdict = f"{len(faults)} faults" if faults else "every invariant holds"
            stdout().print(f"{name}: {verdict}", markup=False)
            for fault in faults:
                stdout().print(f"    {fault}", markup=False)
    broken = [name for name, faults in found.items() if faults]
    if broken:
        raise MachineError(
            f"{', '.join(broken)}: the store is not consistent; stop Fusion, move the folder away and start it again: "
            "the tree is built anew from the agents"
        )
