"""``fustor down``: stop what ``fustor up`` started, and wait until it is gone. Harmless when nothing runs."""

from __future__ import annotations

from typing import Annotated

import typer

from fustor.admin.console import print_json, stdout
from fustor.admin.daemons import exclusive
from fustor.admin.options import JsonOption, StateOption, chosen_state
from fustor.admin.processes import Stopped, stop
from fustor.admin.state import State
from protocols.errors import MachineError

#: Seconds for an orderly stop of one side before it is killed; more than a guardian's own grace.
STOP_SECONDS = 30.0


def command(
    state: StateOption = None,
    timeout: Annotated[
        float, typer.Option(min=0.0, max=3600.0, help="Seconds for an orderly stop before the rest is killed.")
    ] = STOP_SECONDS,
    as_json: JsonOption = False,
) -> None:
    """Stop both sides and wait until they are gone."""
    where = chosen_state(state)
    if where.folder.is_dir():
        with exclusive(where):
            results = stop_all(where, timeout)
    else:
        results = {side.name: Stopped(ran=False) for side in where.sides}
    left = [name for result in results.values() for name in result.left]
    if as_json:
        print_json({name: {"ran": r.ran, "killed": r.killed, "left": r.left} for name, r in results.items()})
    else:
        for name, result in results.items():
            stdout().print(_report(name, result), markup=False)
    if left:
        raise MachineError(
            f"could not be ended, they wait for storage: {', '.join(left)}. They end when the storage answers"
        )


def stop_all(state: State, seconds: float) -> dict[str, Stopped]:
    """Stop the agent, then Fusion, so that Fusion still hears the agent's goodbye. The caller holds the lock."""
    return {side.name: stop(side, seconds) for side in reversed(state.sides)}


def _report(name: str, result: Stopped) -> str:
    if not result.ran:
        return f"{name}: was not running"
    return f"{name}: stopped" + (f", had to kill {', '.join(result.killed)}" if result.killed else "")
