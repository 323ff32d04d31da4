"""docs/configuration.md names every key with its type and default, and no other, as the classes that read them."""

from __future__ import annotations

import importlib
import json
import re
import types
import typing
from pathlib import Path
from typing import Any

import attrs
import pytest

from protocols.limits import LargeProcessLimits, ProcessLimits

PAGE = Path(__file__).resolve().parents[1] / "docs" / "configuration.md"

#: Section of the page → class that is this table.
SECTIONS = {
    "[fusion]": "fustor.fusion.config:FusionSection",
    "[[views]]": "fustor.fusion.config:ViewConfig",
    "[[views.sources]]": "fustor.fusion.config:ViewSource",
    "[agent]": "fustor.agent.config:AgentSection",
    "[[sources]]": "fustor.runtime.source:SourceConfig",
    "[[sources.parsers]]": "fustor.runtime.source:ParserConfig",
    "[software]": "fustor.runtime.document:Software",
    "[deny]": "fustor.agent.config:DenySection",
    "[limits.shell.ladder]": "protocols.ladder:LadderPolicy",
    "[limits.probation]": "protocols.desired:ProbationPolicy",
    "[limits.bundles]": "fustor.fusion.bundles:BundleStoreLimits",
    "[limits.configuration]": "fustor.fusion.revisions:DesiredLimits",
    "[limits.orders]": "protocols.orders:OrderPolicy",
    "[limits.audit]": "fustor.runtime.chain:AuditLimits",
    "[limits.events]": "protocols.happenings:EventLimits",
    "[limits.looks]": "fustor.fusion.looks:LookLimits",
    "[limits.guardian]": "fustor.runtime.daemon:GuardianLimits",
    "[limits.shell]": "protocols.supervision:Policy",
    "[limits.shell.backoff]": "protocols.restart:BackoffPolicy",
    "[limits.process.KIND]": "protocols.limits:ProcessLimits",
    "[limits.groups]": "fustor.runtime.cgroups:GroupLimits",
    "[limits.quarantine]": "protocols.quarantine:QuarantinePolicy",
    "[limits.watcher]": "actors.watcher.limits:WatcherLimits",
    "[limits.scanner]": "actors.scanner.worker:ScannerLimits",
    "[limits.syncer]": "actors.syncer.__main__:SyncerLimits",
    "[limits.parser]": "actors.parser.config:ParserLimits",
    "[limits.view]": "actors.view.config:ViewLimits",
    "[limits.query]": "actors.query.config:QueryLimits",
}


def documented(section: str) -> dict[str, tuple[str, str]]:
    """Key → (type, default) in the table of a section."""
    match = re.search(rf"^## `{re.escape(section)}`.*?$(.*?)(?=^## |\Z)", PAGE.read_text(), re.M | re.S)
    assert match is not None, f"no section {section}"
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in match[1].splitlines() if line[:3] == "| `"
    ]
    return {row[0].strip("`"): (row[1], row[2].strip("`")) for row in rows}


def type_name(hint: Any) -> str:
    if typing.get_origin(hint) is tuple:
        return f"array of {type_name(typing.get_args(hint)[0])}"
    if typing.get_origin(hint) is dict:
        return "table"
    if isinstance(hint, types.UnionType):
        return type_name(next(part for part in typing.get_args(hint) if part is not types.NoneType))
    return {int: "integer", float: "number", str: "text", bool: "boolean"}[hint]


def default_text(field: attrs.Attribute[Any]) -> str:
    if field.default is attrs.NOTHING:
        return "required"
    default: Any = field.default
    value = default.factory() if hasattr(default, "factory") else default
    return json.dumps(list(value) if isinstance(value, tuple) else value)


def is_table(hint: Any) -> bool:
    """Whether a key is a table, or tables, of its own: those have their own sections."""
    return any(attrs.has(part) for part in (hint, *typing.get_args(hint)) if isinstance(part, type))


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_is_documented(section: str) -> None:
    module, _, name = SECTIONS[section].partition(":")
    cls = getattr(importlib.import_module(module), name)
    hints = typing.get_type_hints(cls)
    expected = {
        field.name: (type_name(hints[field.name]), default_text(field))
        for field in attrs.fields(cls)
        if not is_table(hints[field.name])
    }
    assert documented(section) == expected


def test_every_section_is_checked() -> None:
    assert set(re.findall(r"^## `(\[.*?\]+)`", PAGE.read_text(), re.M)) == set(SECTIONS)


def test_what_large_kinds_have_instead_is_documented() -> None:
    base, large = ProcessLimits(), LargeProcessLimits()
    others = {f.name: getattr(large, f.name) for f in attrs.fields(ProcessLimits)}
    others = {name: value for name, value in others.items() if value != getattr(base, name)}
    assert all(f"`{name} = {value}`" in PAGE.read_text() for name, value in others.items())
