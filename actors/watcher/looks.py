"""
Looks: paths that somebody wants to be looked at now, whatever events say of them.

A look is a sweep of its own, from the deepest known directory on the way to its path, then over what is below as deep
as it is wanted: each listing says which directories come next. It is done when everything is listed, when the names
that events touched during those listings, which leave them out, were looked at too, and when the view has applied all
of that.

What this module does not do: list anything, or tell anybody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import attrs

from actors.watcher.sweep import Sweep
from actors.watcher.table import ROOT, DirTable
from protocols.looks import DONE, LOOKING, REFUSED, WAITING

#: How often a directory may turn out to be another one before it is passed over.
_LOSSES = 8


@attrs.frozen
class _Due:
    """
    A directory that is to be listed.

    Attributes:
        dir: its id, never its index, which is used again.
        way: names that lead on from it to the path that is wanted; empty when it is at or below that.
        depth: levels of children that are wanted of the path, then of it; None: all.
        losses: how often it, or what stood in its place, was another one.
    """

    dir: int
    way: tuple[bytes, ...]
    depth: int | None
    losses: int = 0


class PathSweep(Sweep):
    """
    The directories of one look.

    Args:
        table: the known directories.
        names: of the path below the root.
        depth: levels of children that are wanted; 0: the entry at the path alone; None: all.

    Attributes:
        skipped: directories that could not be looked at.
    """

    def __init__(self, table: DirTable, names: tuple[bytes, ...], depth: int | None) -> None:
        super().__init__(full=True)
        self.skipped = 0
        if depth == 0:
            # An entry is told of by the directory that it is in, and the root's own row by its listing.
            depth = 1 if not names else 0
        known = ROOT
        way = names
        while way and (child := table.child(known, way[0])) and (depth != 0 or len(way) > 1):
            known, way = child, way[1:]
        self._due = [_Due(table.id_of(known), way, depth)]
        self._under_way: dict[int, _Due] = {}
        #: Names that listings left out: directory's id, name, phase of the event, what the directory stood for.
        self._touched: list[tuple[int, bytes, int, _Due]] = []

    def take(self, table: DirTable, most: int) -> list[int]:
        """Up to ``most`` directories that are to be looked at next."""
        taken: list[int] = []
        again: list[_Due] = []
        while self._due and len(taken) < most:
            due = self._due.pop()
            index = table.index_of(due.dir)
            if index in self._under_way:
                again.append(due)
            elif index:
                self._under_way[index] = due
                taken.append(index)
        self._due += again
        return taken

    def later(self, index: int) -> None:
        """It can't be looked at now: offer it again."""
        due = self._under_way.pop(index, None)
        if due is not None:
            self._due.append(due)

    def returned(self, index: int) -> None:
        """It was looked at, or is no longer there."""
        if self._under_way.pop(index, None) is not None:
            self.looked += 1

    def passed_over(self, index: int) -> None:
        """It could not be looked at."""
        if index in self._under_way:
            self.skipped += 1
            self.returned(index)

    def lost(self, table: DirTable, index: int) -> None:
        """Another directory is at its path, or none: the one that it is in knows."""
        due = self._under_way.pop(index, None)
        parent = table.parent[index]
        if due is None or not parent:
            return
        if due.losses >= _LOSSES:
            self.skipped += 1
            return
        self._due.append(_Due(table.id_of(parent), (table.name[index], *due.way), due.depth, due.losses + 1))

    def entered(self, table: DirTable, index: int, children: Iterable[int], touched: Mapping[bytes, int]) -> None:
        """A listing of ``index`` has found these directories, and left out ``touched``: name → phase of its event."""
        due = self._under_way.get(index)
        if due is not None:
            self._touched += [(table.id_of(index), name, phase, due) for name, phase in touched.items()]
            self._descend(table, due, children)

    def settle(self, table: DirTable, is_pending: Callable[[int, bytes, int], bool]) -> None:
        """Names that are looked at by now may have turned out to be directories."""
        touched, self._touched = self._touched, []
        for name in touched:
            index = table.index_of(name[0])
            if index and is_pending(index, name[1], name[2]):
                self._touched.append(name)
            elif index and (child := table.child(index, name[1])):
                self._descend(table, name[3], [child])

    def _descend(self, table: DirTable, due: _Due, children: Iterable[int]) -> None:
        if due.way:
            name, *rest = due.way
            if due.depth == 0 and not rest:
                return
            child = next((child for child in children if table.name[child] == name), 0)
            if child:
                self._due.append(_Due(table.id_of(child), tuple(rest), due.depth, due.losses))
        elif due.depth is None or due.depth > 1:
            below = None if due.depth is None else due.depth - 1
            self._due += [_Due(table.id_of(child), (), below, due.losses) for child in children]

    @property
    def is_due(self) -> bool:
        """Whether there is something to be taken."""
        return bool(self._due)

    def done(self, table: DirTable) -> bool:
        """Whether everything was looked at."""
        return not (self._under_way or self._due or self._touched)


