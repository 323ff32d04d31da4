"""``--now``: the agent looks at a path before the answer comes."""

from __future__ import annotations

import contextlib
from typing import Annotated

import typer

from fustor.admin.client import TIMEOUT
from fustor.admin.console import stderr

#: Seconds that the answer may wait for the look; what Fusion accepts unless it is configured otherwise.
LOOK_SECONDS = 60

NowOption = Annotated[
    bool, typer.Option("--now", help=f"Let the agent look at it first; waits at most {LOOK_SECONDS} s.")
]


def look(now: bool) -> dict[str, str]:
    """The parameters that say so."""
    return {"on_demand_scan": "true", "wait": str(LOOK_SECONDS)} if now else {}


def patience(now: bool) -> float:
    """Seconds to wait for the answer."""
    return TIMEOUT + (LOOK_SECONDS if now else 0)


def waiting(now: bool) -> contextlib.AbstractContextManager[object]:
    """Something that moves while people wait."""
    return stderr().status("the agent looks at it …") if now else contextlib.nullcontext()
