"""
``fustor keys``: who may connect to Fusion. They work on the files of this host's Fusion, whether it runs or not.

A key is bound to one name and one role by its file in ``fusion/keys/authorized``; everything that Fusion believes of a
peer comes from there. A file that leaves it shuts its owner out at once, see :class:`fustor.runtime.zap.Fence`; it goes
to ``fusion/keys/revoked``, and a key that is there is never enrolled again.

What this module does not do: carry keys to other hosts.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated

import attrs
import typer
import zmq
from rich.table import Table
from rich.text import Text

from fustor.admin.console import print_json, stdout
from fustor.admin.exits import NotFoundError, NotRunningError
from fustor.admin.options import JsonOption, StateOption, chosen_state
from fustor.admin.state import State
from fustor.runtime.durable import move
from fustor.runtime.keys import ROLES, KeyPair, load_public, write_public, write_secret
from protocols.errors import FustorError, MachineError, RequestError

#: Roles that a peer of Fusion can have.
PEERS = tuple(sorted(ROLES - {"fusion"}))

RoleOption = Annotated[str, typer.Option("--role", "-r", help=f"One of {', '.join(PEERS)}.")]


def new(
    name: Annotated[str, typer.Argument(help="Of the owner: an agent's id, or a person.")],
    role: RoleOption = "agent",
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="Where NAME.key and NAME.pub are written.")
    ] = Path(),
    as_json: JsonOption = False,
) -> None:
    """Make a key pair: NAME.key is its owner's secret, NAME.pub is what `keys enroll` takes."""
    _check_role(role)
    public, secret = zmq.curve_keypair()
    try:
        pair = KeyPair(name=name, role=role, public=public.decode(), secret=secret.decode())
    except ValueError as error:
        raise RequestError("NAME", name[:64], str(error)) from None
    key, pub = output / f"{name}.key", output / f"{name}.pub"
    for path in (key, pub):
        if path.exists():
            raise RequestError("NAME", name, f"a name without a file is accepted: {path} exists and is kept")
    if not write_secret(str(key), pair):
        raise MachineError(f"{key} was made by somebody else just now")
    write_public(str(pub), pair)
    if as_json:
        print_json({"name": name, "role": role, "public": pair.public, "key": str(key), "pub": str(pub)})
    else:
        stdout().print(f"{key}: the secret of {role} {name}. Enroll it: fustor keys enroll {pub}", markup=False)


