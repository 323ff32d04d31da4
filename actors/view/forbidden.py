"""
Items that a view must not apply, for they have ended it before, and those that it has to ask for again.

An item is ``agent/source epoch number`` as text. What was passed over once is gone until the watcher begins a new
epoch: an acknowledgement that goes back makes it begin one.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from protocols.errors import ConfigError


def item_of(agent: str, source: str, epoch: int, number: int) -> bytes:
    """How an item is called when it is written down."""
    return f"{agent}/{source} {epoch} {number}".encode()


@attrs.frozen
class Forbidden:
    """
    Attributes:
        quarantined: (agent, source, epoch) → numbers that must not be applied.
        again: (agent, source, epoch) of which something was passed over that is wanted now.
    """

    quarantined: dict[tuple[str, str, int], frozenset[int]] = attrs.Factory(dict)
    again: frozenset[tuple[str, str, int]] = frozenset()

    @classmethod
    def of(cls, quarantined: Iterable[str], again: Iterable[str]) -> Forbidden:
        """
        What is said by text.

        Raises:
            ConfigError: one of them is no item.
        """
        numbers: dict[tuple[str, str, int], set[int]] = {}
        for index, item in enumerate(quarantined):
            where, number = _parse(f"quarantined[{index}]", item)
            numbers.setdefault(where, set()).add(number)
        wanted = frozenset([_parse(f"again[{index}]", item)[0] for index, item in enumerate(again)])
        return cls({where: frozenset(found) for where, found in numbers.items()}, wanted)


def _parse(field: str, item: str) -> tuple[tuple[str, str, int], int]:
    try:
        source, epoch, number = item.split(" ")
        agent, slash, name = source.partition("/")
        if not slash:
            raise ValueError(item)
        return (agent, name, int(epoch)), int(number)
    except ValueError:
        raise ConfigError(field, item[:80], "'agent/source epoch number' is accepted") from None
