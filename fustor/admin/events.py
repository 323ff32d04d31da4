"""``fustor events`` and ``fustor audit``: what happened, and who ordered what; once, or as it comes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import typer

from fustor.admin.client import Client
from fustor.admin.console import print_json, stderr, stdout
from fustor.admin.exits import NotFoundError
from fustor.admin.options import JsonOption, StateOption, chosen_state
from fustor.admin.text import moment, printable
from fustor.runtime.chain import verify
from protocols.errors import MachineError

#: Seconds between two questions while following.
INTERVAL = 0.5

FollowOption = Annotated[bool, typer.Option("--follow", "-f", help="Go on until interrupted.")]


def events(
    side: Annotated[str, typer.Argument(metavar="[AGENT]", help="One side (fusion for Fusion's own).")] = "",
    follow: FollowOption = False,
    evidence: Annotated[bool, typer.Option("--evidence", "-e", help="With stacks, /proc and log lines.")] = False,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what happened to payloads anywhere: states, exits, hangs and their evidence, orders."""
    with Client(chosen_state(state)) as client:

        def ask(after: int) -> tuple[list[dict[str, Any]], int]:
            answer = client.admin("events", after=str(after), side=side, evidence="yes" if evidence else "")
            if answer["lost"]:
                stderr().print("(some events went before they could be shown)")
            return answer["events"], answer["next"]

        for event in _follow(ask, follow):
            if as_json:
                print_json(event)
            else:
                stdout().print(event_line(event), markup=False)


def audit(
    follow: FollowOption = False,
    check: Annotated[bool, typer.Option("--verify", help="Check the hash chains of the logs on this host.")] = False,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show who ordered what, when, and what became of it."""
    where = chosen_state(state)
    if check:
        _verify(where.sides, as_json)
        return
    with Client(where) as client:

        def ask(after: int) -> tuple[list[dict[str, Any]], int]:
            answer = client.admin("audit", after=str(after))
            return answer["entries"], answer["next"]

        for entry in _follow(ask, follow):
            if as_json:
                print_json(entry)
            else:
                stdout().print(audit_line(entry), markup=False)


def event_line(event: dict[str, Any]) -> str:
    """One event on a line, its evidence indented below."""
    where = f"{event['side']}/{event['payload']}" if event["payload"] else event["side"]
    hint = f"  [{event['evidence_characters']} characters of evidence]" if event["evidence_characters"] else ""
    head = f"{moment(event['at_ns'] / 1e9)} {where} {event['kind']}: {event['text']}"
    if not event["evidence"]:
        return printable(head) + hint
    return "\n".join([printable(head), *(f"    {printable(line)}" for line in event["evidence"].splitlines())])


def audit_line(entry: dict[str, Any]) -> str:
    """One entry on a line."""
    where = f"{entry.get('target', '')}/{entry['payload']}" if entry.get("payload") else str(entry.get("target", ""))
    state = entry.get("state", entry.get("entry", ""))
    said = f": {entry['text']}" if entry.get("text") else ""
    who = f"{entry.get('by', '')} ({entry.get('role', '')})"
    return printable(f"{entry['n']} {entry['at']} {who} {entry.get('kind', '')} {where}: {state}{said}")


def _follow(ask: Callable[[int], tuple[list[dict[str, Any]], int]], follow: bool) -> Iterator[dict[str, Any]]:
    after = 0
    try:
        while True:
            found, following = ask(after)
            yield from found
            if following == after:
                if not follow:
                    return
                time.sleep(INTERVAL)
            after = following
    except KeyboardInterrupt:
        return


def _verify(sides: Any, as_json: bool) -> None:
    results = {}
    for side in sides:
        path = side.folder / "audit" / "audit.jsonl"
        if path.exists():
            results[side.name] = dict(zip(("entries", "fault"), verify(str(path)), strict=True))
    if not results:
        raise NotFoundError("there is no audit log here")
    if as_json:
        print_json(results)
    faults = [result["fault"] for result in results.values() if result["fault"]]
    if not as_json:
        for name, result in results.items():
            stdout().print(f"{name}: {result['entries']} entries, {'broken' if result['fault'] else 'whole'}")
    if faults:
        raise MachineError("; ".join(map(str, faults)))
