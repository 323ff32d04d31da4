"""
Reading a tree store: snapshots that see one commit and nothing of any other.

A snapshot is a read transaction. It pins the pages it sees, so it must be short: copy the records out, close it, and
render from the copies. Everything a snapshot returns is a copy.

What this module does not do: it decodes no rows and renders nothing, and it does not say whether a source is stale (it
gives the numbers from which the asker can tell).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any

import attrs
import lmdb
import msgpack

from fustor.treestore.environment import (
    GENERATION_KEY,
    RETIRED_KEY,
    Environment,
    boot_id,
    open_for_reading,
    translate,
)
from fustor.treestore.errors import StoreUnusableError
from fustor.treestore.format import (
    CHILD,
    HEAD,
    LISTED,
    MAX_KEY_NAME,
    ROOT_ID,
    SHORTENED,
    UNREADABLE,
    Head,
    child_key,
    chunk_key,
    find_row,
    head_counts,
    head_flags,
    head_key,
    name_key,
    pack_id,
    unpack_chunk,
    unpack_id,
)


@attrs.frozen
class SourceStatus:
    """
    What the store knows of one source.

    Attributes:
        index, agent, source, mount: which one, and where in the view.
        root: store id of its root directory.
        epoch, applied: the last item applied.
        state, complete, reasons, counts, as_of_ns: of the last watermark; state ``empty`` before the first.
        arrived_ns: CLOCK_BOOTTIME of this host when that came; 0 when it came in an earlier boot, or never.
    """

    index: int
    agent: str
    source: str
    mount: str
    root: int
    epoch: int = 0
    applied: int = 0
    state: str = "empty"
    as_of_ns: int = 0
    complete: bool = False
    reasons: tuple[str, ...] = ()
    counts: dict[str, int] = attrs.field(factory=dict)
    arrived_ns: int = 0


@attrs.frozen
class Status:
    """
    Attributes:
        uuid: of the store.
        generation: grows with every commit that changes the tree.
        sources: by index.
        retired: another store is about to take the place of this one: look for it each time.
    """

    uuid: str
    generation: int
    sources: tuple[SourceStatus, ...]
    retired: bool = False


@attrs.define
class Found:
    """
    Where a path leads.

    Attributes:
        id: store id of the deepest directory on the path that exists.
        matched: how many components lead to it.
        row: text of the row, where the path ends in something that is no directory; then ``matched`` is one less than
            the number of components.
        known: what is not found does not exist: the deepest directory has been listed and can still be read.
    """

    id: int
    matched: int
    row: bytes | None
    known: bool


#: A record of a walk: depth below where it began, store id, head (empty: more of the directory before), chunks.
Record = tuple[int, int, bytes, list[bytes]]

_IDS = 8
_ROOT = pack_id(ROOT_ID)
# How much of a walk is read at once: chunks in a record (about as many pages of the map), children of a directory.
_RECORD_CHUNKS, _RECORD_CHILDREN = 32, 256


def pack_source(status: SourceStatus, boot: str) -> bytes:
    """The stored form of the record of a source; ``boot``: the boot in which ``arrived_ns`` was measured."""
    value = attrs.asdict(status)
    value["boot"] = boot
    return msgpack.packb(value)  # type: ignore[no-any-return]


def unpack_source(value: bytes, boot: str) -> SourceStatus:
    """
    The record of a source; a watermark of another boot than ``boot`` counts as never arrived.

    Raises:
        StoreUnusableError: it is no such record.
    """
    try:
        fields: dict[str, Any] = msgpack.unpackb(value)
        if fields.pop("boot") != boot:
            fields["arrived_ns"] = 0
        fields["reasons"] = tuple(fields["reasons"])
        return SourceStatus(**fields)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise StoreUnusableError(f"tree store: a damaged record of a source: {error}; run the check") from None


class Snapshot:
    """
    The tree as one commit left it. Use as a context manager, and leave it soon.

    Every method may raise StoreUnusableError when a record is damaged.
    """

    __slots__ = ("_reader", "_txn")

    def __init__(self, reader: Reader, txn: lmdb.Transaction[bytes]) -> None:
        self._reader = reader
        self._txn = txn

    def __enter__(self) -> Snapshot:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._txn.abort()

    def close(self) -> None:
        """End it."""
        self._txn.abort()

    def commit_number(self) -> int:
        """LMDB's number of the commit that left what this shows: equal numbers, equal content of this store."""
        return self._txn.id()

    @property
    def transaction(self) -> lmdb.Transaction[bytes]:
        """The read transaction, for what these methods do not offer."""
        return self._txn

    def _head(self, store_id: int) -> bytes:
        value: bytes | None = self._txn.get(head_key(store_id))
        if value is None:
            raise StoreUnusableError(f"tree store: directory {store_id} has no head; run the check")
        return value

    def head(self, store_id: int) -> bytes | None:
        """The stored head of a directory (``Head.unpack`` and ``head_*`` read it); None: there is none."""
        return self._txn.get(head_key(store_id))

    def parent(self, store_id: int) -> int:
        """Store id of the parent; 0 for the top."""
        return Head.unpack(self._head(store_id)).parent

    def child(self, store_id: int, name: bytes) -> int:
        """Store id of the child directory ``name``; 0 when there is none."""
        value = self._txn.get(child_key(store_id, name))
        return unpack_id(value) if value is not None else 0

    def row(self, store_id: int, name: bytes) -> bytes | None:
        """The text of the row of ``name``, with the placeholder; None when the directory has no such non-directory."""
        key = name_key(name)
        cursor = self._txn.cursor(self._reader.environment.files)
        target = chunk_key(store_id, key)
        found = cursor.set_range(target) and cursor.key() == target
        if not found and not cursor.prev():
            return None
        at: bytes = cursor.key()
        if at[:_IDS] != target[:_IDS]:
            return None
        text = unpack_chunk(cursor.value())
        start, end = find_row(text, name)
        return text[start:end] if start >= 0 else None

    def resolve(self, components: Sequence[bytes]) -> Found:
        """Follow ``components`` from the top; links are not followed, ``.`` and ``..`` mean nothing here."""
        get = self._txn.get
        at = _ROOT
        for matched, name in enumerate(components):
            below = get(at + CHILD + (name if len(name) <= MAX_KEY_NAME else name_key(name)))
            if below is None:
                store_id = unpack_id(at)
                row = self.row(store_id, name) if matched == len(components) - 1 else None
                return Found(store_id, matched, row, row is not None or self._known(store_id))
            at = below
        return Found(unpack_id(at), len(components), None, True)

    def _known(self, store_id: int) -> bool:
        return head_flags(self._head(store_id)) & (LISTED | UNREADABLE) == LISTED

    def chunks(self, store_id: int, lowest: bytes = b"") -> Iterator[bytes]:
        """
        The stored chunks of a directory in order of names (``unpack_chunk`` reads them).

        Args:
            lowest: begin with the chunk that has, or would have, this name.
        """
        prefix = pack_id(store_id)
        with self._txn.cursor(db=self._reader.environment.files) as cursor:
            target = chunk_key(store_id, name_key(lowest))
            found = cursor.set_range(target)
            if lowest and not (found and cursor.key() == target):
                found = cursor.prev()
                if found and cursor.key()[:_IDS] != prefix:
                    found = cursor.next()
            while found and cursor.key()[:_IDS] == prefix:
                yield cursor.value()
                found = cursor.next()

    def few_chunks(self, store_id: int, most: int) -> list[bytes] | None:
        """The chunks of a directory, if there are at most ``most``; None when there are more."""
        prefix = pack_id(store_id)
        cursor = self._txn.cursor(self._reader.environment.files)
        chunks: list[bytes] = []
        found = cursor.set_range(prefix)
        while found and cursor.key()[:_IDS] == prefix:
            if len(chunks) == most:
                return None
            chunks.append(cursor.value())
            found = cursor.next()
        return chunks

    def children(self, store_id: int) -> Iterator[tuple[bytes, int]]:
        """Names and store ids of the child directories, in order of names."""
        prefix = pack_id(store_id) + CHILD
        with self._txn.cursor() as cursor:
            found = cursor.set_range(prefix)
            while found:
                key: bytes = cursor.key()
                if key[:9] != prefix:
                    return
                child = unpack_id(cursor.value())
                name = key[9:]
                # Of a key of this length only the head can tell whether it is the name itself.
                yield (name if len(name) != SHORTENED else self._name(child, name)), child
                found = cursor.next()

    def _name(self, child: int, key: bytes) -> bytes:
        name = Head.unpack(self._head(child)).name
        return name if name_key(name) == key else key

    def walk(self, store_id: int, max_depth: int | None = None) -> Iterator[Record]:
        """
        The directories of a subtree as stored, depth first, each before its children, children in order of names.

        One of many chunks comes in several records, all but the first with an empty head. At depth ``max_depth`` the
        chunks are left out (empty), for their rows would be one level deeper.
        """
        environment = self._reader.environment
        files = self._txn.cursor(environment.files)
        head_of, seek, at, value, follow = self._txn.get, files.set_range, files.key, files.value, files.next
        #: What is still to come, the next one last: ids of directories, and keys of ``tree`` from which more follow.
        stack = [(0, pack_id(store_id))]
        while stack:
            depth, prefix = stack.pop()
            if len(prefix) > _IDS:
                self._push_children(prefix, depth, stack)
                continue
            head = head_of(prefix + HEAD)
            here = unpack_id(prefix)
            if head is None:
                raise StoreUnusableError(f"tree store: directory {here} has no head; run the check")
            if depth == max_depth:
                yield depth, here, head, []
                continue
            chunks: list[bytes] = []
            has_files, has_directories = head_counts(head)
            if has_files:
                found = seek(prefix)
                while found and at()[:_IDS] == prefix:
                    if len(chunks) == _RECORD_CHUNKS:
                        yield depth, here, head, chunks
                        head, chunks = b"", []
                    chunks.append(value())
                    found = follow()
            yield depth, here, head, chunks
            if has_directories:
                self._push_children(prefix + CHILD, depth + 1, stack)

    def _push_children(self, key: bytes, depth: int, stack: list[tuple[int, bytes]]) -> None:
        """Put the children from ``key`` on onto the stack of a walk, the first last; not all at once when many."""
        prefix = key[: _IDS + 1]
        children: list[tuple[int, bytes]] = []
        cursor = self._txn.cursor()
        if cursor.set_range(key):
            for at, child in cursor.iternext():
                if not at.startswith(prefix):
                    break
                if len(children) == _RECORD_CHILDREN:
                    stack.append((depth, at))
                    break
                children.append((depth, child))
        children.reverse()
        stack += children

    def generation(self) -> int:
        """The last commit that changed the tree."""
        return unpack_id(self._txn.get(GENERATION_KEY, bytes(_IDS), self._reader.environment.meta))

    def status(self) -> Status:
        """The store and its sources; read again only after a commit, parsed again only when something of it changed."""
        return self._reader.status_in(self._txn)


