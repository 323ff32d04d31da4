"""Orders to one payload, anywhere: ``fustor restart``, ``kill``, ``pause``, ``resume``, ``drain``, ``log`` …"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from fustor.admin.client import Client
from fustor.admin.console import print_json
from fustor.admin.options import JsonOption, StateOption, chosen_state
from fustor.admin.ordering import give, order_and_report, report, target_of
from fustor.admin.quarantine import payload_of
from protocols.errors import RequestError

PayloadArgument = Annotated[
    str, typer.Argument(metavar="AGENT/PAYLOAD", help="Which; Fusion's own are fusion/PAYLOAD. See: fustor payloads")
]
TtlOption = Annotated[
    float, typer.Option("--ttl", metavar="SECONDS", help="Give up unless it is begun by then.  [default: Fusion's]")
]


def restart(
    payload: PayloadArgument, ttl: TtlOption = 0.0, state: StateOption = None, as_json: JsonOption = False
) -> None:
    """Stop a payload in an orderly way, and start it again."""
    order_and_report(chosen_state(state), payload, "restart", as_json=as_json, ttl=ttl)


def kill(
    payload: PayloadArgument,
    force: Annotated[bool, typer.Option("-9", help="SIGKILL, the same as --signal 9.")] = False,
    signal: Annotated[int, typer.Option("--signal", "-s", help="Number of a signal that ends processes.")] = 15,
    ttl: TtlOption = 0.0,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send a signal to a payload, and wait for its end. It is started again."""
    number = "9" if force else str(signal)
    order_and_report(chosen_state(state), payload, "kill", as_json=as_json, ttl=ttl, signal=number)


def pause(
    payload: PayloadArgument, ttl: TtlOption = 0.0, state: StateOption = None, as_json: JsonOption = False
) -> None:
    """Freeze a payload where it is, until resume."""
    order_and_report(chosen_state(state), payload, "pause", as_json=as_json, ttl=ttl)


def resume(
    payload: PayloadArgument, ttl: TtlOption = 0.0, state: StateOption = None, as_json: JsonOption = False
) -> None:
    """Let a paused payload go on, or start a drained one."""
    order_and_report(chosen_state(state), payload, "resume", as_json=as_json, ttl=ttl)


def drain(
    payload: PayloadArgument, ttl: TtlOption = 0.0, state: StateOption = None, as_json: JsonOption = False
) -> None:
    """Let a payload finish what is in hand and end; it is not started before resume."""
    order_and_report(chosen_state(state), payload, "drain", as_json=as_json, ttl=ttl)


def release(
    target: Annotated[
        str, typer.Argument(metavar="AGENT[/PAYLOAD]", help="A payload that waits, or the agent of a quarantined item.")
    ],
    item: Annotated[str, typer.Argument(metavar="[ITEM]", help="Id of the item. See: fustor quarantine list")] = "",
    ttl: TtlOption = 0.0,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Start a payload now that is waiting after failures, or let a quarantined item be handled again."""
    where = chosen_state(state)
    if not item:
        order_and_report(where, target, "release", as_json=as_json, ttl=ttl)
        return
    if "/" in target:
        raise RequestError("AGENT", target, "the name of an agent is accepted beside an item")
    with Client(where) as client:
        payload = payload_of(client, target, item)
        order = give(client, target, "release", payload, ttl=ttl, quiet=as_json, item=item)
    report(order, as_json=as_json)


def log(
    payload: PayloadArgument,
    lines: Annotated[int, typer.Option("--lines", "-n", help="How many, 1 to 1000.")] = 50,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the last lines of a log, of a payload, of control or of guardian."""
    agent, name = target_of(payload)
    with Client(chosen_state(state)) as client:
        order = give(client, agent, "log", name, quiet=True, lines=str(lines))
    if as_json or order["state"] != "done":
        report(order, as_json=as_json)
        return
    sys.stdout.write(order["data"]["text"].rstrip("\n") + "\n")


def diagnose(
    agent: Annotated[str, typer.Argument(metavar="AGENT", help="An agent, or fusion.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE.zip", help="[default: AGENT-diagnosis.zip]")
    ] = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Collect stacks, logs, configuration without secrets and the recent story of a whole side into a zip file."""
    path = output or Path(f"{agent}-diagnosis.zip")
    if path.is_dir():
        raise RequestError("--output", str(path), "the name of a file is accepted")
    with Client(chosen_state(state)) as client:
        order = give(client, agent, "diagnose", quiet=as_json)
        if order["state"] == "done":
            size = fetch(client, order["id"], path)
            order["text"] = f"{size} bytes in {path}"
            order["data"] = {"file": str(path), "bytes": size}
    if as_json and order["state"] == "done":
        print_json(order)
    else:
        report(order, as_json=as_json)


def fetch(client: Client, order_id: str, path: Path) -> int:
    """
    Fetch what a diagnosis has yielded into ``path``.

    Returns:
        Its size in bytes.

    Raises:
        RequestError: it is gone.
    """
    with path.open("wb") as file:
        path.chmod(0o600)
        while True:
            piece = client.admin("fetch", id=order_id, offset=str(file.tell()))
            if piece["total"] is None:
                time.sleep(0.1)  # on its way from the agent to Fusion
                continue
            file.write(piece["data"])
            if file.tell() >= piece["total"]:
                return file.tell()
