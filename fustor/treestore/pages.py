"""
The files of one directory: JSON rows in chunks, in order of their name keys.

A chunk's key is the lowest name key it may hold; it ends where the next one begins; the first begins with the empty
name. Only chunks whose text changes are written, so looking at an unchanged directory again writes nothing.

What this module does not do: it knows neither directories nor rollups; it reports what changed. Names and modes must
have been checked by the caller.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from operator import itemgetter
from typing import Any

import attrs
import lmdb

from fustor.treestore.attributes import ATTRIBUTES, Identity, keep_attributes, row_identity, with_attributes
from fustor.treestore.format import (
    KEPT_KEY_NAME,
    MAX_KEY_NAME,
    MAX_ROWS,
    chunk_key,
    count_rows,
    encode_rows,
    name_key,
    pack_chunk,
    pack_id,
    row_name,
    row_names,
    row_sizes,
    split_rows,
    unpack_chunk,
)
from protocols import data
from protocols.data import Row

#: A changed chunk is joined with its neighbour when both together have at most this many rows.
MERGED_ROWS = 60

#: Bytes of chunks of new directories that are kept at most before they are stored.
MAX_NEW_BYTES = 8 << 20

_ID = 8  # bytes of the id in a key
_NAME, _SIZE = itemgetter(data.NAME), itemgetter(data.SIZE)


def row_key(row: Row) -> bytes:
    """The sort key of a row."""
    return name_key(row[data.NAME])


def sort_rows(rows: list[Row]) -> None:
    """Bring rows into the order of chunks."""
    # Nearly always the name is its own key.
    if rows and max(map(len, map(_NAME, rows))) > MAX_KEY_NAME:
        rows.sort(key=row_key)
    else:
        rows.sort(key=_NAME)


def key_range(lo: bytes, hi: bytes | None) -> tuple[bytes, bytes | None]:
    """Bounds [low, high) of the name keys of all names in [lo, hi); a shortened key keeps 300 bytes and then a hash."""
    return lo[:KEPT_KEY_NAME], hi if hi is None or len(hi) < KEPT_KEY_NAME else hi[:KEPT_KEY_NAME] + b"\xff" * 212


@attrs.define
class Delta:
    """What changed. Attributes: files, size: how many more rows and bytes there are; changed: any row differs."""

    files: int = 0
    size: int = 0
    changed: bool = False


@attrs.define
class _Piece:
    """A chunk under change. Attributes: lowest: its key; old: its text in the store, None when it is new; text: its new
    text."""

    lowest: bytes
    old: bytes | None
    text: bytes
    rows: int


class Pages:
    """The chunks of all directories, in one write transaction."""

    def __init__(self, txn: lmdb.Transaction[bytes], files: lmdb._Database) -> None:
        self._cursor = txn.cursor(db=files)
        self._put = self._cursor.put
        #: Chunks of new directories, not yet stored: in order, they fill LMDB's pages well.
        self._new: dict[int, list[tuple[bytes, bytes]]] = {}
        self._new_bytes = 0

    def replace(
        self,
        store_id: int,
        lo: bytes,
        hi: bytes | None,
        rows: list[Row],
        ignore: Collection[bytes] = (),
        parsers: Collection[str] | None = None,
    ) -> Delta:
        """
        The names in [lo, hi) are exactly ``rows`` (no name twice; they are sorted in place), except that those in
        ``ignore`` stay as they are; ``rows`` has none of them. What ``parsers`` (None: any) have found in a file stays
        for as long as its row is the same.
        """
        sort_rows(rows)
        self.flush(store_id)
        chunks = self._overlapping(store_id, lo, hi)
        if not chunks:
            return self.build(store_id, rows)
        low, high = key_range(lo, hi)
        exact = len(lo) < KEPT_KEY_NAME and (hi is None or len(hi) < KEPT_KEY_NAME)
        ignored = sorted(map(name_key, ignore))
        delta = Delta()
        pieces = []
        at = 0
        for lowest, old, upper in chunks:
            end = len(rows) if upper is None else bisect_left(rows, upper, at, key=row_key)
            fresh = rows[at:end]
            at = end
            whole = exact and lowest >= low and (high is None or (upper is not None and upper <= high))
            if whole and ignored:
                first = bisect_left(ignored, lowest)
                whole = first == len(ignored) or (upper is not None and ignored[first] >= upper)
            text = keep_attributes(encode_rows(fresh), old, parsers)
            count = len(fresh)
            if not whole and text != old:
                merged = dict(zip(map(_NAME, fresh), split_rows(text), strict=True))
                for name, row in zip(row_names(old), split_rows(old), strict=True):
                    if name < lo or (hi is not None and name >= hi) or name in ignore:
                        merged[name] = row
                text = b",".join([merged[name] for name in sorted(merged, key=name_key)])
                count = len(merged)
            self._note(delta, old, text, count)
            pieces.append(_Piece(lowest, old, text, count))
        if delta.changed:
            self._write(store_id, pieces, chunks[-1][2])
        return delta

    def update(self, store_id: int, rows: Sequence[Row], gone: Collection[bytes]) -> Delta:
        """Single names: ``rows`` are there as they say, ``gone`` are not, all others stay."""
        self.flush(store_id)
        changes: list[tuple[bytes, Row | None]] = [(name_key(row[data.NAME]), row) for row in rows]
        changes += [(name_key(name), None) for name in gone]
        changes.sort(key=itemgetter(0))
        delta = Delta()
        at = 0
        while at < len(changes):
            lowest, old, upper = self._holding(store_id, changes[at][0])
            end = at + 1
            while end < len(changes) and (upper is None or changes[end][0] < upper):
                end += 1
            text, files, size = _merged(old, changes[at:end])
            at = end
            if text == old:
                continue
            delta.changed = True
            delta.files += files
            delta.size += size
            self._write(store_id, [_Piece(lowest, old or None, text, count_rows(text))], upper)
        return delta

    def attribute(
        self,
        store_id: int,
        parser: str,
        found: Sequence[tuple[bytes, Identity, dict[str, Any]]],
        lo: bytes = b"",
        hi: bytes | None = b"",
    ) -> bool:
        """
        What a parser has found in files, by name: it is theirs if they are still what it has seen. Other files with
        names in [lo, hi) have nothing of it.

        Returns:
            Whether anything is different now.
        """
        self.flush(store_id)
        attributes = {name: (identity, values) for name, identity, values in found}
        changed = False
        if hi is None or lo < hi:
            chunks = self._overlapping(store_id, lo, hi)
            pieces = []
            for lowest, old, _ in chunks:
                text, count = _attributed(old, parser, attributes, lo, hi)
                pieces.append(_Piece(lowest, old, text, count))
            changed = any(piece.text != piece.old for piece in pieces)
            if changed:
                self._write(store_id, pieces, chunks[-1][2])
            return changed
        keys = sorted(map(name_key, attributes))
        at = 0
        while at < len(keys):
            lowest, old, upper = self._holding(store_id, keys[at])
            at = len(keys) if upper is None else max(at + 1, bisect_left(keys, upper, at))
            text, count = _attributed(old, parser, attributes, lo, hi)
            if text != old:
                changed = True
                self._write(store_id, [_Piece(lowest, old, text, count)], upper)
        return changed

    @staticmethod
    def _note(delta: Delta, old: bytes, text: bytes, count: int) -> None:
        if text != old:
            delta.changed = True
            delta.files += count - count_rows(old)
            delta.size += sum(row_sizes(text)) - sum(row_sizes(old))

    def build(self, store_id: int, rows: list[Row]) -> Delta:
        """A directory without chunks gets its first: ``rows``, no name twice; they are sorted in place."""
        if not rows:
            return Delta()
        sort_rows(rows)
        step = _step(len(rows))
        chunks = self._new[store_id] = []
        for at in range(0, len(rows), step):
            part = rows[at : at + step]
            packed = pack_chunk(encode_rows(part))
            chunks.append((chunk_key(store_id, row_key(part[0]) if at else b""), packed))
            self._new_bytes += len(packed)
        if self._new_bytes > MAX_NEW_BYTES:
            self.flush()
        return Delta(len(rows), sum(map(_SIZE, rows)), True)

    def flush(self, store_id: int | None = None) -> None:
        """Store the chunks of a new directory, or of all, that are kept so far."""
        if store_id is not None:
            for key, value in self._new.pop(store_id, ()):
                self._put(key, value)
            return
        last = self._cursor.key() if self._cursor.last() else b""
        for at in sorted(self._new):
            for key, value in self._new[at]:
                # Told that a key is the last of all, LMDB fills the page before; else it leaves it half empty.
                self._put(key, value, append=key > last)
                last = max(last, key)
        self._new.clear()
        self._new_bytes = 0

    def _overlapping(self, store_id: int, lo: bytes, hi: bytes | None) -> list[tuple[bytes, bytes, bytes | None]]:
        """(lowest, text, lowest of the next) of the chunks that may hold names of [lo, hi)."""
        low, high = key_range(lo, hi)
        prefix = pack_id(store_id)
        cursor = self._cursor
        found: list[tuple[bytes, bytes]] = []
        upper = None
        here = self._seek(prefix, low)
        while here:
            key = cursor.key()
            if key[:_ID] != prefix:
                break
            if high is not None and key[_ID:] >= high:
                upper = key[_ID:]
                break
            found.append((key[_ID:], unpack_chunk(cursor.value())))
            here = cursor.next()
        uppers = [lowest for lowest, _ in found[1:]] + [upper]
        return [(lowest, text, above) for (lowest, text), above in zip(found, uppers, strict=True)] if found else []

    def _seek(self, prefix: bytes, key: bytes) -> bool:
        """Go to the chunk that holds ``key``; False when the directory has no chunks."""
        cursor = self._cursor
        target = prefix + key
        if cursor.set_range(target):
            if cursor.key() == target:
                return True
            return cursor.prev() and cursor.key()[:_ID] == prefix
        return cursor.last() and cursor.key()[:_ID] == prefix

    def _holding(self, store_id: int, key: bytes) -> tuple[bytes, bytes, bytes | None]:
        """(lowest, text, lowest of the next) of the chunk that holds ``key``, be it one that does not exist yet."""
        prefix = pack_id(store_id)
        cursor = self._cursor
        if not self._seek(prefix, key):
            return b"", b"", None
        lowest, text = cursor.key()[_ID:], unpack_chunk(cursor.value())
        upper = cursor.key()[_ID:] if cursor.next() and cursor.key()[:_ID] == prefix else None
        return lowest, text, upper

    def _write(self, store_id: int, pieces: list[_Piece], upper: bytes | None) -> None:
        """
        Store changed pieces (adjacent ones, in order), joined where small and split where large.

        Args:
            upper: key of the chunk after the last piece; that one is joined too when the last has become small. So a
                first chunk that has become empty takes over the rows of the next, and its key stays.
        """
        last = pieces[-1]
        if upper is not None and last.rows < MERGED_ROWS // 2 and last.old and len(last.text) < len(last.old):
            _, following, _ = self._holding(store_id, upper)
            pieces = [*pieces, _Piece(upper, following, following, count_rows(following))]
        kept = [pieces[0]]
        for piece in pieces[1:]:
            last = kept[-1]
            rows = last.rows + piece.rows
            if (last.text != last.old or piece.text != piece.old) and (
                rows <= MERGED_ROWS or not last.rows or not piece.rows
            ):
                last.text = b",".join(filter(None, (last.text, piece.text)))
                last.rows = rows
                if piece.old is not None:
                    self._erase(store_id, piece.lowest)
            else:
                kept.append(piece)
        for piece in kept:
            if piece.text == piece.old:
                continue
            if not piece.rows:
                if piece.old is not None:
                    self._erase(store_id, piece.lowest)
            elif piece.rows <= MAX_ROWS:
                self._put(chunk_key(store_id, piece.lowest), pack_chunk(piece.text))
            else:
                rows_of = split_rows(piece.text)
                step = _step(piece.rows)
                for at in range(0, piece.rows, step):
                    part = rows_of[at : at + step]
                    lowest = name_key(row_name(part[0])) if at else piece.lowest
                    self._put(chunk_key(store_id, lowest), pack_chunk(b",".join(part)))

    def remove(self, store_id: int) -> None:
        """The directory has no chunks any more."""
        self._new.pop(store_id, None)
        prefix = pack_id(store_id)
        here = self._cursor.set_range(prefix)
        while here and self._cursor.key()[:_ID] == prefix:
            here = self._cursor.delete() and bool(self._cursor.key())

    def _erase(self, store_id: int, lowest: bytes) -> None:
        if self._cursor.set_key(chunk_key(store_id, lowest)):
            self._cursor.delete()


def _step(rows: int) -> int:
    """Rows per chunk when ``rows`` are split evenly into as few as possible."""
    pieces = -(-rows // MAX_ROWS)
    return -(-rows // pieces)


def _merged(text: bytes, changes: Sequence[tuple[bytes, Row | None]]) -> tuple[bytes, int, int]:
    """The text of a chunk with some names changed, and by how many files and bytes it grew."""
    rows, keys = split_rows(text), list(map(name_key, row_names(text)))
    upserts = [row for _, row in changes if row is not None]
    fresh = iter(split_rows(encode_rows(upserts)))
    files = 0
    size = sum(map(_SIZE, upserts))
    for key, row in changes:
        at = bisect_left(keys, key)
        if at < len(keys) and keys[at] == key:
            size -= row_sizes(rows[at])[0]
            if row is None:
                del rows[at], keys[at]
                files -= 1
            else:
                rows[at] = _kept(next(fresh), rows[at])
        elif row is not None:
            rows.insert(at, next(fresh))
            keys.insert(at, key)
            files += 1
    return b",".join(rows), files, size


def _kept(row: bytes, old: bytes) -> bytes:
    """A row of a name that was there before: the same file keeps its attributes."""
    return old if old.startswith(row[:-1] + ATTRIBUTES) else row


def _attributed(
    text: bytes, parser: str, found: Mapping[bytes, tuple[Identity, dict[str, Any]]], lo: bytes, hi: bytes | None
) -> tuple[bytes, int]:
    """The text of a chunk with what a parser has found, see :meth:`Pages.attribute`; and how many rows it has."""
    rows = split_rows(text)
    for at, name in enumerate(row_names(text) if rows else ()):
        row = rows[at]
        if name in found:
            identity, values = found[name]
            if row_identity(row) == identity:
                rows[at] = with_attributes(row, parser, values)
        elif lo <= name and (hi is None or name < hi) and ATTRIBUTES in row:
            rows[at] = with_attributes(row, parser, {})
    return b",".join(rows), len(rows)
