"""
The command line ``fustor``: one file per command, put together here. Errors become a line on stderr and an exit code.

Only the command that is wanted is imported: all of them take longer than most take to answer.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import typer

from fustor.admin.console import stderr
from fustor.admin.exits import exit_code
from fustor.admin.text import printable
from protocols.errors import FustorError

_HELP = """\
A live index of a directory tree: `fustor up DIR` starts it, http://…/fs/tree answers.

Exit codes: 0 done, 1 something here failed, 2 the command or a configuration was wrong, 3 nothing runs, 4 no such path,
view or payload.
"""

#: Command → where it is in this package; in the order of the help.
_COMMANDS = {
    "up": "up:command",
    "down": "down:command",
    "status": "status:command",
    "agents": "agents:command",
    "tree": "tree:command",
    "stat": "stat:command",
    "stacks": "stacks:command",
    "payloads": "payloads:command",
    "restart": "orders:restart",
    "kill": "orders:kill",
    "pause": "orders:pause",
    "resume": "orders:resume",
    "drain": "orders:drain",
    "release": "orders:release",
    "log": "orders:log",
    "diagnose": "orders:diagnose",
    "doctor": "doctor:command",
    "events": "events:events",
    "audit": "events:audit",
    "rollback": "upgrade:rollback",
}
#: Group → what it is for, and its commands as above.
_GROUPS = {
    "keys": (
        "Say who may connect to Fusion.",
        {"new": "keys:new", "enroll": "keys:enroll", "revoke": "keys:revoke", "list": "keys:show"},
    ),
    "api-keys": (
        "Say who may ask fs/tree over HTTP.",
        {"new": "apikeys:new", "revoke": "apikeys:revoke", "list": "apikeys:show"},
    ),
    "config": (
        "Configurations of agents: sources, patterns, limits.",
        {
            "show": "config:show",
            "push": "config:push",
            "diff": "config:diff",
            "history": "config:history",
            "rollback": "config:rollback",
            "unset": "config:unset",
        },
    ),
    "bundle": (
        "The data plane as one signed file, for hot upgrades.",
        {
            "build": "bundle:build",
            "keygen": "bundle:keygen",
            "sign": "bundle:sign",
            "verify": "bundle:verify",
            "inspect": "bundle:inspect",
            "push": "bundle:push",
            "list": "bundle:listed",
            "remove": "bundle:remove",
        },
    ),
    "upgrade": (
        "Other programs for agents, wave by wave.",
        {
            "start": "upgrade:start",
            "status": "upgrade:status",
            "pause": "upgrade:pause",
            "resume": "upgrade:resume",
            "abort": "upgrade:abort",
        },
    ),
    "quarantine": (
        "Work that has killed whoever handled it.",
        {"list": "quarantine:list_command"},
    ),
    "store": (
        "Work on the tree store itself.",
        {"check": "store:check_command"},
    ),
    "view": (
        "Work on whole views.",
        {"reset": "view:reset"},
    ),
}


def build(wanted: str = "") -> typer.Typer:
    """The typer application with the command or group that is wanted; with all when it has none of that name."""
    app = typer.Typer(
        name="fustor",
        help=_HELP,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # brackets in help texts are meant as such
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_nothing)
    everything = wanted not in _COMMANDS and wanted not in _GROUPS
    for name, place in _COMMANDS.items():
        if everything or name == wanted:
            app.command(name)(_imported(place))
    for name, (purpose, places) in _GROUPS.items():
        if everything or name == wanted:
            group = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=purpose)
            for command, place in places.items():
                group.command(command)(_imported(place))
            app.add_typer(group, name=name)
    return app


def _nothing() -> None:
    # With a callback an application of one command keeps the name of its command.
    pass


def _imported(place: str) -> Callable[..., Any]:
    module, _, name = place.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(f"fustor.admin.{module}"), name)
    return found


def main() -> NoReturn:
    """Run a command and exit with its code."""
    try:
        build(sys.argv[1] if len(sys.argv) > 1 else "")(prog_name="fustor")
    except FustorError as error:
        for line in str(error).splitlines():
            stderr().print(f"fustor: {printable(line)}", markup=False)
        sys.exit(exit_code(error))
    sys.exit(0)
