"""
What must not be touched, for it has ended scanners or parsers before: directories and single names, as the shell tells
them.

An item is a path below the root as text: ``/a/b/`` a directory, ``/a/b`` a name, ``/`` the root. Bytes that are no
UTF-8 are lone surrogates, as in Python's file names. See :mod:`protocols.quarantine`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import attrs

from protocols.errors import ConfigError


def item_of(path: bytes) -> bytes:
    """How a directory is called when it is written down; a name in it is this and the name."""
    return b"/" + path + b"/" if path else b"/"


@attrs.frozen
class Forbidden:
    """
    Attributes:
        directories: paths below the root that must not be opened.
        names: path of a directory → names in it that must not be touched.
    """

    directories: frozenset[bytes] = frozenset()
    names: dict[bytes, frozenset[bytes]] = attrs.Factory(dict)

    @classmethod
    def of(cls, items: Iterable[str]) -> Forbidden:
        """
        What ``items`` mean.

        Raises:
            ConfigError: one of them is no path below the root.
        """
        directories: set[bytes] = set()
        names: dict[bytes, set[bytes]] = {}
        for index, item in enumerate(items):
            if not item.startswith("/") or "\0" in item:
                raise ConfigError(f"quarantined[{index}]", item[:80], "a path that begins with '/' is accepted")
            path = os.fsencode(item[1:])
            if not path or path.endswith(b"/"):
                directories.add(path.rstrip(b"/"))
            else:
                folder, _, name = path.rpartition(b"/")
                names.setdefault(folder, set()).add(name)
        return cls(frozenset(directories), {folder: frozenset(found) for folder, found in names.items()})
