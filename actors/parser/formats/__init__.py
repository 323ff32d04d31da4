"""
What reads files: the formats that come with Fustor, and plug-ins.

A format is a function ``read(file, *, option=default, …)`` that is given an open binary file at its beginning and
returns a mapping of names to values (:func:`protocols.parsing.check_attributes` says which). It raises ValueError for a
file that is not of its kind. It should read no more than it needs, for the file may be of any size; it may crash, hang
or use up its memory without harm to anybody but the file (docs/parsers.md).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any, cast

from fustor.runtime.config import ConfigFaults
from protocols.errors import ConfigError

#: The group of entry points in which plug-ins are named.
GROUP = "fustor.parsers"

#: Name → module of the formats that come with us.
OWN = {
    "archive": "actors.parser.formats.archives",
    "json": "actors.parser.formats.documents",
    "mime": "actors.parser.formats.kinds",
    "table": "actors.parser.formats.tables",
}

Format = Callable[..., Mapping[str, Any]]


def find(name: str) -> Format:
    """
    The format called ``name``; ours come first.

    Raises:
        ConfigFaults: there is none, or it can't be loaded.
    """
    if name in OWN:
        return cast(Format, importlib.import_module(OWN[name]).read)
    plugins = {entry.name: entry for entry in entry_points(group=GROUP)}
    if name not in plugins:
        accepted = f"one of {', '.join(sorted({*OWN, *plugins}))} is accepted"
        raise ConfigFaults((ConfigError("format", name, accepted),))
    try:
        loaded = plugins[name].load()
    except Exception as error:
        why = f"another is accepted: this one can't be loaded ({type(error).__name__}: {error})"
        raise ConfigFaults((ConfigError("format", name, why),)) from None
    if not callable(loaded):
        raise ConfigFaults((ConfigError("format", name, "a plug-in that is a function is accepted"),))
    return cast(Format, loaded)
