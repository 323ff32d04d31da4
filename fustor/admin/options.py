"""Options that all commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fustor.admin.state import State, default_state

StateOption = Annotated[
    Path | None,
    typer.Option(
        "--state",
        metavar="FOLDER",
        help="State folder.  [default: $FUSTOR_STATE, else ~/.local/state/fustor]",
        show_default=False,
    ),
]

JsonOption = Annotated[bool, typer.Option("--json", help="The answer as JSON on stdout, for programs.")]


def chosen_state(option: Path | None) -> State:
    """The state folder that ``--state`` names, or the default one."""
    return State(option if option is not None else default_state())
