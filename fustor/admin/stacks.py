"""
``fustor stacks``: what every thread of every process does right now.

SIGUSR1 makes a process write all its stacks to its log (faulthandler, which works while the interpreter is stuck in C).
It is sent from here and not by the control actor, because a control actor that hangs is one of the processes one wants
to see. Processes that do not catch the signal would die of it and are left alone. Those of other hosts, AGENT/PAYLOAD,
are asked for by an order instead.
"""

from __future__ import annotations

import select
import signal
import time
from pathlib import Path
from typing import Annotated

import typer

from fustor.admin.client import Client
from fustor.admin.console import print_json, stdout
from fustor.admin.exits import NotFoundError, NotRunningError
from fustor.admin.options import JsonOption, StateOption, chosen_state
from fustor.admin.ordering import give, report, target_of
from fustor.admin.processes import Held, members
from fustor.admin.state import Side, State

#: Seconds that a process gets to write its stacks.
SECONDS = 2.0
#: At most this much of what one process wrote is shown, bytes.
MOST = 64 << 10


def command(
    payload: Annotated[
        str,
        typer.Argument(metavar="[NAME]", help="One process of this host (view.main, control, …), or AGENT/PAYLOAD."),
    ] = "",
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the stacks of all threads, of one process or all."""
    where = chosen_state(state)
    if "/" in payload:
        _ordered(where, payload, as_json)
        return
    running = [(side, pid, name) for side in where.sides for pid, name in members(side).items()]
    if not running:
        raise NotRunningError(f"nothing runs in {where.folder}; start it: fustor up DIR")
    chosen = [one for one in running if one[2] == payload] if payload else running
    if not chosen:
        names = ", ".join(sorted({name for _, _, name in running if name}))
        raise NotFoundError(f"{payload}: no such process; running are: {names}")
    found = {f"{side.name}/{name}": dump(side, pid, name) for side, pid, name in chosen if name}
    if as_json:
        print_json(found)
        return
    for title, text in found.items():
        stdout().print(f"== {title}", style="bold", markup=False)
        stdout().print(text if text is not None else "(does not write stacks)", markup=False)


def _ordered(state: State, name: str, as_json: bool) -> None:
    agent, payload = target_of(name)
    with Client(state) as client:
        order = give(client, agent, "stacks", payload, quiet=True)
    if order["state"] != "done":
        report(order, as_json=as_json)
    elif as_json:
        print_json({name: order["data"]["text"]})
    else:
        stdout().print(order["data"]["text"], markup=False)


def dump(side: Side, pid: int, name: str) -> str | None:
    """The stacks of one process; None when it does not catch the signal, has ended, or writes nothing in time."""
    log = side.log / f"{name}.log"
    try:
        before = log.stat().st_size
        held = Held(pid)
    except (FileNotFoundError, ProcessLookupError):
        return None
    with held:
        if not catches(pid, signal.SIGUSR1) or not held.signal(signal.SIGUSR1):
            return None
        deadline = time.monotonic() + SECONDS
        size = before
        poller = select.poll()
        poller.register(held, select.POLLIN)
        while time.monotonic() < deadline:
            gone = poller.poll(50)
            now = log.stat().st_size
            # Whole when it has grown and then stood still for one look.
            if gone or (now > before and now == size):
                break
            size = now
    with log.open("rb") as file:
        file.seek(before)
        return file.read(MOST).decode("utf-8", "replace").rstrip() or None


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether a process has a handler for a signal (SigCgt in proc_pid_status(5))."""
    try:
        lines = Path("/proc", str(pid), "status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return False
    masks = [int(line.split()[1], 16) for line in lines if line.startswith("SigCgt:")]
    return bool(masks) and bool(masks[0] >> (number - 1) & 1)
