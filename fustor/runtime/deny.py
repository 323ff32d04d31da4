"""
What of a host's files is never shown, whatever anybody configures for its sources.

It stands in ``[deny]`` of the agent's own file and is kept by the actors that look at files. What this module does not
do: look.
"""

from __future__ import annotations

from typing import Any

import attrs

from fustor.runtime.config import between
from fustor.runtime.source import check_absolute
from protocols.errors import ConfigError


def _check_directories(instance: object, attribute: attrs.Attribute[Any], value: tuple[str, ...]) -> None:
    for index, path in enumerate(value):
        check_absolute(f"{attribute.name}[{index}]", path)


def _check_uids(instance: object, attribute: attrs.Attribute[Any], value: tuple[int, ...]) -> None:
    for index, uid in enumerate(value):
        if not 0 <= uid < 1 << 32:
            raise ConfigError(f"{attribute.name}[{index}]", uid, "a number from 0 to 4294967295 is accepted")


@attrs.frozen(kw_only=True)
class DataDeny:
    """
    Attributes:
        directories: absolute paths; they and all below them are left out.
        uids: what belongs to these users is left out, directories with all below them.
        file_bytes: larger files are left out; 0 for none.
    """

    directories: tuple[str, ...] = attrs.field(default=(), validator=_check_directories)
    uids: tuple[int, ...] = attrs.field(default=(), validator=_check_uids)
    file_bytes: int = attrs.field(default=0, validator=between(0, 1 << 62))

    def covers(self, path: str) -> str:
        """The denied directory that the absolute ``path`` is, or is in, by its name; empty for none."""
        whole = path.rstrip("/") + "/"
        return next((one for one in self.directories if whole.startswith(one.rstrip("/") + "/")), "")
