"""
Applying items to a tree store: the one who writes.

A transaction is begun, items are applied to it, and it is committed: that is one step for every reader. The position of
each source (epoch, number) is part of the same transaction, so whatever dies, items and position agree.

Directories have ids of their own here (store ids), which outlive the agents' ids: ``ids.<source>`` maps the ids of a
source's current epoch to them, and a new epoch matches directories by name. A directory that is spoken of before its
parent has named it waits in limbo, with content but without a place; what is in limbo when an epoch ends is removed.

A directory that loses its place is removed with all below it at the end of the item, not at once: another operation of
the same item may give it a new place.

What this module does not do: it decides nothing about order (:mod:`protocols.sequencing` does) and reads no clock but
the one for ``arrived_ns``. Malformed rows and operations are counted and skipped.
"""

from __future__ import annotations

import errno
import stat
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import lmdb

from fustor.treestore.environment import (
    GENERATION_KEY,
    MAP_SIZE,
    MAX_READERS,
    NEXT_ID_KEY,
    boot_id,
    boottime_ns,
    close_cleanly,
    ids_name,
    open_for_writing,
    source_key,
    translate,
)
from fustor.treestore.format import (
    CHILD,
    LIMBO_ID,
    LISTED,
    ODD_NAME,
    OWN,
    PARTIAL,
    ROOT_ID,
    SHORTENED,
    UNREADABLE,
    Head,
    blank_fragment,
    child_key,
    decode_rows,
    encode_fragment,
    encode_rows,
    head_key,
    mark_unreadable,
    pack_id,
    rename_fragment,
    row_of,
    split_rows,
    unpack_id,
    unreadable_mark,
    valid_utf8,
)
from fustor.treestore.intake import NOT_NAMES, Intake, sort_out, valid_names
from fustor.treestore.pages import Pages, key_range
from fustor.treestore.reader import Reader, SourceStatus, pack_source, unpack_source
from fustor.treestore.rollup import Rollup
from protocols.data import MODE, NAME, Item, Listing, Moved, Names, Operation, Root, Row, Watermark
from protocols.errors import DecodeError, ProtocolError


@attrs.frozen
class SourceSpec:
    """
    A source of the view, as configured.

    Attributes:
        index: its number within the view; keeps its records apart from those of others.
        agent, source: whose it is.
        mount: ``/``, or ``/name``: where in the view its root is. One source may have ``/``, and then it is the only
        one.
    """

    index: int
    agent: str
    source: str
    mount: str


