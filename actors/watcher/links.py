"""
Hard links: which names share an inode.

A write through one name of a file changes the attributes under all of them, and only the name that was used has an
event. So the known other names are looked at too. What is not in here (more names than fit, names outside the source)
is left to the audit.

What this module does not do: look at anything.
"""

from __future__ import annotations

from collections.abc import Iterator

#: A directory's index and a name in it.
Place = tuple[int, bytes]


class HardLinks:
    """
    Args:
        limit: names kept; further ones are not remembered. May be changed at any time.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._places: dict[int, set[Place]] = {}
        self._inode: dict[Place, int] = {}

    def __iter__(self) -> Iterator[tuple[Place, int]]:
        """Every name and its inode."""
        return iter(self._inode.items())

    def __len__(self) -> int:
        return len(self._inode)

    def note(self, place: Place, ino: int) -> Iterator[Place]:
        """``place`` is a name of ``ino``, which has several. Returns the other names of the inode it had before."""
        before = self._inode.get(place)
        if before == ino:
            return iter(())
        left = self.forget(place)
        if len(self._inode) < self.limit:
            self._inode[place] = ino
            self._places.setdefault(ino, set()).add(place)
        return left

    def forget(self, place: Place) -> Iterator[Place]:
        """``place`` is no longer a name of what it was. Returns the names that are left of that."""
        ino = self._inode.pop(place, None)
        if ino is None:
            return iter(())
        places = self._places[ino]
        places.discard(place)
        if not places:
            del self._places[ino]
        return iter(tuple(places))

    def others(self, place: Place, ino: int) -> Iterator[Place]:
        """The other known names of ``ino``."""
        return iter(tuple(self._places.get(ino, set()) - {place}))
