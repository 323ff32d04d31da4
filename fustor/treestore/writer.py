"""
Applying items to a tree store: the one who writes.

A transaction is begun, items are applied to it, and it is committed: that is one step for every reader. The position of
each source (epoch, number) is part of the same transaction, so whatever dies, items and position agree.

A new epoch of a source makes its ids void and matches directories by name; what is in limbo then is removed.

What this module does not do: it decides nothing about order (:mod:`protocols.sequencing` does) and reads no clock but
the one for ``arrived_ns``. Malformed rows and operations are counted and skipped.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence

import attrs
import lmdb

from fustor.treestore.attributes import read_attributes
from fustor.treestore.draft import Draft
from fustor.treestore.environment import (
    MAP_SIZE,
    MAX_READERS,
    RETIRED_KEY,
    boot_id,
    boottime_ns,
    close_cleanly,
    ids_name,
    open_for_writing,
    parsers_key,
    source_key,
    translate,
)
from fustor.treestore.format import LISTED, OWN, PARTIAL, ROOT_ID, UNREADABLE, UNSEEN
from fustor.treestore.generations import Generations
from fustor.treestore.intake import NOT_NAMES, Intake, sort_out, valid_names
from fustor.treestore.reader import Reader, SourceStatus, pack_source, unpack_source
from fustor.treestore.wire import Page, decode_page, digest, split_pages
from protocols.data import (
    NAME,
    QUARANTINED,
    Attributes,
    Item,
    Listing,
    Moved,
    Names,
    Operation,
    Parsers,
    Root,
    Watermark,
)
from protocols.errors import DecodeError, MachineError, ProtocolError

_NO_ROWS = split_pages(b"\x91\x90")[0]


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
        generations: what is asked before a generation is used.

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
        generations: Generations | None = None,
    ) -> None:
        floor = generations.ceiling + 1 if generations else 0
        self.environment = open_for_writing(path, map_size=map_size, max_readers=max_readers, floor=floor)
        self._generations = generations
        self.counters = {} if counters is None else counters
        for name in ("items", "rows", "malformed", "refused", "loops", "commits"):
            self.counters.setdefault(name, 0)
        self._clock = clock
        self._boot = boot_id()
        self._meta = self.environment.meta
        self._ids: dict[int, lmdb._Database] = {}
        self._sources: dict[int, SourceStatus] = {}
        #: (epoch, number) by source: within a transaction ahead of what the status says.
        self._positions: dict[int, tuple[int, int]] = {}
        self._txn: lmdb.Transaction[bytes] | None = None
        try:
            if generations:
                with self.reader().snapshot() as snapshot:
                    generations.allow(snapshot.generation())
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
        return self.environment.used_bytes()

    def position(self, index: int) -> tuple[int, int]:
        """(epoch, number) of the last item of source ``index`` that was applied; not committed before ``commit``."""
        return self._positions[index]

    @property
    def sources(self) -> tuple[SourceStatus, ...]:
        """What was committed, or is about to be, of each source."""
        return tuple(self._sources.values())

    @property
    def open(self) -> bool:
        """A transaction is open."""
        return self._txn is not None

    def begin(self) -> None:
        """Open the transaction; nothing when it is open."""
        if self._txn is not None:
            return
        try:
            txn = self._txn = self.environment.env.begin(write=True, db=self.environment.tree)
            self._draft = Draft(self.environment, txn, self._ids, self.counters)
            self._stale: set[int] = set()
            self._pin()
        except lmdb.Error as error:
            raise self._failed(error) from None

    def commit(self) -> bool:
        """Make everything since ``begin`` visible at once; True when the tree differs from before."""
        if self._txn is None:
            return False
        try:
            changed = self._flush()
            if changed and self._generations:
                self._generations.allow(self._draft.generation)
            self._txn.commit()
        except lmdb.Error as error:
            raise self._failed(error) from None
        except MachineError:
            self.abort()
            raise
        self._txn = None
        self.environment.fill_up()
        self.counters["commits"] += 1
        return changed

    def abort(self) -> None:
        """Forget everything since ``begin``."""
        if self._txn is not None:
            self._txn.abort()
            self._txn = None
            self._load_sources()

    def retire(self) -> None:
        """
        Tell all readers that another store is about to take the place of this one, so that they see it in one moment:
        until then each looks for it with every snapshot. Opening the store for writing takes it back.

        Raises:
            StoreUnusableError, StoreFullError, MachineError: that can't be written.
        """
        self.abort()
        try:
            with self.environment.env.begin(write=True, db=self._meta) as txn:
                txn.put(RETIRED_KEY, b"1")
        except lmdb.Error as error:
            raise translate(self.environment, error) from None

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
        assert self._txn is not None
        changed = self._draft.flush()
        for index in self._stale:
            epoch, applied = self._positions[index]
            source = self._sources[index] = attrs.evolve(self._sources[index], epoch=epoch, applied=applied)
            self._txn.put(source_key(index), pack_source(source, self._boot), db=self._meta)
        return changed

    # -- sources --------------------------------------------------------------------------------

    def _load_sources(self) -> None:
        self._sources = {}
        #: Of each source, as far as they were asked for.
        self._parsers: dict[int, tuple[str, ...]] = {}
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
        env, txn, draft = self.environment.env, self._txn, self._draft
        try:
            if not draft.exists(ROOT_ID):
                draft.make_root()
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
                        draft.flag(ROOT_ID, 0)
                    else:
                        root = draft.mount(spec.mount[1:].encode())
                    self._sources[index] = SourceStatus(index, spec.agent, spec.source, spec.mount, root)
                    self._positions[index] = (0, 0)
                self._stale.add(index)  # every record is of this boot now
            if not any(spec.mount == "/" for spec in specs.values()):
                # All there can be at the top are the mounts, and those are known.
                draft.flag(ROOT_ID, LISTED)
            draft.end_item()
        except lmdb.Error as error:
            raise self._failed(error) from None
        self.commit()

    def _pin(self) -> None:
        self._draft.pinned = {source.root for source in self._sources.values()}

    def _forget(self, source: SourceStatus) -> None:
        """Remove everything of a source."""
        assert self._txn is not None
        draft = self._draft
        draft.index = source.index
        if source.root == ROOT_ID:
            draft.empty(ROOT_ID)
        else:
            draft.displace(source.root)
        draft.void_ids()
        draft.end_item()
        self._txn.delete(source_key(source.index), db=self._meta)
        self._txn.delete(parsers_key(source.index), db=self._meta)
        self._parsers.pop(source.index, None)
        del self._sources[source.index]
        self._stale.discard(source.index)

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
        draft = self._draft
        draft.index = index
        problem: ProtocolError | None = None
        ops = item.ops()
        needed = sum(isinstance(op, Names) or (isinstance(op, Listing) and not op.errno) for op in ops)
        pages: list[tuple[Page, int]] | None = None
        try:
            pages = split_pages(frame) if needed or frame else []
            if len(pages) != needed:
                problem = ProtocolError(f"item {item.number}: {len(pages)} arrays of rows for {needed} operations")
                pages = None
        except DecodeError as error:
            problem = error
        rows = 0
        following = iter(pages or ())
        try:
            if item.epoch != self._positions[index][0]:
                draft.void_ids()
            for op in ops:
                page, count = _NO_ROWS
                if isinstance(op, Names) or (isinstance(op, Listing) and not op.errno):
                    if pages is None:
                        self.counters["refused"] += 1
                        continue
                    page, count = next(following)
                    rows += count
                self._operation(op, page)
            draft.end_item()
        except lmdb.Error as error:
            raise self._failed(error) from None
        self._positions[index] = (item.epoch, item.number)
        self._stale.add(index)
        self.counters["items"] += 1
        self.counters["rows"] += rows
        if problem is not None:
            raise problem
        return rows

    def _operation(self, op: Operation, page: Page) -> None:
        match op:
            case Watermark():
                self._watermark(op)
            case Parsers():
                self._have_parsers(op)
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
            case Attributes() if op.dir:
                self._attributes(op)

    def skip(self, index: int, epoch: int, number: int) -> None:
        """Move the position of a source over an item that can't be read at all."""
        self.begin()
        if epoch != self._positions[index][0]:
            self._draft.index = index
            try:
                self._draft.void_ids()
                self._draft.end_item()
            except lmdb.Error as error:
                raise self._failed(error) from None
        self._positions[index] = (epoch, number)
        self._stale.add(index)
        self.counters["refused"] += 1

    def _root(self, op: Root) -> None:
        self._draft.void_ids()
        self._draft.map(op.dir, self._sources[self._draft.index].root)

    def _watermark(self, op: Watermark) -> None:
        index = self._draft.index
        self._sources[index] = attrs.evolve(
            self._sources[index],
            state=op.state,
            as_of_ns=op.as_of_ns,
            complete=op.complete,
            reasons=op.reasons,
            counts=op.counts,
            arrived_ns=self._clock(),
        )

    def _have_parsers(self, op: Parsers) -> None:
        assert self._txn is not None
        index, names = self._draft.index, tuple(sorted(set(op.names)))
        if names != self._parsers_of(index):
            self._txn.put(parsers_key(index), ",".join(names).encode(), db=self._meta)
            self._parsers[index] = names

    def _parsers_of(self, index: int) -> tuple[str, ...]:
        names = self._parsers.get(index)
        if names is None:
            assert self._txn is not None
            text = (self._txn.get(parsers_key(index), b"", self._meta) or b"").decode()
            names = self._parsers[index] = tuple(filter(None, text.split(",")))
        return names

    def _attributes(self, op: Attributes) -> None:
        if op.parser not in self._parsers_of(self._draft.index):
            return
        found = []
        for name, size, mtime, ctime, ino, text in op.found:
            try:
                found.append((name, (size, mtime, ctime, ino), read_attributes(text, op.parser)))
            except ProtocolError:
                self.counters["malformed"] += 1
        self._draft.attribute(op.dir, op.parser, found, op.lo, op.hi)

    def _moved(self, op: Moved) -> None:
        if not valid_names((op.name,)):
            self.counters["refused"] += 1
            return
        draft = self._draft
        parent, store_id = draft.known(op.parent), draft.known(op.dir)
        if draft.place(store_id, parent, op.name):
            draft.note(parent, (), (op.name,))

    def _listing(self, op: Listing, page: Page) -> None:
        draft = self._draft
        store_id = draft.known(op.dir)
        draft.own(store_id, op.own)
        flags = draft.head(store_id).flags
        if op.errno:
            draft.flag(store_id, (flags | UNREADABLE) & ~OWN, _why(op.errno).encode())
            return
        draft.settle(store_id)
        whole = not op.lo and op.hi is None
        seen = digest(page, self._parsers_of(draft.index)) if whole and not op.ignore else UNSEEN
        same = seen == draft.head(store_id).seen != UNSEEN
        if not same or op.ids or not draft.barren(store_id):
            self._content(store_id, op, page, seen, same=same)
        flags &= ~UNREADABLE
        if op.hi is None and (flags & PARTIAL or not op.lo):
            flags = (flags | LISTED) & ~PARTIAL
        elif op.hi is not None and not op.lo:
            flags |= PARTIAL
        draft.flag(store_id, flags)

    def _content(self, store_id: int, op: Listing, page: Page, seen: bytes, *, same: bool) -> None:
        """
        What a listing says of the content of its directory.

        Args:
            seen: digest of ``page``, when it is of the whole directory.
            same: the files are as ``page`` says, by that digest.
        """
        draft = self._draft
        rows = decode_page(page)
        nameless = 1 in set(map(len, rows))
        if nameless:  # a listing has nothing to say of what is not there
            self.counters["malformed"] += sum(len(row) == 1 for row in rows)
            rows = [row for row in rows if len(row) > 1]
        intake = self._intake(sort_out(rows, op.ids, op.ignore, op.lo, op.hi))
        if nameless or intake.malformed or intake.refused or intake.ignored:
            seen = UNSEEN
        if not same or seen == UNSEEN:
            parsers = self._parsers_of(draft.index)
            draft.replace_files(store_id, op.lo, op.hi, intake.files, intake.ignored, seen, parsers)
        children = draft.children(store_id, op.lo, op.hi)
        if children:
            staying = intake.ignored.union([row[NAME] for row, _ in intake.directories])
            for name, child in children:
                if name not in staying:
                    draft.displace(child)
        draft.link(store_id, intake.directories)

    def _names(self, op: Names, page: Page) -> None:
        draft = self._draft
        store_id = draft.known(op.dir)
        draft.own(store_id, op.own)
        rows = decode_page(page)
        if not rows:
            return
        gone = {row[NAME] for row in rows if len(row) == 1}
        if gone:
            rows = [row for row in rows if len(row) > 1]
        intake = self._intake(sort_out(rows, op.ids, op.ignore))
        if gone or intake.directories:
            self.counters["malformed"] += len(gone & NOT_NAMES)
            directories = {row[NAME] for row, _ in intake.directories}
            gone -= NOT_NAMES.union(intake.ignored, directories, [row[NAME] for row in intake.files])
            for name in gone:
                self._make_way(store_id, name)
            gone |= directories
        for row in intake.files:
            self._make_way(store_id, row[NAME])
        draft.note(store_id, intake.files, gone)
        draft.link(store_id, intake.directories)

    def _make_way(self, store_id: int, name: bytes) -> None:
        child = self._draft.child(store_id, name)
        if child:
            self._draft.displace(child)

    def _intake(self, intake: Intake) -> Intake:
        self.counters["malformed"] += intake.malformed
        self.counters["refused"] += intake.refused
        return intake


def _why(number: int) -> str:
    """Why a directory could not be read: the name of an errno."""
    return "QUARANTINED" if number == QUARANTINED else errno.errorcode.get(number, str(number))
