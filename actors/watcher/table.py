"""
The directories a watcher knows, in packed arrays: about a hundred bytes each.

A directory has an *index* (a place in the arrays, used again after its removal) and an *id* (index and a use count,
never used again), which is what travels in messages. Children of a directory are a linked list through the arrays.

What this module does not do: look at the disk, or decide anything.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping

#: Index of the root; index 0 means "none".
ROOT = 1

#: Flag bits.
LISTED = 1  #: its content is known since this epoch
QUEUED = 2  #: waits to be listed
FAILED = 4  #: its last listing failed
UNWATCHED = 8  #: the kernel refused a watch
HUNG = 16  #: the storage does not answer for it
CROSSED = 32  #: on another file system, not entered

#: Watch descriptors below this are looked up in an array, higher ones in a dict: the kernel counts upwards for ever.
_WD_ARRAY = 1 << 23
#: From this many children on, a directory gets a dict of them.
_INDEX_FROM = 24


#: The arrays by name, and their type codes.
COLUMNS = {
    "parent": "I",
    "first": "I",
    "next": "I",
    "prev": "I",
    "use": "I",
    "wd": "I",
    "ino": "Q",
    "dev": "Q",
    "mtime": "q",
    "ctime": "q",
    "flags": "B",
    "children_count": "I",
}


class DirTable:
    """All known directories of one source in one data epoch. Starts with the root at index 1."""

    def __init__(self) -> None:
        self.parent = array("I", [0, 0])
        self.first = array("I", [0, 0])
        self.next = array("I", [0, 0])
        self.prev = array("I", [0, 0])
        self.use = array("I", [0, 0])
        self.wd = array("I", [0, 0])
        self.ino = array("Q", [0, 0])
        self.dev = array("Q", [0, 0])
        self.mtime = array("q", [0, 0])
        self.ctime = array("q", [0, 0])
        self.flags = array("B", [0, 0])
        self.children_count = array("I", [0, 0])
        self.name: list[bytes] = [b"", b""]
        self._free: list[int] = []
        self._by_wd = array("I")
        self._by_high_wd: dict[int, int] = {}
        self._names: dict[int, dict[bytes, int]] = {}
        self.live = 1

    @classmethod
    def of(cls, columns: Mapping[str, array[int]], names: list[bytes]) -> DirTable:
        """
        A table of what one has held.

        Args:
            columns: all of :data:`COLUMNS`.
            names: as many.

        Raises:
            ValueError: they do not fit together.
        """
        made = cls()
        if len({len(names), *(len(columns[name]) for name in COLUMNS)}) != 1 or len(names) < len(made.name):
            raise ValueError("columns of one length are accepted")
        for name in COLUMNS:
            setattr(made, name, columns[name])
        made.name = names
        made._free = [at for at, parent in enumerate(made.parent) if not parent and at > ROOT]
        made.live = len(names) - 1 - len(made._free)
        for index, wd in enumerate(made.wd):
            if wd:
                made._set_by_wd(wd, index)
        for index, count in enumerate(made.children_count):
            if count >= _INDEX_FROM:
                made._names[index] = {names[child]: child for child in made.children(index)}
        return made

    # -- ids ----------------------------------------------------------------------------------------------------------

    def id_of(self, index: int) -> int:
        """The id that stands for ``index`` on the wire."""
        return self.use[index] << 32 | index

    def index_of(self, dir_id: int) -> int:
        """The index of an id, 0 when that directory is gone."""
        index = dir_id & 0xFFFFFFFF
        if 0 < index < len(self.use) and self.use[index] == dir_id >> 32 and (self.parent[index] or index == ROOT):
            return index
        return 0

    # -- the tree -----------------------------------------------------------------------------------------------------

    def child(self, parent: int, name: bytes) -> int:
        """Index of the child directory ``name`` of ``parent``, 0 for none."""
        names = self._names.get(parent)
        if names is not None:
            return names.get(name, 0)
        at = self.first[parent]
        while at:
            if self.name[at] == name:
                return at
            at = self.next[at]
        return 0

    def children(self, parent: int) -> Iterator[int]:
        """Indexes of the children; the current one may be removed meanwhile."""
        at = self.first[parent]
        while at:
            following = self.next[at]
            yield at
            at = following

    def add(self, parent: int, name: bytes, dev: int, ino: int) -> int:
        """A new child directory; the caller has made sure that the name is free."""
        if self._free:
            index = self._free.pop()
        else:
            index = len(self.parent)
            for column in (self.parent, self.first, self.next, self.prev, self.use, self.wd, self.ino, self.dev):
                column.append(0)
            for column in (self.mtime, self.ctime, self.flags, self.children_count):
                column.append(0)
            self.name.append(b"")
        self.dev[index] = dev
        self.ino[index] = ino
        self.live += 1
        self._link(index, parent, name)
        return index

    def _link(self, index: int, parent: int, name: bytes) -> None:
        self.parent[index] = parent
        self.name[index] = name
        first = self.first[parent]
        self.next[index] = first
        self.prev[index] = 0
        if first:
            self.prev[first] = index
        self.first[parent] = index
        self.children_count[parent] += 1
        names = self._names.get(parent)
        if names is not None:
            names[name] = index
        elif self.children_count[parent] >= _INDEX_FROM:
            self._names[parent] = {self.name[c]: c for c in self.children(parent)}

    def _unlink(self, index: int) -> None:
        parent, before, after = self.parent[index], self.prev[index], self.next[index]
        if before:
            self.next[before] = after
        else:
            self.first[parent] = after
        if after:
            self.prev[after] = before
        self.children_count[parent] -= 1
        names = self._names.get(parent)
        if names is not None:
            del names[self.name[index]]
            if self.children_count[parent] < _INDEX_FROM // 2:
                del self._names[parent]

    def move(self, index: int, parent: int, name: bytes) -> None:
        """Link a directory elsewhere; the caller has made sure that the name is free and that no loop arises."""
        self._unlink(index)
        self._link(index, parent, name)

    def drop(self, index: int) -> list[int]:
        """
        Forget a directory and all below it.

        Returns:
            The watch descriptors that still belonged to them.
        """
        self._unlink(index)
        wds: list[int] = []
        stack = [index]
        while stack:
            at = stack.pop()
            stack.extend(self.children(at))
            if self.wd[at]:
                wds.append(self.wd[at])
                self._set_by_wd(self.wd[at], 0)
            self._names.pop(at, None)
            for column in (self.parent, self.first, self.next, self.prev, self.wd, self.ino, self.dev):
                column[at] = 0
            self.mtime[at] = self.ctime[at] = 0
            self.flags[at] = 0
            self.children_count[at] = 0
            self.name[at] = b""
            self.use[at] += 1
            self._free.append(at)
            self.live -= 1
        return wds

    def is_below(self, index: int, ancestor: int) -> bool:
        """Whether ``index`` is ``ancestor`` or lies somewhere below it."""
        while index:
            if index == ancestor:
                return True
            index = self.parent[index]
        return False

    def path(self, index: int) -> bytes:
        """Path below the root, without a leading slash."""
        parts: list[bytes] = []
        while index != ROOT:
            parts.append(self.name[index])
            index = self.parent[index]
        parts.reverse()
        return b"/".join(parts)

    def note_times(self, index: int, mtime: int, ctime: int) -> None:
        """
        Keep the times of a listing, in ns since 1970. Of a time that does not fit in 64 bits (the year 2262 and
        later, which ext4 can hold) nothing is kept: such a directory never counts as unchanged.
        """
        if max(abs(mtime), abs(ctime)) >> 63:
            mtime = ctime = 0
        self.mtime[index], self.ctime[index] = mtime, ctime

    def after(self, index: int) -> int:
        """The next live index after ``index`` in the order of the arrays, 0 at the end."""
        for at in range(index + 1, len(self.parent)):
            if self.parent[at] or at == ROOT:
                return at
        return 0

    # -- watches ------------------------------------------------------------------------------------------------------

    def by_wd(self, wd: int) -> int:
        """The directory that a watch descriptor belongs to, 0 for none."""
        if wd < len(self._by_wd):
            return self._by_wd[wd]
        return self._by_high_wd.get(wd, 0)

    def _set_by_wd(self, wd: int, index: int) -> None:
        if wd < _WD_ARRAY:
            if wd >= len(self._by_wd):
                self._by_wd.extend(bytes(1) * (wd + 1 - len(self._by_wd)))
            self._by_wd[wd] = index
        elif index:
            self._by_high_wd[wd] = index
        else:
            self._by_high_wd.pop(wd, None)

    def watch(self, index: int, wd: int) -> int:
        """
        Note that ``wd`` watches ``index``.

        Returns:
            The index that had this descriptor until now (the same directory seen at another place), 0 for none.
        """
        before = self.by_wd(wd)
        if before == index:
            return 0
        if before:
            self.wd[before] = 0
        if self.wd[index]:
            self._set_by_wd(self.wd[index], 0)
        self.wd[index] = wd
        self._set_by_wd(wd, index)
        return before

    def unwatch(self, wd: int) -> int:
        """The kernel has removed ``wd``; returns the index that it belonged to."""
        index = self.by_wd(wd)
        if index:
            self.wd[index] = 0
            self._set_by_wd(wd, 0)
        return index