def enroll(
    file: Annotated[Path, typer.Argument(metavar="FILE.pub", help="The public half, as its owner's host has made it.")],
    role: Annotated[str, typer.Option("--role", "-r", help="Another role than the file says.")] = "",
    name: Annotated[str, typer.Option("--name", "-n", help="Another name than the file says.")] = "",
    replace: Annotated[bool, typer.Option("--replace", help="In the place of the key that has this name.")] = False,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let the owner of a key in. It holds from the next connection on; nothing is restarted."""
    folder = _authorized(chosen_state(state))
    pair = load_public(str(file))
    try:
        pair = attrs.evolve(pair, role=role or pair.role, name=name or pair.name)
    except ValueError as error:
        raise RequestError("--name" if name else "--role", name or role, str(error)) from None
    _check_role(pair.role)
    known = keys_in(folder)
    if any(other.public == pair.public for other in keys_in(folder.parent / "revoked").values()):
        raise RequestError("FILE.pub", str(file), "this key was revoked: a new one is accepted, see fustor keys new")
    for path, other in known.items():
        if other.public == pair.public and (other.name, other.role) != (pair.name, pair.role):
            owner = f"{other.role} {other.name}"
            raise RequestError("FILE.pub", str(file), f"a key is bound to one name: {path.name} has it for {owner}")
    holders = [path for path, other in known.items() if (other.role, other.name) == (pair.role, pair.name)]
    if any(known[path].public == pair.public for path in holders):
        said = "is enrolled already"
    elif holders and not replace:
        owner = f"{pair.role} {pair.name}"
        accepted = f"{owner} has another key in {holders[0].name}; --replace it, or revoke it first"
        raise RequestError("FILE.pub", str(file), accepted)
    else:
        write_public(str(holders[0] if holders else _free(folder, pair, known)), pair)
        said = "is enrolled" if not holders else "is enrolled; the key that it had is shut out"
    if as_json:
        print_json({"name": pair.name, "role": pair.role, "public": pair.public})
    else:
        stdout().print(f"{pair.role} {pair.name} {said}", markup=False)


def revoke(
    name: Annotated[str, typer.Argument(help="Whose keys; or a public key, after -- if it begins with a dash.")],
    role: Annotated[str, typer.Option("--role", "-r", help="Only those with this role.")] = "",
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Shut the owner of a key out, at once: sessions end, connections are closed, nothing more is taken from it."""
    folder = _authorized(chosen_state(state))
    known = keys_in(folder)
    found = {path: pair for path, pair in known.items() if name in (pair.name, pair.public) and role in ("", pair.role)}
    if not found:
        names = ", ".join(sorted({pair.name for pair in known.values()})) or "nobody"
        raise NotFoundError(f"{name}: no such key; enrolled are: {names}")
    if len({pair.role for pair in found.values()}) > 1:
        roles = " and ".join(sorted({pair.role for pair in found.values()}))
        raise RequestError("NAME", name, f"there are several, with roles {roles}: say which with --role")
    gone_to = folder.parent / "revoked"
    try:
        gone_to.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise MachineError(f"{gone_to} can't be made: {error.strerror}") from None
    for path, pair in found.items():
        # A name that no other key gets, and that can be a file name; Z85 may hold slashes.
        short = hashlib.blake2b(pair.public.encode(), digest_size=8).hexdigest()
        move(str(path), str(gone_to / f"{pair.role}-{pair.name}-{short}.pub"))
    gone = [{"name": pair.name, "role": pair.role, "public": pair.public} for pair in found.values()]
    if as_json:
        print_json(gone)
    else:
        for one in gone:
            stdout().print(f"{one['role']} {one['name']} is shut out", markup=False)


def show(state: StateOption = None, as_json: JsonOption = False) -> None:
    """List who may connect."""
    pairs = sorted(keys_in(_authorized(chosen_state(state))).values(), key=lambda pair: (pair.role, pair.name))
    if as_json:
        print_json([{"name": pair.name, "role": pair.role, "public": pair.public} for pair in pairs])
        return
    table = Table("role", "name", "key", box=None, pad_edge=False, header_style="dim")
    for pair in pairs:
        table.add_row(Text(pair.role), Text(pair.name), Text(pair.public))
    stdout().print(table)


def keys_in(folder: Path) -> dict[Path, KeyPair]:
    """
    The keys in a folder; files that are none are passed over, as Fusion does.

    Raises:
        MachineError: the folder can't be read.
    """
    found = {}
    try:
        paths = sorted(folder.glob("*.pub"))
    except OSError as error:
        raise MachineError(f"{folder} can't be read: {error.strerror}") from None
    for path in paths:
        try:
            found[path] = load_public(str(path))
        except FustorError:
            continue
    return found


def _authorized(state: State) -> Path:
    folder = state.fusion.keys / "authorized"
    if not folder.is_dir():
        raise NotRunningError(
            f"there is no Fusion in {state.folder}. Start it: fustor up DIR. "
            "Or say where it is: --state FOLDER, or FUSTOR_STATE"
        )
    return folder


def _free(folder: Path, pair: KeyPair, known: dict[Path, KeyPair]) -> Path:
    """A file for a key: named after its owner, and its role where somebody else has that file."""
    path = folder / f"{pair.name}.pub"
    return path if path not in known and not path.exists() else folder / f"{pair.role}-{pair.name}.pub"


def _check_role(role: str) -> None:
    if role not in PEERS:
        raise RequestError("--role", role[:32], f"one of {', '.join(PEERS)} is accepted")
