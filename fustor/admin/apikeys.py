"""
``fustor api-keys``: who may ask fs/tree over HTTP. They work on the files of this host's Fusion, whether it runs or
not; it follows them within a quarter of a second.

What this module does not do: carry keys to other hosts.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from fustor.admin.console import print_json, stderr, stdout
from fustor.admin.exits import NotFoundError
from fustor.admin.options import JsonOption, StateOption, chosen_state
from fustor.admin.state import State
from fustor.runtime.access import SUFFIX, WITHDRAWN, ApiKey, api_folder, load_key, make_key, write_key
from fustor.runtime.durable import move
from protocols.errors import ConfigError, FustorError, MachineError, RequestError


def new(
    name: Annotated[str, typer.Argument(help="Of the owner: a program, or whoever runs it.")],
    view: Annotated[list[str] | None, typer.Option("--view", "-v", help="Only this view; may be repeated.")] = None,
    path: Annotated[
        list[str] | None, typer.Option("--path", "-p", help="Only this path and all below it; may be repeated.")
    ] = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make an API key and print it, this once. From the first one on fs/tree wants a key of everybody."""
    folder = _folder(chosen_state(state))
    try:
        secret, key = make_key(name, tuple(view or ()), tuple(path or ()))
    except ConfigError as error:
        raise RequestError(error.field, error.value, error.accepted) from None
    if (folder / f"{name}{SUFFIX}").exists():
        raise RequestError("NAME", name, "a name that no key has is accepted: revoke the other one first")
    write_key(str(folder), key)
    if as_json:
        print_json({"name": name, "key": secret, "views": key.views, "paths": key.paths})
        return
    stderr().print(f"the key of {name}; it is kept nowhere. Send it as the header X-API-Key", markup=False)
    stdout().print(secret, markup=False, soft_wrap=True)


def revoke(
    name: Annotated[str, typer.Argument(help="Whose key.")], state: StateOption = None, as_json: JsonOption = False
) -> None:
    """Withdraw an API key. Without any other one nobody is let in."""
    folder = _folder(chosen_state(state))
    known = _keys(folder)
    if name not in known:
        raise NotFoundError(f"{name}: no such key; there are: {', '.join(sorted(known)) or 'none'}")
    move(str(folder / f"{name}{SUFFIX}"), str(folder / f"{name}{WITHDRAWN}"))
    if as_json:
        print_json({"name": name})
    else:
        stdout().print(f"the key of {name} opens nothing any more", markup=False)


def show(state: StateOption = None, as_json: JsonOption = False) -> None:
    """List the API keys and what they open; what is wrong with a file is said."""
    found = _keys(_folder(chosen_state(state)))
    if as_json:
        print_json([{"name": key.name, "views": key.views, "paths": key.paths} for key in found.values() if key])
        return
    table = Table("name", "views", "paths", box=None, pad_edge=False, header_style="dim")
    for name, key in found.items():
        if key is None:
            table.add_row(Text(name), Text("is no key: it opens nothing", style="red"), Text(""))
        else:
            table.add_row(Text(name), Text(", ".join(key.views) or "all"), Text(", ".join(key.paths) or "/"))
    stdout().print(table)


def _keys(folder: Path) -> dict[str, ApiKey | None]:
    """By the names of their files; None for one that is no key."""
    found: dict[str, ApiKey | None] = {}
    try:
        paths = sorted(folder.glob(f"*{SUFFIX}"))
    except OSError as error:
        raise MachineError(f"{folder} can't be read: {error.strerror}") from None
    for path in paths:
        try:
            found[path.stem] = load_key(str(path))
        except FustorError:
            found[path.stem] = None
    return found


def _folder(state: State) -> Path:
    """It may be made before Fusion has ever run: a Fusion that others reach does not start without a key."""
    folder = Path(api_folder(str(state.fusion.folder)))
    try:
        for made in (state.folder, state.fusion.folder, folder.parent, folder):
            made.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise MachineError(f"{os.fspath(folder)} can't be made: {error.strerror}") from None
    return folder
