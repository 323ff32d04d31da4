"""
Rollups and generations: what a change in a directory means for everything above it.

During a transaction changes are only noted, per directory. At its end they are carried up once, deepest first, so that
each directory above is visited once however much changed below it.

Moving a directory within the transaction needs no carrying: what the old parent loses and the new one gains is the
rollup as stored; whatever is noted in the moved subtree travels up its final parents.

What this module does not do: I/O; it asks for the parent of a directory and hands out the sums.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import attrs


@attrs.define
class Change:
    """Differences noted for one directory; all zero: touched, so its generation changes."""

    files: int = 0
    directories: int = 0
    size: int = 0


class Rollup:
    """The changes of one transaction."""

    def __init__(self) -> None:
        self._changes: dict[int, Change] = {}

    def __bool__(self) -> bool:
        return bool(self._changes)

    def add(self, store_id: int, files: int = 0, directories: int = 0, size: int = 0) -> None:
        """Directory ``store_id`` has changed, and has this much more below it."""
        change = self._changes.get(store_id)
        if change is None:
            self._changes[store_id] = Change(files, directories, size)
        else:
            change.files += files
            change.directories += directories
            change.size += size

    def drop(self, store_id: int) -> None:
        """Directory ``store_id`` no longer exists."""
        self._changes.pop(store_id, None)

    def carry(self, parent: Callable[[int], int]) -> Iterator[tuple[int, Change]]:
        """
        The sum of changes of each directory that has any in its subtree, deepest first; empties itself.

        Args:
            parent: the parent of a directory as it is now; 0 ends the chain.
        """
        changes, self._changes = self._changes, {}
        parents: dict[int, int] = {}
        depths = {0: 0}
        for store_id in changes:
            chain = []
            at = store_id
            while at not in depths:
                chain.append(at)
                parents[at] = parent(at)
                at = parents[at]
            depth = depths[at]
            for below in reversed(chain):
                depth += 1
                depths[below] = depth
        del depths[0]
        for store_id in sorted(depths, key=depths.__getitem__, reverse=True):
            change = changes[store_id]
            yield store_id, change
            above = parents[store_id]
            if above:
                at_above = changes.get(above)
                if at_above is None:
                    changes[above] = Change(change.files, change.directories, change.size)
                else:
                    at_above.files += change.files
                    at_above.directories += change.directories
                    at_above.size += change.size
