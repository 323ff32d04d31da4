"""``fustor stat PATH``: everything that is known of one path, and how fresh it is."""

from __future__ import annotations

import stat as modes
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from fustor.admin.answers import ask_tree, decoded, streamed
from fustor.admin.client import Client
from fustor.admin.console import stdout
from fustor.admin.looking import NowOption, look, patience, waiting
from fustor.admin.options import JsonOption, StateOption, chosen_state
from fustor.admin.text import duration, moment, printable, size


def command(
    path: Annotated[str, typer.Argument(help="Absolute path in the tree.")],
    view: Annotated[str, typer.Option(help="Which view.", show_default="the first")] = "",
    now: NowOption = False,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what is known of one path."""
    with Client(chosen_state(state), patience(now)) as client, waiting(now):
        answer = ask_tree(client, path, view, {"max_depth": "0", **look(now)})
        if as_json:
            streamed(answer)
            return
        node = decoded(answer)
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, value in facts(node):
        table.add_row(Text(name, style="dim"), Text(value))
    stdout().print(table)


def facts(node: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Name and value of everything known of a node, for people."""
    yield "path", printable(node["path"])
    if node.get("known") is False:
        yield "known", "no: this part of the tree has not been looked at yet"
    else:
        yield "type", node["content_type"]
    if "target" in node:
        yield "target", printable(str(node["target"]))
    if "size" in node:
        yield "size", f"{node['size']:,} ({size(node['size'])})"
    if "mode" in node:
        yield "mode", f"{modes.filemode(node['mode'])} ({node['mode'] & 0o7777:04o})"
    for key in ("uid", "gid", "ino", "nlink"):
        if key in node:
            yield key, str(node[key])
    for key, name in (("modified_time", "modified"), ("created_time", "changed")):
        if node.get(key) is not None:
            yield name, moment(node[key])
    for key, value in node.get("attrs", {}).items():
        shown = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        yield printable(key), printable(shown)
    rollup = node.get("rollup")
    if rollup:
        yield "below", f"{rollup['files']:,} files, {rollup['directories']:,} directories, {size(rollup['bytes'])}"
    yield "freshness", freshness(node)


def freshness(root: Mapping[str, Any]) -> str:
    """What the root node of an answer says of the answer itself."""
    state = str(root.get("state", "unknown"))
    age = root.get("age")
    parts = [state + (", complete" if root.get("complete") else ", not complete")]
    parts.append(f"as of {duration(age)} ago" if age is not None else "age unknown")
    parts += [str(reason) for source in root.get("sources", ()) for reason in source.get("reasons", ())]
    if root.get("job_error"):
        parts.append(f"not looked at now: {root['job_error']}")
    elif root.get("job_pending"):
        parts.append(f"still being looked at (job {root['job_id']})")
    elif root.get("job_as_of") is not None:
        parts.append(f"looked at now: {root['job_directories']:,} directories")
    return "; ".join(parts)
