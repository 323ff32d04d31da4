"""
The directories of one write transaction: heads, links, ids, and what is noted until the end.

What is written again and again in a transaction is kept here and written once: heads, single names (by directory), and
the rollups that follow from both. ``flush`` writes it all; a draft that is dropped has changed nothing that an aborted
transaction does not undo.

Directories have ids of their own (store ids), which outlive the agents' ids: the ids of a source's current epoch are
mapped to them. A directory that is spoken of before its parent has named it waits in limbo, with content but without a
place. A directory that loses its place is removed with all below it at the end of the item, not at once: another
operation of the same item may give it a new place.

What this module does not do: it reads no rows frames, does not know the operations, and neither begins nor ends the
transaction. Every method may raise lmdb.Error.
"""

from __future__ import annotations

import stat
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import lmdb

from fustor.treestore.attributes import Identity
from fustor.treestore.environment import GENERATION_KEY, NEXT_ID_KEY, Environment
from fustor.treestore.format import (
    BLANK,
    CHILD,
    LIMBO_ID,
    ODD_NAME,
    OWN,
    PARSED,
    ROOT_ID,
    SHORTENED,
    UNSEEN,
    Attributes,
    Head,
    child_key,
    head_key,
    pack_id,
    unpack_id,
    valid_utf8,
)
from fustor.treestore.pages import Pages, key_range
from fustor.treestore.rollup import Rollup
from fustor.treestore.wire import row_of
from protocols.data import MODE, NAME, Row
from protocols.errors import DecodeError

#: Single names that are kept at most before they are written.
MAX_NAMES = 50_000

_Names = dict[bytes, Row | None]