class Writer:
    """
    Opens the store at ``path`` for writing, or makes one, and brings its sources in line with ``sources``: what belongs
    to a source that is gone, or is another one now, is removed.

    Args:
        path: folder of the store.
        sources: all sources of the view.
        map_size: see ``MAP_SIZE``; when it is used up, commits fail with StoreFullError.
        clock: CLOCK_BOOTTIME in ns.
        counters: where to count; those that are there go on.

    Attributes:
        counters: ``items``, ``rows``, ``malformed`` rows, ``refused`` operations, ``loops`` (moves of a directory below
            itself, refused), ``commits``.

    Raises:
        StoreUnusableError, StoreFullError, MachineError: see :mod:`fustor.treestore.environment`. The first two also
            from any method that touches the store; the transaction is aborted then, and the store is as before it.
    """

    def __init__(
        self,
        path: str,
        sources: Sequence[SourceSpec],
        *,
        map_size: int = MAP_SIZE,
        max_readers: int = MAX_READERS,
        clock: Callable[[], int] = boottime_ns,
        counters: dict[str, int] | None = None,
    ) -> None:
        self.environment = open_for_writing(path, map_size=map_size, max_readers=max_readers)
        self.counters = {} if counters is None else counters
        for name in ("items", "rows", "malformed", "refused", "loops", "commits"):
            self.counters.setdefault(name, 0)
        self._clock = clock
        self._boot = boot_id()
        self._meta, self._tree = self.environment.meta, self.environment.tree
        self._ids: dict[int, lmdb._Database] = {}
        self._sources: dict[int, SourceStatus] = {}
        #: (epoch, number) by source: within a transaction ahead of what the status says.
        self._positions: dict[int, tuple[int, int]] = {}
        self._txn: lmdb.Transaction[bytes] | None = None
        try:
            self._configure({source.index: source for source in sources})
        except BaseException:
            self.abort()
            self.environment.close()
            raise

    # -- transactions --------------------------------------------------------------------------------

    @property
    def uuid(self) -> str:
        """Identity of the store."""
        return self.environment.uuid

    def reader(self) -> Reader:
        """A reader within this process."""
        return Reader.sharing(self.environment)

    def used_bytes(self) -> int:
        """How much of the map is in use, free pages within it included."""
        env = self.environment.env
        return (env.info()["last_pgno"] + 1) * env.stat()["psize"]

    def position(self, index: int) -> tuple[int, int]:
        """(epoch, number) of the last item of source ``index`` that was applied; not committed before ``commit``."""
        return self._positions[index]

    @property
    def open(self) -> bool:
        """A transaction is open."""
        return self._txn is not None

    def begin(self) -> None:
        """Open the transaction; nothing when it is open."""
        if self._txn is not None:
            return
        try:
            txn = self._txn = self.environment.env.begin(write=True, db=self._tree)
            self._get, self._put, self._delete = txn.get, txn.put, txn.delete
            self._cursor = txn.cursor()
            self._pages = Pages(txn, self._tree)
            self._rollup = Rollup()
            self._heads: dict[int, Head] = {}
            self._dirty: set[int] = set()
            self._doomed: dict[int, None] = {}
            self._stale: set[int] = set()
            self._generation = unpack_id(txn.get(GENERATION_KEY, b"", self._meta)) + 1
            self._first_new = self._next = unpack_id(txn.get(NEXT_ID_KEY, pack_id(ROOT_ID + 1), self._meta))
        except lmdb.Error as error:
            raise self._failed(error) from None

    def commit(self) -> bool:
        """Make everything since ``begin`` visible at once; True when the tree differs from before."""
        if self._txn is None:
            return False
        try:
            changed = self._flush()
            self._txn.commit()
        except lmdb.Error as error:
            raise self._failed(error) from None
        self._txn = None
        self.counters["commits"] += 1
        return changed

    def abort(self) -> None:
        """Forget everything since ``begin``."""
        if self._txn is not None:
            self._txn.abort()
            self._txn = None
            self._load_sources()

    def close(self) -> None:
        """Commit, bring everything to the disk, mark the store as whole, close it."""
        try:
            self.commit()
        except BaseException:
            self.environment.close()
            raise
        close_cleanly(self.environment)

    def _failed(self, error: lmdb.Error) -> Exception:
        self.abort()
        return translate(self.environment, error)

    def _flush(self) -> bool:
        changed = bool(self._rollup)
        for store_id, change in self._rollup.carry(lambda at: self._head(at).parent):
            head = self._head(store_id)
            head.files += change.files
            head.directories += change.directories
            head.size += change.size
            head.generation = self._generation
            self._dirty.add(store_id)
        heads = self._heads
        self._cursor.putmulti([(head_key(at), heads[at].pack()) for at in sorted(self._dirty)])
        for index in self._stale:
            epoch, applied = self._positions[index]
            source = self._sources[index] = attrs.evolve(self._sources[index], epoch=epoch, applied=applied)
            self._put(source_key(index), pack_source(source, self._boot), db=self._meta)
        if self._next != self._first_new:
            self._put(NEXT_ID_KEY, pack_id(self._next), db=self._meta)
        if changed:
            self._put(GENERATION_KEY, pack_id(self._generation), db=self._meta)
        return changed

    # -- sources --------------------------------------------------------------------------------

    def _load_sources(self) -> None:
        self._sources = {}
        with self.environment.env.begin(db=self._meta) as txn, txn.cursor() as cursor:
            found = cursor.set_range(b"source.")
            while found and cursor.key().startswith(b"source."):
                source = unpack_source(cursor.value(), self._boot)
                self._sources[source.index] = source
                found = cursor.next()
        self._positions = {index: (source.epoch, source.applied) for index, source in self._sources.items()}

    def _configure(self, specs: dict[int, SourceSpec]) -> None:
        self._load_sources()
        self.begin()
        assert self._txn is not None
        env, txn = self.environment.env, self._txn
        try:
            if self._get(head_key(ROOT_ID)) is None:
                self._heads[ROOT_ID] = Head(0, fragment=blank_fragment(b""))
                self._rollup.add(ROOT_ID)
            for index, known in list(self._sources.items()):
                self._ids[index] = env.open_db(ids_name(index), txn)
                spec = specs.get(index)
                if spec is None or (spec.agent, spec.source, spec.mount) != (known.agent, known.source, known.mount):
                    self._forget(known)
            for index, spec in specs.items():
                self._ids[index] = env.open_db(ids_name(index), txn)
                if index not in self._sources:
                    root = ROOT_ID
                    if spec.mount == "/":
                        self._flag(ROOT_ID, 0)
                    else:
                        root = self._mount(spec.mount[1:].encode())
                    self._sources[index] = SourceStatus(index, spec.agent, spec.source, spec.mount, root)
                    self._positions[index] = (0, 0)
                self._stale.add(index)  # every record is of this boot now
            if not any(spec.mount == "/" for spec in specs.values()):
                # All there can be at the top are the mounts, and those are known.
                self._flag(ROOT_ID, LISTED)
            self._end_item()
        except lmdb.Error as error:
            raise self._failed(error) from None
        self.commit()

    def _mount(self, name: bytes) -> int:
        existing = self._child(ROOT_ID, name)
        if existing:
            return existing
        store_id = self._new(name, blank_fragment(name))
        self._place(store_id, ROOT_ID, name)
        return store_id

    def _forget(self, source: SourceStatus) -> None:
        """Remove everything of a source."""
        assert self._txn is not None
        if source.root == ROOT_ID:
            delta = self._pages.replace(ROOT_ID, b"", None, [])
            self._rollup.add(ROOT_ID, delta.files, 0, delta.size)
            for _, child in self._children(ROOT_ID, b"", None):
                self._displace(child)
            head = self._head(ROOT_ID)
            head.flags = head.handle = 0
            head.fragment = blank_fragment(b"")
            self._dirty.add(ROOT_ID)
        else:
            self._displace(source.root)
        self._clear_limbo(source.index)
        self._end_item()
        self._txn.drop(self._ids[source.index], delete=False)
        self._delete(source_key(source.index), db=self._meta)
        del self._sources[source.index]
        self._stale.discard(source.index)

    def _clear_limbo(self, index: int) -> None:
        for _, store_id in self._children(LIMBO_ID, b"", None):
            if self._head(store_id).source == index:
                self._displace(store_id)

    # -- items --------------------------------------------------------------------------------

    def apply(self, index: int, item: Item, frame: bytes) -> int:
        """
        Apply an item and move the position of its source to it; opens the transaction when none is open.

        Args:
            index: the source.
            item: the operations.
            frame: their rows: a msgpack array of arrays of rows, see :mod:`protocols.data`.

        Returns:
            how many rows it had.

        Raises:
            ProtocolError: the frame does not belong to the item. Its operations that need rows are skipped, the others
                are applied, and the position moves: asking for the same again would bring the same.
        """
        self.begin()
        self._index = index
        if item.epoch != self._positions[index][0]:
            self._void_ids()
        problem: ProtocolError | None = None
        ops = item.ops()
        needed = sum(isinstance(op, Names) or (isinstance(op, Listing) and not op.errno) for op in ops)
        pages: list[list[Row]] | None = None
        try:
            pages = decode_rows(frame) if needed or frame else []
            if len(pages) != needed:
                problem = ProtocolError(f"item {item.number}: {len(pages)} arrays of rows for {needed} operations")
                pages = None
        except DecodeError as error:
            problem = error
        rows = 0
        following = iter(pages or ())
        try:
            for op in ops:
                page: list[Row] = []
                if isinstance(op, Names) or (isinstance(op, Listing) and not op.errno):
                    if pages is None:
                        self.counters["refused"] += 1
                        continue
                    page = next(following)
                    rows += len(page)
                self._operation(op, page)
            self._end_item()
        except lmdb.Error as error:
            raise self._failed(error) from None
        self._positions[index] = (item.epoch, item.number)
        self._stale.add(index)
        self.counters["items"] += 1
        self.counters["rows"] += rows
        if problem is not None:
            raise problem
        return rows

    def _operation(self, op: Operation, page: list[Row]) -> None:
        match op:
            case Watermark():
                self._watermark(op)
            case _ if op.dir < 0 or (isinstance(op, Moved) and op.parent < 1):
                self.counters["refused"] += 1
            case Listing() if op.dir:
                self._listing(op, page)
            case Names() if op.dir:
                self._names(op, page)
            case Moved() if op.dir:
                self._moved(op)
            case Root() if op.dir:
                self._root(op)

    def skip(self, index: int, epoch: int, number: int) -> None:
        """Move the position of a source over an item that can't be read at all."""
        self.begin()
        if epoch != self._positions[index][0]:
            self._index = index
            try:
                self._void_ids()
                self._end_item()
            except lmdb.Error as error:
                raise self._failed(error) from None
        self._positions[index] = (epoch, number)
        self._stale.add(index)
        self.counters["refused"] += 1

    def _end_item(self) -> None:
        while self._doomed:
            store_id, _ = self._doomed.popitem()
            self._remove(store_id)

    def _void_ids(self) -> None:
        """No id of the source means anything any more; its tree stays."""
        assert self._txn is not None
        self._txn.drop(self._ids[self._index], delete=False)
        self._clear_limbo(self._index)

    def _root(self, op: Root) -> None:
        self._void_ids()
        self._map(op.dir, self._sources[self._index].root)

    def _watermark(self, op: Watermark) -> None:
        self._sources[self._index] = attrs.evolve(
            self._sources[self._index],
            state=op.state,
            as_of_ns=op.as_of_ns,
            complete=op.complete,
            reasons=op.reasons,
            counts=op.counts,
            arrived_ns=self._clock(),
        )

    def _moved(self, op: Moved) -> None:
        if not valid_names((op.name,)):
            self.counters["refused"] += 1
            return
        parent, store_id = self._known(op.parent), self._known(op.dir)
        if self._place(store_id, parent, op.name):
            delta = self._pages.update(parent, (), (op.name,))
            self._rollup.add(parent, delta.files, 0, delta.size)

    def _listing(self, op: Listing, page: list[Row]) -> None:
        store_id = self._known(op.dir)
        lo, hi = op.lo, op.hi
        self._own(store_id, op.own)
        flags = self._head(store_id).flags
        if op.errno:
            self._flag(store_id, (flags | UNREADABLE) & ~OWN, errno.errorcode.get(op.errno, str(op.errno)))
            return
        if 1 in set(map(len, page)):  # a listing has nothing to say of what is not there
            self.counters["malformed"] += sum(len(row) == 1 for row in page)
            page = [row for row in page if len(row) > 1]
        intake = self._intake(sort_out(page, op.ids, op.ignore, lo, hi))
        delta = self._pages.replace(store_id, lo, hi, intake.files, intake.ignored)
        if delta.changed:
            self._rollup.add(store_id, delta.files, 0, delta.size)
        children = self._children(store_id, lo, hi)
        if children:
            staying = intake.ignored.union([row[NAME] for row, _ in intake.directories])
            for name, child in children:
                if name not in staying:
                    self._displace(child)
        self._link(store_id, intake.directories)
        flags &= ~UNREADABLE
        if hi is None and (flags & PARTIAL or not lo):
            flags = (flags | LISTED) & ~PARTIAL
        elif hi is not None and not lo:
            flags |= PARTIAL
        self._flag(store_id, flags)

    def _names(self, op: Names, page: list[Row]) -> None:
        store_id = self._known(op.dir)
        self._own(store_id, op.own)
        if not page:
            return
        gone = {row[NAME] for row in page if len(row) == 1}
        rows = [row for row in page if len(row) > 1] if gone else page
        intake = self._intake(sort_out(rows, op.ids, op.ignore))
        self.counters["malformed"] += len(gone & NOT_NAMES)
        files = {row[NAME] for row in intake.files}
        directories = {row[NAME] for row, _ in intake.directories}
        gone -= NOT_NAMES | intake.ignored | files | directories
        for name in gone | files:
            child = self._child(store_id, name)
            if child:
                self._displace(child)
        delta = self._pages.update(store_id, intake.files, gone | directories)
        if delta.changed:
            self._rollup.add(store_id, delta.files, 0, delta.size)
        self._link(store_id, intake.directories)

    def _intake(self, intake: Intake) -> Intake:
        self.counters["malformed"] += intake.malformed
        self.counters["refused"] += intake.refused
        return intake

    # -- directories --------------------------------------------------------------------------------

    def _head(self, store_id: int) -> Head:
        head = self._heads.get(store_id)
        if head is None:
            value = self._get(head_key(store_id))
            head = self._heads[store_id] = Head.unpack(value if value is not None else b"")
        return head

    def _child(self, parent: int, name: bytes) -> int:
        value = self._get(child_key(parent, name))
        return unpack_id(value) if value is not None else 0

    def _children(self, parent: int, lo: bytes, hi: bytes | None) -> list[tuple[bytes, int]]:
        """(name, store id) of the children of ``parent`` with names in [lo, hi); of limbo: all in it."""
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
            name = self._head(child).name if len(key) - 9 == SHORTENED else key[9:]
            if lo <= name and (hi is None or name < hi):
                found.append((name, child))
            here = cursor.next()
        return found

    def _handle(self, handle: int) -> int:
        value = self._get(pack_id(handle), db=self._ids[self._index])
        return unpack_id(value) if value is not None else 0

    def _map(self, handle: int, store_id: int) -> None:
        """The agent's directory ``handle`` is ``store_id`` from now on."""
        self._put(pack_id(handle), pack_id(store_id), db=self._ids[self._index])
        head = self._head(store_id)
        head.handle, head.source = handle, self._index
        self._dirty.add(store_id)

    def _known(self, handle: int) -> int:
        """The store id of an agent's directory; one that was never heard of begins in limbo."""
        store_id = self._handle(handle)
        if not store_id:
            store_id = self._new(b"", blank_fragment(b""))
            self._map(handle, store_id)
            self._put(pack_id(LIMBO_ID) + CHILD + pack_id(store_id), pack_id(store_id))
        return store_id

    def _new(self, name: bytes, fragment: bytes) -> int:
        """A new directory without a place and without content."""
        store_id = self._next
        self._next += 1
        flags = 0 if valid_utf8(name) else ODD_NAME
        self._heads[store_id] = Head(LIMBO_ID, flags=flags, name=name, fragment=fragment)
        self._dirty.add(store_id)
        self._rollup.add(store_id)
        return store_id

    def _flag(self, store_id: int, flags: int, unreadable: str = "") -> None:
        head = self._head(store_id)
        fragment = mark_unreadable(head.fragment, unreadable)
        if (flags, fragment) != (head.flags, head.fragment):
            # What can be answered changes with these; that the attributes are its own does not.
            if (flags ^ head.flags) & ~OWN or fragment != head.fragment:
                self._rollup.add(store_id)
            head.flags, head.fragment = flags, fragment
            self._dirty.add(store_id)

    def _own(self, store_id: int, own: tuple[Any, ...]) -> None:
        """The attributes of a directory as it has them itself."""
        if not own:
            return
        head = self._head(store_id)
        try:
            row = row_of(own)
        except DecodeError:
            row = ()
        if len(row) != 9 or not stat.S_ISDIR(row[MODE]):
            self.counters["malformed"] += 1
            return
        self._attributes(store_id, head, encode_fragment((head.name, *row[1:])))
        if not head.flags & OWN:
            head.flags |= OWN
            self._dirty.add(store_id)

    def _attributes(self, store_id: int, head: Head, fragment: bytes) -> None:
        fragment += unreadable_mark(head.fragment)
        if fragment != head.fragment:
            head.fragment = fragment
            self._dirty.add(store_id)
            self._rollup.add(store_id)

    def _link(self, parent: int, directories: list[tuple[Row, int]]) -> None:
        """The directories ``directories`` (rows and ids) are children of ``parent``."""
        if not directories:
            return
        rows = split_rows(encode_rows([row for row, _ in directories]))
        for (row, handle), text in zip(directories, rows, strict=True):
            name, fragment = row[NAME], text[:-1]
            existing = self._child(parent, name)
            store_id = self._handle(handle)
            fresh = not store_id
            if fresh:
                store_id = existing if existing and not self._live(existing) else self._new(name, fragment)
                self._map(handle, store_id)
            if store_id != existing and not self._place(store_id, parent, name, fresh=fresh):
                continue
            head = self._head(store_id)
            if not head.flags & OWN:
                self._attributes(store_id, head, fragment)

    def _live(self, store_id: int) -> bool:
        """An id of the source's current epoch means this directory."""
        head = self._head(store_id)
        return head.handle != 0 and head.source == self._index and self._handle(head.handle) == store_id

    def _place(self, store_id: int, parent: int, name: bytes, *, fresh: bool = False) -> bool:
        """
        Make a directory the child ``name`` of ``parent``, in place of any other; False when it can't be.

        Args:
            fresh: it was made a moment ago, so nothing can be below it.
        """
        head = self._head(store_id)
        at = 0 if fresh else parent
        while at:
            if at == store_id:
                self.counters["loops"] += 1
                return False
            at = self._head(at).parent
        if any(store_id == source.root for source in self._sources.values()):
            self.counters["refused"] += 1
            return False
        existing = self._child(parent, name)
        if existing == store_id:
            return True
        if existing:
            self._displace(existing)
        self._detach(store_id)
        self._doomed.pop(store_id, None)
        self._put(child_key(parent, name), pack_id(store_id))
        head.parent = parent
        if head.name != name:
            head.name = name
            head.flags = head.flags & ~ODD_NAME if valid_utf8(name) else head.flags | ODD_NAME
            head.fragment = rename_fragment(head.fragment, name)
        self._dirty.add(store_id)
        self._rollup.add(store_id)
        self._rollup.add(parent, head.files, head.directories + 1, head.size)
        return True

    def _detach(self, store_id: int) -> None:
        """Take a directory from its place."""
        head = self._head(store_id)
        if head.parent:
            self._delete(child_key(head.parent, head.name))
            self._rollup.add(head.parent, -head.files, -head.directories - 1, -head.size)
            head.parent = 0
            self._dirty.add(store_id)
        else:
            self._delete(pack_id(LIMBO_ID) + CHILD + pack_id(store_id))

    def _displace(self, store_id: int) -> None:
        """Take a directory from its place; unless it gets a new one, it is removed at the end of the item."""
        self._detach(store_id)
        self._doomed[store_id] = None

    def _remove(self, store_id: int) -> None:
        """Remove a directory that has no place any more, and all below it."""
        cursor = self._cursor
        stack = [store_id]
        while stack:
            at = stack.pop()
            head = self._head(at)
            if head.handle:
                ids = self._ids[head.source]
                if self._get(pack_id(head.handle), db=ids) == pack_id(at):
                    self._delete(pack_id(head.handle), db=ids)
            prefix = pack_id(at)
            here = cursor.set_range(prefix)
            while here and (key := cursor.key())[:8] == prefix:
                if key[8:9] == CHILD:
                    stack.append(unpack_id(cursor.value()))
                here = cursor.delete() and bool(cursor.key())
            del self._heads[at]
            self._dirty.discard(at)
            self._rollup.drop(at)
