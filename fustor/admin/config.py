"""``fustor config``: what is desired of the data side of an agent, or of all: shown, changed, compared, taken back."""

from __future__ import annotations

import difflib
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from fustor.admin.client import Client
from fustor.admin.console import print_json, stderr, stdout
from fustor.admin.options import JsonOption, StateOption, chosen_state
from fustor.admin.ordering import give, report
from fustor.admin.text import printable
from protocols.errors import MachineError, RequestError

#: Seconds between two questions how far it is.
INTERVAL = 0.2
#: Nothing follows on these by itself: ``running`` is on probation.
SETTLED = frozenset({"running", "good", "refused", "failed"})

AgentArgument = Annotated[str, typer.Argument(metavar="[AGENT]", help="An agent; it need not have logged in yet.")]
DefaultOption = Annotated[bool, typer.Option("--default", help="What holds for every agent without its own.")]
ReasonOption = Annotated[str, typer.Option("--reason", "-r", metavar="TEXT", help="Why; kept with the revision.")]
WaitOption = Annotated[
    float, typer.Option("--wait", metavar="SECONDS", help="For the agent to say running or refused; 0: do not.")
]


def show(
    agent: AgentArgument = "",
    default: DefaultOption = False,
    revision: Annotated[int, typer.Option("--revision", metavar="N", help="An earlier one.", min=0)] = 0,
    running: Annotated[
        bool, typer.Option("--running", help="What runs, from the agent itself, also of its file.")
    ] = False,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what is desired of an agent, and what it makes of it."""
    whose = target_of(agent, default)
    if running and (default or revision):
        raise RequestError("--running", "", "it is accepted with AGENT alone")
    with Client(chosen_state(state)) as client:
        if running:
            order = give(client, whose, "configuration", quiet=True)
            if as_json or order["state"] != "done":
                report(order, as_json=as_json)
            else:
                sys.stdout.write(order["data"]["text"])
            return
        found = client.admin("config", agent=whose, revision=str(revision))
    if as_json:
        print_json(found)
        return
    for line in heading(found):
        stderr().print(printable(line), markup=False)
    sys.stdout.write(found["document"] or "")


def push(
    arguments: Annotated[list[str], typer.Argument(metavar="AGENT FILE, or --default FILE", show_default=False)],
    reason: ReasonOption,
    default: DefaultOption = False,
    wait: WaitOption = 60.0,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Desire the document in FILE (- for stdin): a whole one, with [[sources]] and [limits.…] as in agent.toml."""
    wanted = 1 if default else 2
    if len(arguments) != wanted:
        raise RequestError("config push", " ".join(arguments), "AGENT FILE, or --default FILE, is accepted")
    whose, file = target_of("" if default else arguments[0], default), arguments[-1]
    document = read_document(file)
    with Client(chosen_state(state), timeout=VALIDATION_SECONDS) as client:
        revision = client.admin("config-push", agent=whose, document=document, reason=reason, file=file)
        follow(client, whose, revision, wait, as_json=as_json)


def rollback(
    revision: Annotated[int, typer.Argument(metavar="REVISION", min=1)],
    reason: ReasonOption,
    wait: WaitOption = 60.0,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Desire again what an earlier revision says, for the same agent, under a new number."""
    with Client(chosen_state(state)) as client:
        agent = client.admin("config-owner", revision=str(revision))["agent"]
        made = client.admin("config-rollback", agent=agent, revision=str(revision), reason=reason)
        follow(client, agent, made, wait, as_json=as_json)


def unset(
    reason: ReasonOption,
    agent: AgentArgument = "",
    default: DefaultOption = False,
    wait: WaitOption = 60.0,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Desire nothing any more: the default holds, or the agent's own file."""
    whose = target_of(agent, default)
    with Client(chosen_state(state)) as client:
        made = client.admin("config-unset", agent=whose, reason=reason)
        follow(client, whose, made, wait, as_json=as_json)


def diff(
    agent: AgentArgument = "",
    default: DefaultOption = False,
    old: Annotated[int, typer.Option("--from", metavar="N", help="[default: the one before]", min=0)] = 0,
    new: Annotated[int, typer.Option("--to", metavar="N", help="[default: the last one]", min=0)] = 0,
    file: Annotated[str, typer.Option("--file", metavar="FILE", help="Instead of --to; - for stdin.")] = "",
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show how two revisions differ, or a revision and a file."""
    whose = target_of(agent, default)
    with Client(chosen_state(state)) as client:
        numbers = [one["number"] for one in client.admin("config-history", agent=whose)["revisions"]]
        if not numbers:
            raise RequestError("agent", whose or "--default", "one with a revision is accepted: it has none")
        last = new or numbers[0]
        earlier = [number for number in numbers if number < last]
        first = old or (numbers[0] if file else earlier[0] if earlier else 0)
        before = _document(client, whose, first)
        after = read_document(file) if file else _document(client, whose, last)
    names = (f"revision {first}" if first else "nothing", file or f"revision {last}")
    lines = list(difflib.unified_diff(before.splitlines(), after.splitlines(), *names, lineterm=""))
    if as_json:
        print_json({"from": first, "to": file or last, "diff": lines})
        return
    for line in lines:
        stdout().print(printable(line), markup=False)


def history(
    agent: AgentArgument = "",
    default: DefaultOption = False,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the revisions of an agent, newest first: who, when, why."""
    with Client(chosen_state(state)) as client:
        found = client.admin("config-history", agent=target_of(agent, default))
    if as_json:
        print_json(found)
        return
    stdout().print(listing(found["revisions"]))
    if found["removed"]:
        stderr().print(f"{found['removed']} older ones are gone, see [limits.configuration]")


# -- parts ----------------------------------------------------------------------------------------------------------

#: Seconds that the check of a document by payloads may take.
VALIDATION_SECONDS = 120.0


def target_of(agent: str, default: bool) -> str:
    """
    Whose configuration is meant; empty for the default.

    Raises:
        RequestError: both or none are named.
    """
    if bool(agent) == default:
        raise RequestError("AGENT", agent, "either AGENT or --default is accepted")
    return agent


def read_document(file: str) -> str:
    """
    The text in ``file``, ``-`` for stdin.

    Raises:
        RequestError: it can't be read, or is no UTF-8.
    """
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError("FILE", file, f"a readable file in UTF-8 is accepted: {error}") from None


def heading(found: dict[str, Any]) -> list[str]:
    """What there is to say of a configuration beside its document."""
    revision, whose = found["revision"], found["agent"] or "the default"
    if revision is None:
        lines = [f"# {whose}: nobody has pushed anything: it runs what its own file says, or what it had"]
    else:
        origin = {"own": "", "default": ", the default", "file": ", which says: its own file"}[found["from"]]
        lines = [
            f"# {whose}: revision {revision['number']}{origin}",
            f"# by {revision['author']} ({revision['role']}) at {revision['at']}: {revision['reason']}",
        ]
    if found["status"]:
        lines += [f"# {line}" for line in facts(found["status"])]
    lines += [
        f"# {name} ({one['link']}): {facts(one['status'])[1]}" for name, one in sorted(found.get("agents", {}).items())
    ]
    return lines


def facts(status: dict[str, Any]) -> list[str]:
    """The three facts, one a line."""
    said = f"{status['outcome']}: {status['error']}" if status["error"] else status["outcome"]
    tries = f", tries {status['tries']}" if status["tries"] > 1 else ""
    return [
        f"desired   {_name(status['desired'], status['desired_digest'])}",
        f"attempted {_name(status['attempted'], status['attempted_digest'])} {said}{tries}".rstrip(),
        f"running   {_name(status['running'], status['running_digest'])}",
    ]


def _name(revision: int, digest: str) -> str:
    if digest:
        return f"revision {revision} ({digest[:8]})"
    return f"its own file (revision {revision})" if revision else "its own file"


def listing(revisions: list[dict[str, Any]]) -> Table:
    """One row per revision."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("revision", "at", "by", "digest", "reason"):
        table.add_column(name, justify="right" if name == "revision" else "left")
    for one in revisions:
        digest = "(unset)" if one["unset"] else one["digest"][:8]
        by = f"{one['author']} ({one['role']})"
        table.add_row(*map(Text, (str(one["number"]), one["at"], by, digest, printable(one["reason"]))))
    return table


def _document(client: Client, agent: str, revision: int) -> str:
    if not revision:
        return ""
    return client.admin("config", agent=agent, revision=str(revision))["document"] or ""


def follow(client: Client, agent: str, revision: dict[str, Any], seconds: float, *, as_json: bool) -> None:
    """
    Say how far the agents are with a revision, until each that is online says running or refused.

    Raises:
        MachineError: one could not take it, or not in time.
    """
    number = revision["number"]
    if not as_json:
        stderr().print(f"kept as revision {number}, digest {revision['digest'][:8] or '(unset)'}")
    if revision["unset"]:
        # What holds from now on is an older revision, or nobody's.
        left = client.admin("config", agent=agent)["revision"]
        number = left["number"] if left else 0
    deadline = time.monotonic() + seconds
    said: dict[str, str] = {}
    waiting: list[str] = []
    while True:
        found = client.admin("config", agent=agent)
        if agent and (found["revision"] or {}).get("number") != number:
            break  # something else holds for it: a later revision, or the default
        followers = {agent: found} if agent else found["agents"]
        waiting = []
        for name, one in sorted(followers.items()):
            word = _progress(one, number)
            if word != said.get(name) and not as_json:
                stderr().print(printable(f"{name}: {word}"), markup=False)
            said[name] = word
            if one["link"] == "online" and word.partition(":")[0] not in SETTLED:
                waiting.append(name)
        if not waiting or time.monotonic() >= deadline:
            break
        time.sleep(INTERVAL)
    if as_json:
        print_json({"revision": revision, "agents": said})
    bad = [f"{name}: {word}" for name, word in said.items() if word.partition(":")[0] in ("refused", "failed")]
    if bad:
        raise MachineError("\n".join(bad))
    if seconds and waiting:
        raise MachineError(f"not taken within {seconds:g} s by {', '.join(waiting)}")


def _progress(one: dict[str, Any], number: int) -> str:
    """How far an agent is with revision ``number``, in a word, and why."""
    if one["link"] != "online":
        return "away: it takes it when it is back"
    status = one["status"] or {}
    if status.get("attempted") == number:
        outcome = str(status["outcome"])
        return f"{outcome}: {status['error']}" if status["error"] else outcome
    return "told" if status.get("desired") == number else "waiting"