class Reader:
    """
    Opens a store for reading, in this process, once: LMDB allows one open environment of a path per process. A process
    that has a :class:`~fustor.treestore.writer.Writer` reads through ``Writer.reader()``.

    Raises:
        StoreMissingError, StoreUnusableError, MachineError: see :func:`~fustor.treestore.environment.open_for_reading`.
    """

    def __init__(self, path: str) -> None:
        self._init(open_for_reading(path))

    @classmethod
    def sharing(cls, environment: Environment) -> Reader:
        """A reader of an environment that somebody else opened, and closes."""
        reader = cls.__new__(cls)
        reader._init(environment)
        return reader

    def _init(self, environment: Environment) -> None:
        self.environment = environment
        self._boot = boot_id()
        self._raw: list[bytes] = []
        self._status: Status | None = None
        self._commit = -1  # LMDB's number of the transaction that left what was read last

    @property
    def path(self) -> str:
        """The folder of the store."""
        return self.environment.path

    @property
    def uuid(self) -> str:
        """Identity of the store."""
        return self.environment.uuid

    def snapshot(self) -> Snapshot:
        """
        The tree as of the last commit (1 µs).

        Raises:
            MachineError: all reader slots are taken, or the map can't be grown to what the writer made of it.
        """
        env = self.environment.env
        try:
            return Snapshot(self, env.begin(db=self.environment.tree))
        except lmdb.MapResizedError:
            env.set_mapsize(0)
            return Snapshot(self, env.begin(db=self.environment.tree))
        except lmdb.Error as error:
            raise translate(self.environment, error) from None

    def reclaim(self) -> int:
        """Free the slots of readers that died; how many (call it when a reader died)."""
        return self.environment.env.reader_check()

    def status_in(self, txn: lmdb.Transaction[bytes]) -> Status:
        """The status that the read transaction ``txn`` sees; cached."""
        commit = txn.id()
        if self._status is None or commit != self._commit:
            raw = self._status_records(txn)
            if self._status is None or raw != self._raw:
                sources = [unpack_source(value, self._boot) for value in raw[2:]]
                sources.sort(key=lambda source: source.index)
                self._status = Status(self.environment.uuid, unpack_id(raw[0]), tuple(sources), bool(raw[1]))
                self._raw = raw
            self._commit = commit
        return self._status

    def _status_records(self, txn: lmdb.Transaction[bytes]) -> list[bytes]:
        """The generation, whether it is retired, then the records of the sources."""
        meta = self.environment.meta
        raw: list[bytes] = [txn.get(GENERATION_KEY, bytes(_IDS), meta), txn.get(RETIRED_KEY, b"", meta)]
        with txn.cursor(db=meta) as cursor:
            if cursor.set_range(b"source."):
                for key, value in cursor.iternext():
                    if not key.startswith(b"source."):
                        break
                    raw.append(value)
        return raw

    def close(self) -> None:
        """Close the environment; snapshots must have ended."""
        self.environment.close()