@attrs.define(eq=False)
class LookState:
    """
    Attributes:
        id: of the look.
        sweep: its directories.
        state: see :mod:`protocols.looks`.
        as_of_ns: when it began, by the wall clock.
        number: of the item with which everything is contained; 0 before.
        text: why it is refused.
    """

    id: str
    sweep: PathSweep | None
    state: str = WAITING
    as_of_ns: int = 0
    number: int = 0
    text: str = ""

    @property
    def directories(self) -> int:
        """That were looked at."""
        return self.sweep.looked if self.sweep else 0

    @property
    def skipped(self) -> int:
        """Those of them that could not be."""
        return self.sweep.skipped if self.sweep else 0


class Looks:
    """
    All looks of a source: those that are open, in turn, and the last ones that have ended.

    Args:
        most: open at once, and remembered after their end.

    Attributes:
        ended: since somebody emptied it.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.ended: list[LookState] = []
        self._all: dict[str, LookState] = {}
        self._open: list[LookState] = []

    def __len__(self) -> int:
        return len(self._open)

    def begin(self, id: str, table: DirTable, names: tuple[bytes, ...], depth: int | None, wall: int) -> LookState:  # noqa: A002
        """The look of this id; a new one, unless it is known."""
        known = self._all.get(id)
        if known is not None:
            return known
        if len(self._open) >= self.most:
            return LookState(id, None, REFUSED, text=f"{self.most} looks are under way (limits.watcher, looks)")
        look = self._all[id] = LookState(id, PathSweep(table, names, depth), as_of_ns=wall)
        self._open.append(look)
        self._forget()
        return look

    def _forget(self) -> None:
        for id, look in list(self._all.items()):  # noqa: A001
            if len(self._all) <= 2 * self.most:
                break
            if look.state == DONE:
                del self._all[id]

    def next_sweep(self) -> PathSweep | None:
        """The one whose turn it is, of those that have something to be listed."""
        for at, look in enumerate(self._open):
            if look.sweep is not None and look.sweep.is_due:
                self._open.append(self._open.pop(at))
                look.state = LOOKING
                return look.sweep
        return None

    @property
    def is_due(self) -> bool:
        """Whether one of them has something to be listed."""
        return any(look.sweep is not None and look.sweep.is_due for look in self._open)

    def tick(self, table: DirTable, is_pending: Callable[[int, bytes, int], bool], number: int, applied: int) -> None:
        """
        See which have come to an end.

        Args:
            table: the known directories.
            is_pending: whether a name of a directory is still to be looked at for an event of that phase.
            number, applied: of the last item, and of the last one that the view has.
        """
        for look in list(self._open):
            assert look.sweep is not None
            if not look.number:
                look.sweep.settle(table, is_pending)
                if not look.sweep.done(table):
                    continue
                look.number = number
            if applied >= look.number:
                look.state = DONE
                self._open.remove(look)
                self.ended.append(look)
