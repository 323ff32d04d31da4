"""
What one parser has still to hear of: first every directory, then those that change. Pure.

It is bounded: of a directory with many changed names only the directory is kept, and when too many directories wait
every directory is gone through again.

What this module does not do: send anything, or know what a parser finds.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from actors.watcher.table import LISTED, DirTable

#: Names of one directory, and directories, that wait at most.
MOST_NAMES, MOST_DIRECTORIES = 256, 65_536

#: (id of a directory, its names that may have changed; None: all of it).
Due = tuple[int, frozenset[bytes] | None]


#: Rules, where the pass is, and what waits.
NewsState = tuple[str, int, dict[int, tuple[bytes, ...] | None]]


class News:
    """
    Args:
        table: the directories that are known.

    Attributes:
        rules: of the parser; empty while none has ever been there.
    """

    def __init__(self, table: DirTable) -> None:
        self.rules = ""
        self._table = table
        #: Where the pass through all directories is; −1: it has ended.
        self._at = -1
        self._due: dict[int, set[bytes] | None] = {}
        self._given: list[Due] = []

    def begin(self, rules: str) -> None:
        """A parser has come that has nothing; of the same rules as the last one: that has what was given before."""
        if rules == self.rules:
            self.returned()
            return
        self.rules = rules
        self._given = []
        self._again()

    def _again(self) -> None:
        self._due.clear()
        self._at = 0

    def touched(self, index: int, names: AbstractSet[bytes] | None = None) -> None:
        """Names of a directory may have changed, or (None) all of it."""
        if self.rules:
            self._add(self._table.id_of(index), names)

    def below(self, index: int) -> None:
        """A directory has another path, and so has all below it."""
        if self.rules:
            stack = [index]
            while stack:
                at = stack.pop()
                self._add(self._table.id_of(at), None)
                stack.extend(self._table.children(at))

    def _add(self, dir_id: int, names: AbstractSet[bytes] | None) -> None:
        if names is not None and not names:
            return
        known = self._due.setdefault(dir_id, set())
        if known is None:
            return
        if names is not None:
            known.update(names)
        if names is None or len(known) > MOST_NAMES:
            self._due[dir_id] = None
        if len(self._due) > MOST_DIRECTORIES:
            self._again()

    def take(self, most: int) -> list[Due]:
        """The next directories, at most so many; changed ones first. Those that were given before are done with."""
        found: list[Due] = []
        while self._due and len(found) < most:
            dir_id = next(iter(self._due))
            names = self._due.pop(dir_id)
            if self._table.index_of(dir_id):
                found.append((dir_id, None if names is None else frozenset(names)))
        while self._at >= 0 and len(found) < most:
            at = self._table.after(self._at)
            if not at:
                self._at = -1
                break
            self._at = at
            if self._table.flags[at] & LISTED:
                found.append((self._table.id_of(at), None))
        self._given = found
        return found

    def state(self) -> NewsState:
        """All of it, for :meth:`restore`; what was given last is in it again."""
        self.returned()
        due = {dir_id: None if names is None else tuple(names) for dir_id, names in self._due.items()}
        return self.rules, self._at, due

    def restore(self, state: NewsState) -> None:
        """Go on from there."""
        self.rules, self._at, due = state
        self._due = {dir_id: None if names is None else set(names) for dir_id, names in due.items()}

    def returned(self) -> None:
        """What was given last is not done: it comes again."""
        given, self._given = self._given, []
        for dir_id, names in given:
            self._add(dir_id, names)

    def __len__(self) -> int:
        """Directories that wait, but for those of a pass through all."""
        return len(self._due)