class Draft:
    """
    Args:
        environment: of the store.
        txn: the write transaction.
        ids: by source: the database of its ids.
        counters: ``malformed`` own rows, ``loops`` and ``refused`` places are counted there.

    Attributes:
        index: the source whose item is being applied; ids are of this one.
        pinned: store ids that keep their place: the roots of the sources.
    """

    def __init__(
        self,
        environment: Environment,
        txn: lmdb.Transaction[bytes],
        ids: Mapping[int, lmdb._Database],
        counters: dict[str, int],
    ) -> None:
        self.index = 0
        self.pinned: Collection[int] = ()
        self._txn = txn
        self._meta = environment.meta
        self._ids = ids
        self._counters = counters
        self._get, self._put, self._delete = txn.get, txn.put, txn.delete
        self._cursor = txn.cursor(db=environment.tree)
        self._pages = Pages(txn, environment.files)
        self._rollup = Rollup()
        self._heads: dict[int, Head] = {}
        self._dirty: set[int] = set()
        self._doomed: dict[int, None] = {}
        #: Directories that were given files, or a child: their rollup does not tell yet.
        self._filled: set[int] = set()
        self._parents: set[int] = set()
        self._handles: dict[tuple[int, int], int] = {}
        self._names: dict[int, _Names] = {}
        self._named = 0
        self._generation = unpack_id(txn.get(GENERATION_KEY, b"", self._meta)) + 1
        self._first_new = self._next = unpack_id(txn.get(NEXT_ID_KEY, pack_id(ROOT_ID + 1), self._meta))

    # -- the end --------------------------------------------------------------------------------------------------

    @property
    def generation(self) -> int:
        """That of whatever changes in this transaction."""
        return self._generation

    def flush(self) -> bool:
        """Write everything that was only noted; True when the tree differs from before."""
        self._settle_all()
        self._pages.flush()
        changed = bool(self._rollup)
        for store_id, change in self._rollup.carry(lambda at: self.head(at).parent):
            head = self.head(store_id)
            head.files += change.files
            head.directories += change.directories
            head.size += change.size
            head.generation = self._generation
            self._dirty.add(store_id)
        heads = self._heads
        self._cursor.putmulti([(head_key(at), heads[at].pack()) for at in sorted(self._dirty)])
        if self._next != self._first_new:
            self._put(NEXT_ID_KEY, pack_id(self._next), db=self._meta)
        if changed:
            self._put(GENERATION_KEY, pack_id(self._generation), db=self._meta)
        return changed

    def end_item(self) -> None:
        """Remove what has lost its place."""
        while self._doomed:
            store_id, _ = self._doomed.popitem()
            self._remove(store_id)

    # -- files ------------------------------------------------------------------------------------------------------

    def note(self, store_id: int, rows: Sequence[Row], gone: Collection[bytes]) -> None:
        """Single files of a directory: ``rows`` are there as they say, ``gone`` are not. Written at the end."""
        names = self._names.get(store_id)
        if names is None:
            names = self._names[store_id] = {}
        for row in rows:
            names[row[NAME]] = row
        for name in gone:
            names[name] = None
        self._named += len(rows) + len(gone)
        if self._named > MAX_NAMES:
            self._settle_all()

    def settle(self, store_id: int) -> None:
        """Write the single names that were noted for a directory."""
        names = self._names.pop(store_id, None)
        if names:
            gone = [name for name, row in names.items() if row is None]
            delta = self._pages.update(store_id, [row for row in names.values() if row is not None], gone)
            if delta.changed:
                self.head(store_id).seen = UNSEEN
                self._filled.add(store_id)
                self._rollup.add(store_id, delta.files, 0, delta.size)

    def _settle_all(self) -> None:
        for store_id in sorted(self._names):
            self.settle(store_id)
        self._named = 0

    def replace_files(
        self,
        store_id: int,
        lo: bytes,
        hi: bytes | None,
        rows: list[Row],
        ignore: Collection[bytes] = (),
        seen: bytes = UNSEEN,
        parsers: Collection[str] | None = None,
    ) -> None:
        """
        The files of a directory in [lo, hi) are ``rows``, see :meth:`~fustor.treestore.pages.Pages.replace`.

        Args:
            seen: digest of the page that says so, when it says all of the directory.
            parsers: whose attributes may stay.
        """
        head = self.head(store_id)
        if head.files or store_id in self._filled:
            delta = self._pages.replace(store_id, lo, hi, rows, ignore, parsers)
        else:
            delta = self._pages.build(store_id, rows)
        if delta.changed:
            self._filled.add(store_id)
            self._rollup.add(store_id, delta.files, 0, delta.size)
        if head.seen != seen:
            head.seen = seen
            self._dirty.add(store_id)

    def attribute(
        self,
        handle: int,
        parser: str,
        found: Sequence[tuple[bytes, Identity, dict[str, Any]]],
        lo: bytes,
        hi: bytes | None,
    ) -> None:
        """
        What a parser has found in files of an agent's directory, see :meth:`~fustor.treestore.pages.Pages.attribute`;
        nothing where that directory is not known.
        """
        store_id = self._handle(handle)
        if not store_id:
            return
        head = self.head(store_id)
        if not found and not head.flags & PARSED:
            return
        self.settle(store_id)
        if self._pages.attribute(store_id, parser, found, lo, hi):
            self._rollup.add(store_id)
        if not head.flags & PARSED:
            head.flags |= PARSED
            self._dirty.add(store_id)

    def empty(self, store_id: int) -> None:
        """Take all content from a directory, and what is known of itself."""
        self.settle(store_id)
        self.replace_files(store_id, b"", None, [])
        for _, child in self.children(store_id, b"", None):
            self.displace(child)
        head = self.head(store_id)
        head.flags = head.handle = 0
        head.attributes, head.unreadable = BLANK, b""
        self._dirty.add(store_id)

    # -- looking ------------------------------------------------------------------------------------------------------

    # -- directories --------------------------------------------------------------------------------

    def head(self, store_id: int) -> Head:
        """The head of a directory; not to be changed by others."""
        head = self._heads.get(store_id)
        if head is None:
            value = self._get(head_key(store_id))
            head = self._heads[store_id] = Head.unpack(value if value is not None else b"")
        return head

    def exists(self, store_id: int) -> bool:
        """There is such a directory."""
        return store_id in self._heads or self._get(head_key(store_id)) is not None

    def barren(self, store_id: int) -> bool:
        """The directory has no child directories, as far as that can be told without looking for them."""
        return store_id not in self._parents and not self.head(store_id).directories

    def child(self, parent: int, name: bytes) -> int:
        """Store id of the child directory ``name``; 0 when there is none."""
        if self.barren(parent):
            return 0
        value = self._get(child_key(parent, name))
        return unpack_id(value) if value is not None else 0

    def children(self, parent: int, lo: bytes, hi: bytes | None) -> list[tuple[bytes, int]]:
        """(name, store id) of the children of ``parent`` with names in [lo, hi); of limbo: all in it."""
        if parent != LIMBO_ID and self.barren(parent):
            return []
        prefix = pack_id(parent) + CHILD
        low, high = key_range(lo, hi)
        cursor = self._cursor
        found = []
        here = cursor.set_range(prefix + low)
        while here:
            key = cursor.key()
            if key[:9] != prefix or (high is not None and key[9:] >= high):
                break
            child = unpack_id(cursor.value())
            name = self.head(child).name if len(key) - 9 == SHORTENED else key[9:]
            if lo <= name and (hi is None or name < hi):
                found.append((name, child))
            here = cursor.next()
        return found

    # -- the agents' ids ----------------------------------------------------------------------------------------------

    def known(self, handle: int) -> int:
        """The store id of an agent's directory; one that was never heard of begins in limbo."""
        store_id = self._handle(handle)
        if not store_id:
            store_id = self._new(b"")
            self.map(handle, store_id)
            self._put(pack_id(LIMBO_ID) + CHILD + pack_id(store_id), pack_id(store_id))
        return store_id

    def map(self, handle: int, store_id: int) -> None:
        """The agent's directory ``handle`` is ``store_id`` from now on."""
        self._put(pack_id(handle), pack_id(store_id), db=self._ids[self.index])
        self._handles[self.index, handle] = store_id
        head = self.head(store_id)
        head.handle, head.source = handle, self.index
        self._dirty.add(store_id)

    def void_ids(self) -> None:
        """No id of the source means anything any more; its tree stays."""
        self._txn.drop(self._ids[self.index], delete=False)
        self._handles = {key: at for key, at in self._handles.items() if key[0] != self.index}
        for _, store_id in self.children(LIMBO_ID, b"", None):
            if self.head(store_id).source == self.index:
                self.displace(store_id)

    def _handle(self, handle: int) -> int:
        store_id = self._handles.get((self.index, handle))
        if store_id is None:
            value = self._get(pack_id(handle), db=self._ids[self.index])
            store_id = self._handles[self.index, handle] = unpack_id(value) if value is not None else 0
        return store_id

    def _live(self, store_id: int) -> bool:
        """An id of the source's current epoch means this directory."""
        head = self.head(store_id)
        return head.handle != 0 and head.source == self.index and self._handle(head.handle) == store_id

    # -- what a directory is ------------------------------------------------------------------------------------------

    def flag(self, store_id: int, flags: int, unreadable: bytes = b"") -> None:
        """Set the flags of a directory, and why it can't be read."""
        head = self.head(store_id)
        if (flags, unreadable) != (head.flags, head.unreadable):
            # What can be answered changes with these; that the attributes are its own does not.
            if (flags ^ head.flags) & ~OWN or unreadable != head.unreadable:
                self._rollup.add(store_id)
            head.flags, head.unreadable = flags, unreadable
            self._dirty.add(store_id)

    def own(self, store_id: int, own: tuple[Any, ...]) -> None:
        """The attributes of a directory as it has them itself; nothing when ``own`` is empty."""
        if not own:
            return
        head = self.head(store_id)
        if own[MODE:] != head.attributes:
            try:
                row = row_of(own)
            except DecodeError:
                row = ()
            if len(row) != 9 or not stat.S_ISDIR(row[MODE]):
                self._counters["malformed"] += 1
                return
            self._describe(store_id, head, row[MODE:])
        if not head.flags & OWN:
            head.flags |= OWN
            self._dirty.add(store_id)

    def _describe(self, store_id: int, head: Head, attributes: Attributes) -> None:
        if attributes != head.attributes:
            head.attributes = attributes
            self._dirty.add(store_id)
            self._rollup.add(store_id)

    def make_root(self) -> None:
        """The top of the view begins to exist."""
        self._heads[ROOT_ID] = Head(0)
        self._dirty.add(ROOT_ID)
        self._rollup.add(ROOT_ID)

    def _new(self, name: bytes, attributes: Attributes = BLANK) -> int:
        """A new directory without a place and without content."""
        store_id = self._next
        self._next += 1
        flags = 0 if valid_utf8(name) else ODD_NAME
        self._heads[store_id] = Head(LIMBO_ID, 0, 0, 0, 0, 0, 0, flags, name, attributes)
        self._rollup.add(store_id)
        return store_id

    # -- where a directory is -----------------------------------------------------------------------------------------

    def mount(self, name: bytes) -> int:
        """The directory ``name`` at the top, made when it is missing."""
        existing = self.child(ROOT_ID, name)
        if existing:
            return existing
        store_id = self._new(name)
        self._put_link(store_id, ROOT_ID, name)
        return store_id

    def link(self, parent: int, directories: list[tuple[Row, int]]) -> None:
        """The directories ``directories`` (rows and ids) are children of ``parent``."""
        barren = self.barren(parent)
        for row, handle in directories:
            name, attributes = row[NAME], row[MODE:9]
            # No name comes twice, so what is linked here can't be in the way.
            existing = 0 if barren else self.child(parent, name)
            store_id = self._handle(handle)
            if not store_id:
                if not existing or self._live(existing):
                    if existing:
                        self.displace(existing)
                    store_id = self._new(name, attributes)
                    self._put_link(store_id, parent, name)
                    self.map(handle, store_id)
                    continue
                store_id = existing
                self.map(handle, store_id)
            if store_id != existing and not self.place(store_id, parent, name):
                continue
            head = self.head(store_id)
            if not head.flags & OWN:
                self._describe(store_id, head, attributes)

    def place(self, store_id: int, parent: int, name: bytes) -> bool:
        """Make a directory the child ``name`` of ``parent``, in place of any other; False when it can't be."""
        at = parent
        while at:
            if at == store_id:
                self._counters["loops"] += 1
                return False
            at = self.head(at).parent
        if store_id in self.pinned:
            self._counters["refused"] += 1
            return False
        existing = self.child(parent, name)
        if existing == store_id:
            return True
        if existing:
            self.displace(existing)
        self._detach(store_id)
        self._doomed.pop(store_id, None)
        head = self.head(store_id)
        if head.name != name:
            head.name = name
            head.flags = head.flags & ~ODD_NAME if valid_utf8(name) else head.flags | ODD_NAME
        self._put_link(store_id, parent, name)
        return True

    def _put_link(self, store_id: int, parent: int, name: bytes) -> None:
        self._put(child_key(parent, name), pack_id(store_id))
        self._parents.add(parent)
        head = self.head(store_id)
        head.parent = parent
        self._dirty.add(store_id)
        self._rollup.add(store_id)
        self._rollup.add(parent, head.files, head.directories + 1, head.size)

    def _detach(self, store_id: int) -> None:
        """Take a directory from its place."""
        head = self.head(store_id)
        if head.parent:
            self._delete(child_key(head.parent, head.name))
            self._rollup.add(head.parent, -head.files, -head.directories - 1, -head.size)
            head.parent = 0
            self._dirty.add(store_id)
        else:
            self._delete(pack_id(LIMBO_ID) + CHILD + pack_id(store_id))

    def displace(self, store_id: int) -> None:
        """Take a directory from its place; unless it gets a new one, it is removed at the end of the item."""
        self._detach(store_id)
        self._doomed[store_id] = None

    def _remove(self, store_id: int) -> None:
        """Remove a directory that has no place any more, and all below it."""
        cursor = self._cursor
        stack = [store_id]
        while stack:
            at = stack.pop()
            head = self.head(at)
            if head.handle:
                ids, handle = self._ids[head.source], pack_id(head.handle)
                if self._get(handle, db=ids) == pack_id(at):
                    self._delete(handle, db=ids)
                    self._handles[head.source, head.handle] = 0
            prefix = pack_id(at)
            here = cursor.set_range(prefix)
            while here and (key := cursor.key())[:8] == prefix:
                if key[8:9] == CHILD:
                    stack.append(unpack_id(cursor.value()))
                here = cursor.delete() and bool(cursor.key())
            self._pages.remove(at)
            del self._heads[at]
            self._dirty.discard(at)
            self._names.pop(at, None)
            self._rollup.drop(at)
