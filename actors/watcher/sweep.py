"""
A sweep: a walk over all known directories, to repair a gap or as an audit.

What this module does not do: decide when a sweep is due, or look at anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from actors.watcher.table import DirTable


class Sweep:
    """
    One pass over the table in the order of its indexes; directories added behind the position were listed just now.

    Args:
        full: list every directory; else only those whose times differ from the known ones.
        began: when it began, in ns since 1970, for whoever wants to claim it.
    """

    def __init__(self, *, full: bool, began: int = 0) -> None:
        self.full = full
        self.began = began
        self.looked = 0
        self._position = 0
        self._out: set[int] = set()
        self._later: list[int] = []

    def take(self, table: DirTable, most: int) -> list[int]:
        """Up to ``most`` directories that are to be looked at next."""
        taken: list[int] = []
        while self._later and len(taken) < most:
            index = self._later.pop()
            if table.parent[index] or index == 1:
                taken.append(index)
        while len(taken) < most:
            index = table.after(self._position)
            if not index:
                self._position = max(self._position, len(table.parent))
                break
            self._position = index
            taken.append(index)
        self._out.update(taken)
        return taken

    def later(self, index: int) -> None:
        """It can't be looked at now: offer it again."""
        self._out.discard(index)
        self._later.append(index)

    def returned(self, index: int) -> None:
        """It was looked at, or is no longer there."""
        self._out.discard(index)
        self.looked += 1

    def passed_over(self, index: int) -> None:
        """It could not be looked at."""
        self.returned(index)

    def lost(self, table: DirTable, index: int) -> None:
        """Another directory is at its path, or none: the one that it is in is asked, by whoever lists."""
        self.returned(index)

    def entered(self, table: DirTable, index: int, children: Iterable[int], touched: Mapping[bytes, int]) -> None:
        """A listing of ``index`` has found these directories, which come by their order, and left out ``touched``."""

    def done(self, table: DirTable) -> bool:
        """Whether everything was looked at."""
        return not self._out and not self._later and not table.after(self._position)
