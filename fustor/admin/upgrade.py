"""
``fustor upgrade``: let agents run the program of a bundle, or what is installed again; a few first, then more.

The program is a part of an agent's configuration: it is tried, proved and left again as that is, and its history is
the history of the configuration. What this module does not do: decide when the next agents follow (Fusion does, and
goes on whether anybody looks or not).
"""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from fustor.admin.client import Client
from fustor.admin.config import ReasonOption
from fustor.admin.console import print_json, stderr, stdout
from fustor.admin.options import JsonOption, StateOption, chosen_state
from fustor.admin.text import printable
from protocols.errors import MachineError, RequestError

#: What is said instead of a digest for the program that is installed on the host.
INSTALLED = "installed"
#: Seconds between two looks how far it is.
INTERVAL = 0.2
#: Seconds that Fusion may take for an answer: taking a whole fleet back needs a write for each agent.
PATIENCE_SECONDS = 300.0
#: Agents that are told of one by one.
_FEW = 20
#: Nothing follows on these by itself.
_SETTLED = ("good", "failed", "overtaken")

WaitOption = Annotated[
    float, typer.Option("--wait", metavar="SECONDS", help="Look on until everybody is served; 0: do not.", min=0)
]


def start(
    digest: Annotated[str, typer.Argument(metavar="DIGEST", help="Of a bundle (its beginning), or: installed.")],
    reason: ReasonOption,
    agent: Annotated[
        list[str] | None,
        typer.Option("--agent", "-a", metavar="AGENT", help="Only this one; again for more. [default: every agent]"),
    ] = None,
    canary: Annotated[int, typer.Option("--canary", metavar="N", help="Agents of the first wave.", min=1)] = 1,
    share: Annotated[
        float, typer.Option("--share", metavar="SHARE", help="Of all agents, in each later wave.", min=0, max=1)
    ] = 0.25,
    failures: Annotated[
        int, typer.Option("--failures", metavar="N", help="That are borne; one more pauses it.", min=0)
    ] = 0,
    verdict: Annotated[
        float, typer.Option("--verdict", metavar="SECONDS", help="Until an agent that tries it has failed.", min=1)
    ] = 600.0,
    what: Annotated[
        str, typer.Option("--what", metavar="PART", help="Of an agent that runs it: payloads, shell, or all.")
    ] = "payloads",
    wait: WaitOption = 600.0,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give agents the program of a bundle, wave by wave. Each leaves it again by itself when it is bad."""
    policy = {"canary": str(canary), "share": repr(share), "failures": str(failures), "seconds": repr(verdict)}
    with Client(chosen_state(state)) as client:
        bundle = "" if digest == INSTALLED else _whole(digest, [one["digest"] for one in client.admin("bundles")])
        client.admin("rollout-start", bundle=bundle, reason=reason, agents=",".join(agent or ()), what=what, **policy)
        follow(client, wait, as_json=as_json)


def status(
    wait: WaitOption = 0.0,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show how far the last rollout is."""
    with Client(chosen_state(state)) as client:
        if wait:
            follow(client, wait, as_json=as_json)
            return
        found = _state(client)
    if as_json:
        print_json(found)
    elif found["rollout"] is None:
        stdout().print("there was none: fustor upgrade start DIGEST")
    else:
        for line in heading(found["rollout"]):
            stdout().print(printable(line), markup=False)
        stdout().print(listing(found["agents"]))


def pause(reason: ReasonOption, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Open no further wave. Agents that try it go on."""
    _change("pause", reason, state, as_json)


def resume(reason: ReasonOption, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Open further waves again, whatever has failed so far."""
    _change("resume", reason, state, as_json)


def abort(reason: ReasonOption, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Give it to nobody else, for good. Who has it keeps it: fustor rollback."""
    _change("abort", reason, state, as_json)


def rollback(reason: ReasonOption, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Take the last rollout back: every agent that was given it gets what it had before, all of them at once."""
    with Client(chosen_state(state), timeout=PATIENCE_SECONDS) as client:
        done = client.admin("rollout-rollback", reason=reason)
    if as_json:
        print_json(done)
    else:
        stdout().print(f"{len(done['agents'])} agents are given back what they had", highlight=False)
    if done["failed"]:
        raise MachineError("\n".join(f"{name}: {why}" for name, why in sorted(done["failed"].items())))


# -- parts ----------------------------------------------------------------------------------------------------------


def _whole(digest: str, known: list[str]) -> str:
    """The one digest that begins so."""
    found = [one for one in known if one.startswith(digest)]
    if len(found) != 1 or len(digest) < 4:
        there = ", ".join(one[:16] for one in known) or "Fusion has none: fustor bundle push FILE"
        accepted = f"the beginning of one digest, or {INSTALLED}, is accepted: {there}"
        raise RequestError("DIGEST", digest, accepted)
    return found[0]


def _state(client: Client) -> dict[str, Any]:
    """All of it, from as many pages as it has."""
    found: dict[str, Any] = client.look("rollout")
    while found["next"]:
        page = client.look("rollout", after=found["next"])
        found = {**page, "agents": found["agents"] + page["agents"]}
    return found


def _change(what: str, reason: str, state: StateOption, as_json: bool) -> None:
    with Client(chosen_state(state)) as client:
        found = client.admin(f"rollout-{what}", reason=reason)["rollout"]
    if as_json:
        print_json(found)
    else:
        stdout().print(printable(heading(found)[1]), markup=False)


def heading(rollout: dict[str, Any]) -> list[str]:
    """What there is to say of a rollout as a whole."""
    what = f"bundle {rollout['bundle'][:16]}…" if rollout["bundle"] else "the installed program"
    what += "" if rollout["what"] == "payloads" else f" for {rollout['what']}"
    policy = rollout["policy"]
    where = "served" if rollout["served"] and rollout["phase"] == "running" else rollout["phase"]
    why = f": {rollout['text']}" if rollout["text"] else ""
    return [
        f"{rollout['id']}: {what}, by {rollout['by']} ({rollout['role']}) at {rollout['at']}: {rollout['reason']}",
        f"{where}{why}",
        f"wave {rollout['wave']} (canary {policy['canary']}, then {policy['share']:g} of all; {policy['failures']} "
        f"failures are borne): {counted(rollout['counts'])}",
    ]


def counted(counts: dict[str, int]) -> str:
    """How many agents stand where, without those where nobody does."""
    return ", ".join(f"{count} {standing}" for standing, count in counts.items() if count) or "no agents"


def listing(agents: list[dict[str, Any]]) -> Table:
    """One row per agent."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("agent", "link", "standing", "revision", "says"):
        table.add_column(name, justify="right" if name == "revision" else "left", overflow="fold")
    styles = {"good": "green", "failed": "red", "trying": "yellow", "asked": "yellow"}
    for one in agents:
        cells = (one["agent"], one["link"], one["standing"], str(one["revision"] or ""), printable(one["text"]))
        table.add_row(*map(Text, cells), style=styles.get(one["standing"], ""))
    return table


def follow(client: Client, seconds: float, *, as_json: bool) -> None:
    """
    Say how far it is until everybody who is there is served, for at most ``seconds``.

    Raises:
        MachineError: it is paused or aborted, agents failed with it, or it takes longer.
    """
    deadline = time.monotonic() + seconds
    said: dict[str, str] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=stderr(), transient=True, disable=as_json or not stderr().is_terminal) as bar:
        task = bar.add_task("", total=None)
        while True:
            found = _state(client)
            rollout, agents = found["rollout"], found["agents"]
            if rollout is None:
                raise MachineError("there is no rollout")
            done = sum(rollout["counts"][standing] for standing in _SETTLED)
            bar.update(task, total=len(agents), completed=done, description=f"wave {rollout['wave']}")
            if not as_json:
                for line in _news(rollout, agents, said):
                    bar.console.print(printable(line), markup=False, highlight=False)
            if rollout["phase"] != "running" or rollout["served"] or time.monotonic() >= deadline:
                break
            time.sleep(INTERVAL)
    if as_json:
        print_json(found)
    bad = [f"{one['agent']}: {one['text']}" for one in agents if one["standing"] == "failed"][:_FEW]
    if rollout["phase"] != "running":
        raise MachineError("\n".join([*bad, f"{rollout['phase']}: {rollout['text']}"]))
    if bad:
        raise MachineError("\n".join(bad))
    if seconds and not rollout["served"]:
        raise MachineError(f"not served within {seconds:g} s: {counted(rollout['counts'])}; see fustor upgrade status")


def _news(rollout: dict[str, Any], agents: list[dict[str, Any]], said: dict[str, str]) -> list[str]:
    """What was not said yet: of a few agents each, of many how many stand where."""
    if len(agents) > _FEW:
        words = {"": f"wave {rollout['wave']}: {counted(rollout['counts'])}"}
    else:
        words = {
            one["agent"]: f"{one['agent']}: {one['standing']}" + (f": {one['text']}" if one["text"] else "")
            for one in agents
        }
    news = [word for name, word in words.items() if said.get(name) != word]
    said.update(words)
    return news
