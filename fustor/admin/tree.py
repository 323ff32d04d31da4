"""``fustor tree PATH``: a part of the index, drawn; or as it comes, with ``--json``."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.text import Text
from rich.tree import Tree

from fustor.admin.answers import ask_tree, decoded, streamed
from fustor.admin.client import Client
from fustor.admin.console import stderr, stdout
from fustor.admin.looking import NowOption, look, patience, waiting
from fustor.admin.options import JsonOption, StateOption, chosen_state
from fustor.admin.stat import freshness
from fustor.admin.text import moment, printable, size


def command(
    path: Annotated[str, typer.Argument(help="Absolute path in the tree.")] = "/",
    depth: Annotated[int, typer.Option(min=0, max=100, help="Levels to show.")] = 2,
    everything: Annotated[bool, typer.Option("--all", help="All levels; with --json only.")] = False,
    entries: Annotated[int, typer.Option(min=1, help="Entries to draw per directory.")] = 100,
    view: Annotated[str, typer.Option(help="Which view.", show_default="the first")] = "",
    now: NowOption = False,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a part of the tree."""
    if everything and not as_json:
        raise typer.BadParameter("is for --json; to draw, say how many levels: --depth N", param_hint="--all")
    levels = {} if everything else {"max_depth": str(depth)}
    with Client(chosen_state(state), patience(now)) as client:
        with waiting(now):
            answer = ask_tree(client, path, view, {**levels, **look(now)})
        if as_json:
            streamed(answer)
            return
        root = decoded(answer)
    stdout().print(draw(root, entries))
    stderr().print(freshness(root), markup=False)


def draw(node: dict[str, Any], entries: int) -> Tree:
    """
    A node and what is listed below it: directories first, then by name.

    Args:
        node: as fs/tree answers.
        entries: how many are drawn per directory; the number of the others is said.
    """
    drawn = Tree(label(node), guide_style="dim")
    open_nodes = [(drawn, node)]
    while open_nodes:
        branch, parent = open_nodes.pop()
        children = sorted(
            parent.get("children", ()), key=lambda child: (child["content_type"] != "directory", child["name"])
        )
        for child in children[:entries]:
            open_nodes.append((branch.add(label(child)), child))
        if len(children) > entries:
            branch.add(Text(f"… {len(children) - entries:,} more", style="dim"))
    return drawn


def label(node: dict[str, Any]) -> Text:
    """One node on one line."""
    kind = node["content_type"]
    name = printable(node["name"] or node["path"])
    text = Text(no_wrap=True)
    if kind == "directory":
        text.append(name if name.endswith("/") else name + "/", style="bold blue")
        if node.get("unreadable"):
            text.append("  unreadable", style="red")
    else:
        text.append(name, style="cyan" if kind == "symlink" else "")
        if "target" in node:
            text.append(f" → {printable(str(node['target']))}", style="dim")
        text.append(f"  {size(node['size'])}" if kind == "file" else f"  {kind}", style="green")
    if node.get("modified_time") is not None:
        text.append(f"  {moment(node['modified_time'])}", style="dim")
    return text
