"""
The command line ``fustor``: one file per command, put together here. Errors become a line on stderr and an exit code.
"""

from __future__ import annotations

import sys
from typing import NoReturn

import typer

from fustor.admin import (
    agents,
    apikeys,
    bundle,
    config,
    doctor,
    down,
    events,
    keys,
    orders,
    payloads,
    quarantine,
    stacks,
    stat,
    status,
    store,
    tree,
    up,
    upgrade,
)
from fustor.admin.console import stderr
from fustor.admin.exits import exit_code
from fustor.admin.text import printable
from protocols.errors import FustorError

_HELP = """\
A live index of a directory tree: `fustor up DIR` starts it, http://…/fs/tree answers.

Exit codes: 0 done, 1 something here failed, 2 the command or a configuration was wrong, 3 nothing runs, 4 no such path,
view or payload.
"""


def build() -> typer.Typer:
    """The typer application."""
    app = typer.Typer(
        name="fustor",
        help=_HELP,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # brackets in help texts are meant as such
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.command("up")(up.command)
    app.command("down")(down.command)
    app.command("status")(status.command)
    app.command("agents")(agents.command)
    app.command("tree")(tree.command)
    app.command("stat")(stat.command)
    app.command("stacks")(stacks.command)
    app.command("payloads")(payloads.command)
    for order in (orders.restart, orders.kill, orders.pause, orders.resume, orders.drain, orders.release, orders.log):
        app.command(order.__name__)(order)
    app.command("diagnose")(orders.diagnose)
    app.command("doctor")(doctor.command)
    app.command("events")(events.events)
    app.command("audit")(events.audit)
    key_commands = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Say who may connect to Fusion.")
    for name, key_command in (("new", keys.new), ("enroll", keys.enroll), ("revoke", keys.revoke), ("list", keys.show)):
        key_commands.command(name)(key_command)
    app.add_typer(key_commands, name="keys")
    api_keys = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Say who may ask fs/tree over HTTP.")
    for name, api_command in (("new", apikeys.new), ("revoke", apikeys.revoke), ("list", apikeys.show)):
        api_keys.command(name)(api_command)
    app.add_typer(api_keys, name="api-keys")
    app.add_typer(config.build(), name="config")
    app.command("upgrade")(upgrade.command)
    app.add_typer(bundle.group(), name="bundle")
    held = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Work that has killed whoever handled it.")
    held.command("list")(quarantine.list_command)
    app.add_typer(held, name="quarantine")
    checks = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Work on the tree store itself.")
    checks.command("check")(store.check_command)
    app.add_typer(checks, name="store")
    return app


def main() -> NoReturn:
    """Run a command and exit with its code."""
    try:
        build()(prog_name="fustor")
    except FustorError as error:
        for line in str(error).splitlines():
            stderr().print(f"fustor: {printable(line)}", markup=False)
        sys.exit(exit_code(error))
    sys.exit(0)
