"""
Look at a running system again and again, and show it: a live table on a terminal, single lines elsewhere.

It only asks; nothing here starts or stops anything.
"""

from __future__ import annotations

import select
import time
from collections.abc import Sequence

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from fustor.admin.client import Client
from fustor.admin.console import stdout
from fustor.admin.exits import NotRunningError
from fustor.admin.probe import ask_root
from fustor.admin.processes import Held, wait_guardian
from fustor.admin.progress import Look, line, look
from fustor.admin.state import Side, State
from fustor.runtime.access import own_key
from protocols.errors import MachineError, ProtocolError, RequestError

#: Seconds between two looks.
INTERVAL = 0.5
#: Seconds between two lines where nobody can be shown a live table.
LINE_SECONDS = 2.0
#: Seconds that one question may take while watching.
PATIENCE = 2.0


class Observer:
    """
    Asks both what can be asked. A context manager; keeps its sockets between two looks.

    Args:
        state: of the running system.
        address: where fs/tree listens.
    """

    def __init__(self, state: State, address: str) -> None:
        self._state = state
        self._address = address
        self._client: Client | None = None

    def __enter__(self) -> Observer:
        return self

    def __exit__(self, *_: object) -> None:
        if self._client is not None:
            self._client.close()

    def look(self) -> Look:
        """What is seen now; what does not answer is missing in it."""
        root = ask_root(self._address, PATIENCE, own_key(str(self._state.fusion.folder)))
        try:
            if self._client is None:
                self._client = Client(self._state, PATIENCE)
            status = self._client.admin("status")
        except (NotRunningError, MachineError, ProtocolError, RequestError):
            status = None  # shown as "does not answer"; the next look asks again
        return look(time.monotonic(), root, status)


def watch_sides(state: State, address: str, sides: Sequence[Side], *, quiet: bool = False) -> Side:
    """
    Show what goes on until one of ``sides`` has ended. One whose guardian was killed and has a successor has not.

    Returns:
        The side that has ended.
    """
    while True:
        held: list[Held] = []
        try:
            for side in sides:
                found = wait_guardian(side)
                if found is None:
                    return side
                held.append(found)
            watch(state, address, held, quiet=quiet)
        finally:
            for one in held:
                one.close()


def watch(state: State, address: str, until: Sequence[Held], *, quiet: bool = False) -> None:
    """
    Show what goes on until one of the processes ``until`` ends.

    Args:
        state: of the running system.
        address: where fs/tree listens.
        until: processes, waited for between two looks.
        quiet: only wait.
    """
    ended = select.poll()
    for held in until:
        ended.register(held, select.POLLIN)
    if quiet:
        ended.poll()
        return
    with Observer(state, address) as observer:
        if stdout().is_terminal:
            _show_live(observer, ended)
        else:
            _show_lines(observer, ended)


def _show_live(observer: Observer, ended: select.poll) -> None:
    before: Look | None = None
    with Live(console=stdout(), auto_refresh=False, transient=False) as live:
        while True:
            now = observer.look()
            live.update(picture(now, before), refresh=True)
            before = now
            if ended.poll(INTERVAL * 1000):
                return


def _show_lines(observer: Observer, ended: select.poll) -> None:
    shown: Look | None = None
    while True:
        now = observer.look()
        changed = shown is None or now.phase != shown.phase or now.complete != shown.complete
        moving = shown is not None and now.files != shown.files and now.at - shown.at >= LINE_SECONDS
        if changed or moving:
            stdout().print(line(now, shown), markup=False)
            shown = now
        if ended.poll(INTERVAL * 1000):
            return


def picture(now: Look, before: Look | None) -> Group:
    """The live picture: one line for the tree, one row per actor."""
    if now.actors is None:
        return Group(Text(line(now, before)), Text("the control actor does not answer", style="yellow"))
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("side", "actor", "state", "pid", "restarts", "last exit"):
        table.add_column(heading, justify="right" if heading in ("pid", "restarts") else "left")
    for actor in now.actors:
        style = "" if actor.state == "running" else "yellow"
        pid = str(actor.pid) if actor.pid else ""
        table.add_row(
            *map(Text, (actor.side, actor.name, actor.state, pid, str(actor.restarts), actor.last_exit)), style=style
        )
    return Group(Text(line(now, before)), table)
