"""
Verifies every invariant of a tree store, in one snapshot, while it may be in use.

- keys are what this layout has; every directory has a head; ids are below ``next-id``
- chunks are in order, not empty, decompress, hold at most ``MAX_ROWS`` rows; the first begins with the empty name
- rows are JSON, complete, sorted, within their chunk's range, found by their prefix, and no directories
- no name is both a file and a directory
- links to children and their heads agree, both ways; nothing is without a way to the top, but what is declared to be in
limbo
- rollups equal a recount; no directory has changed later than the one above
- ids of the sources lead to directories that know them; roots of sources exist

What this module does not do: it repairs nothing, and does not compare with any disk.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
import lmdb
import msgspec

from fustor.treestore.environment import GENERATION_KEY, NEXT_ID_KEY, boot_id, ids_name
from fustor.treestore.format import (
    CHILD,
    CONTENT_TYPES,
    HEAD,
    LIMBO_ID,
    LISTED,
    MAX_ROWS,
    ODD_NAME,
    PARSED,
    PARTIAL,
    PLACEHOLDER,
    ROOT_ID,
    UNREADABLE,
    UNSEEN,
    Head,
    find_row,
    head_text,
    name_key,
    row_name,
    row_sizes,
    split_rows,
    unpack_chunk,
    unpack_id,
    valid_utf8,
)
from fustor.treestore.reader import Reader, Snapshot, unpack_source
from protocols.errors import MachineError, ProtocolError
from protocols.parsing import check_attributes


@attrs.define
class _Directory:
    head: Head
    files: int = 0
    size: int = 0
    children: list[int] = attrs.field(factory=list)


class _Node(msgspec.Struct, forbid_unknown_fields=True):
    """What each row and each head says."""

    name: str
    content_type: str
    path: str
    size: int
    modified_time: float
    created_time: float
    integrity_suspect: bool
    mtime_ns: int
    ctime_ns: int
    ino: int
    mode: int
    uid: int
    gid: int
    nlink: int
    name_b64: str | None = None
    target: str | None = None
    target_b64: str | None = None
    unreadable: str | None = None
    attrs: dict[str, Any] | None = None


_decode = msgspec.json.Decoder(_Node).decode


def check(path: str) -> list[str]:
    """
    The faults of the store at ``path``, in words; empty when all is well.

    Raises:
        StoreMissingError, StoreUnusableError, MachineError: it can't be opened at all.
    """
    reader = Reader(path)
    try:
        return check_snapshot(reader)
    finally:
        reader.close()


def check_snapshot(reader: Reader) -> list[str]:
    """The faults of the last commit of a store that is open."""
    with reader.snapshot() as snapshot:
        return list(_Check(reader, snapshot).faults())


class _Check:
    def __init__(self, reader: Reader, snapshot: Snapshot) -> None:
        self._environment = reader.environment
        self._txn = snapshot.transaction
        self._directories: dict[int, _Directory] = {}
        self._links: dict[int, tuple[int, bytes]] = {}
        self._places_taken: set[tuple[int, bytes]] = set()  # by directories: parent, name key
        self._limbo: set[int] = set()

    def faults(self) -> Iterator[str]:
        yield from self._records()
        yield from self._places()
        yield from self._recount()
        yield from self._sources()

    # -- single records ------------------------------------------------------------------------------------------------

    def _records(self) -> Iterator[str]:
        with self._txn.cursor(db=self._environment.tree) as cursor:
            for key, value in cursor:
                store_id, kind, rest = unpack_id(key[:8]), key[8:9], key[9:]
                if kind == HEAD and not rest and store_id != LIMBO_ID:
                    yield from self._head(store_id, value)
                elif kind == CHILD and len(value) == 8:
                    yield from self._link(store_id, rest, unpack_id(value))
                else:
                    yield f"key {key!r}: none of this layout"
        self._places_taken = set(self._links.values())
        at, chunks = -1, list[tuple[bytes, bytes]]()
        with self._txn.cursor(db=self._environment.files) as cursor:
            for key, value in cursor:
                store_id = unpack_id(key[:8])
                if store_id != at:
                    yield from self._chunks(at, chunks)
                    at, chunks = store_id, []
                chunks.append((key[8:], value))
        yield from self._chunks(at, chunks)

    def _head(self, store_id: int, value: bytes) -> Iterator[str]:
        try:
            head = Head.unpack(value)
            node = _decode(head_text(value)[0].replace(PLACEHOLDER, b"") + b"}")
        except (MachineError, KeyError, ValueError) as error:
            yield f"directory {store_id}: head: {error}"
            return
        self._directories[store_id] = _Directory(head)
        if bool(head.flags & ODD_NAME) == valid_utf8(head.name):
            yield f"directory {store_id}: name {head.name!r}: wrong about being UTF-8"
        if node.content_type != "directory":
            yield f"directory {store_id}: its attributes are those of a {node.content_type}"
        if bool(head.flags & UNREADABLE) != bool(head.unreadable):
            yield f"directory {store_id}: flags {head.flags}, unreadable {head.unreadable!r}"
        if head.seen != UNSEEN and head.flags & (LISTED | PARTIAL) != LISTED:
            yield f"directory {store_id}: remembers a listing, and has flags {head.flags}"

    def _link(self, store_id: int, key: bytes, child: int) -> Iterator[str]:
        if child in self._links:
            yield f"directory {child}: linked twice, from {self._links[child][0]} and {store_id}"
        self._links[child] = (store_id, key)
        if store_id == LIMBO_ID:
            self._limbo.add(child)
        elif store_id in self._directories:
            self._directories[store_id].children.append(child)
        else:
            yield f"directory {store_id}: has children and no head"

    def _chunks(self, store_id: int, chunks: list[tuple[bytes, bytes]]) -> Iterator[str]:
        if not chunks:
            return
        if store_id not in self._directories:
            yield f"directory {store_id}: has files and no head"
            return
        if chunks[0][0]:
            yield f"directory {store_id}: the first chunk begins with {chunks[0][0]!r}"
        before = b""
        for at, (lowest, value) in enumerate(chunks):
            upper = chunks[at + 1][0] if at + 1 < len(chunks) else None
            where = f"directory {store_id}, chunk {lowest!r}"
            try:
                text = unpack_chunk(value)
                rows = split_rows(text)
                names = [row_name(row) for row in rows]
                nodes = [_decode(row.replace(PLACEHOLDER, b"")) for row in rows]
            except (MachineError, msgspec.DecodeError) as error:
                yield f"{where}: {error}"
                continue
            if not 1 <= len(rows) <= MAX_ROWS:
                yield f"{where}: {len(rows)} rows"
            for name, row, node in zip(names, rows, nodes, strict=True):
                key = name_key(name)
                if key < lowest or (upper is not None and key >= upper) or (before and key <= before):
                    yield f"{where}: {name!r} is out of place"
                before = key
                if (store_id, key) in self._places_taken:
                    yield f"{where}: {name!r} is a file and a directory"
                if node.content_type == "directory" or node.content_type not in CONTENT_TYPES.values():
                    yield f"{where}: {name!r} is a {node.content_type}"
                if node.attrs is not None:
                    yield from self._attributes(store_id, node.attrs, f"{where}: {name!r}")
                if node.path != "/" + node.name or row.count(PLACEHOLDER) != 1:
                    yield f"{where}: {name!r} has the path {node.path!r}"
                start, end = find_row(text, name)
                if text[start:end] != row:
                    yield f"{where}: {name!r} is not found"
            sizes = row_sizes(text)
            if sizes != [node.size for node in nodes]:
                yield f"{where}: sizes are not found"
            directory = self._directories[store_id]
            directory.files += len(rows)
            directory.size += sum(sizes)

    def _attributes(self, store_id: int, found: dict[str, Any], where: str) -> Iterator[str]:
        if not self._directories[store_id].head.flags & PARSED:
            yield f"{where} has attributes, and its directory does not say so"
        by_parser: dict[str, dict[str, Any]] = {}
        for key, value in found.items():
            parser, _, name = key.partition(".")
            by_parser.setdefault(parser, {})[name] = value
        try:
            for values in by_parser.values():
                check_attributes(values)
        except ProtocolError as error:
            yield f"{where}: {error}"

    # -- the tree ------------------------------------------------------------------------------------------------------

    def _places(self) -> Iterator[str]:
        for store_id, directory in self._directories.items():
            head = directory.head
            parent, key = self._links.get(store_id, (0, b""))
            if head.parent != parent:
                yield f"directory {store_id}: its head says parent {head.parent}, the link comes from {parent}"
            if parent and key != name_key(head.name):
                yield f"directory {store_id}: called {head.name!r}, linked as {key!r}"
            if not parent and store_id not in self._limbo and store_id != ROOT_ID:
                yield f"directory {store_id}: has no place"
        for store_id, (parent, _) in self._links.items():
            if store_id not in self._directories:
                yield f"directory {store_id}: linked from {parent}, has no head"
        if ROOT_ID not in self._directories:
            yield "there is no top"

    def _recount(self) -> Iterator[str]:
        order = [at for at in (ROOT_ID, *self._limbo) if at in self._directories]
        for at in order:  # grows while it is read: each directory before its children
            order += [child for child in self._directories[at].children if child in self._directories]
            if len(order) > len(self._directories):
                yield "a directory is reached twice"
                return
        if len(order) < len(self._directories):
            lost = sorted(self._directories.keys() - set(order))
            yield f"{len(lost)} directories can't be reached from the top: {lost[:10]}"
        sums = {at: (self._directories[at].files, 0, self._directories[at].size) for at in order}
        for at in reversed(order):
            head, (files, below, size) = self._directories[at].head, sums[at]
            if (head.files, head.directories, head.size) != (files, below, size):
                yield (
                    f"directory {at}: rollup {(head.files, head.directories, head.size)}, "
                    f"a recount gives {(files, below, size)}"
                )
            if head.parent in sums:
                above = sums[head.parent]
                sums[head.parent] = (above[0] + files, above[1] + below + 1, above[2] + size)
                if self._directories[head.parent].head.generation < head.generation:
                    yield f"directory {at}: changed later than {head.parent}, which is above it"

    # -- sources -------------------------------------------------------------------------------------------------------

    def _sources(self) -> Iterator[str]:
        meta = self._environment.meta
        generation = unpack_id(self._txn.get(GENERATION_KEY, b"", meta))
        next_id = unpack_id(self._txn.get(NEXT_ID_KEY, b"\2", meta))
        for at, directory in self._directories.items():
            if directory.head.generation > generation:
                yield f"directory {at}: generation {directory.head.generation}, the store has {generation}"
            if at >= next_id:
                yield f"directory {at}: the next id is {next_id}"
        mapped: set[int] = set()
        with self._txn.cursor(db=meta) as cursor:
            records = [value for key, value in _range(cursor, b"source.")]
        for value in records:
            try:
                source = unpack_source(value, boot_id())
            except MachineError as error:
                yield str(error)
                continue
            if source.root not in self._directories:
                yield f"source {source.index}: its root {source.root} does not exist"
            yield from self._ids(source.index, mapped)
        for at in self._limbo - mapped:
            yield f"directory {at}: in limbo, and no source knows it"

    def _ids(self, index: int, mapped: set[int]) -> Iterator[str]:
        try:
            ids = self._environment.env.open_db(ids_name(index), self._txn, create=False)
        except lmdb.NotFoundError:
            yield f"source {index}: has no ids"
            return
        with self._txn.cursor(db=ids) as cursor:
            pairs = [(unpack_id(key), unpack_id(value)) for key, value in cursor]
        for handle, store_id in pairs:
            directory = self._directories.get(store_id)
            if directory is None:
                yield f"source {index}: id {handle} leads to {store_id}, which does not exist"
            elif (directory.head.handle, directory.head.source) != (handle, index):
                yield f"source {index}: id {handle} leads to {store_id}, which says {directory.head.handle}"
            mapped.add(store_id)


def _range(cursor: lmdb.Cursor[bytes], prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
    found = cursor.set_range(prefix)
    while found and cursor.key().startswith(prefix):
        yield cursor.key(), cursor.value()
        found = cursor.next()
