"""
The files of one directory: JSON rows in chunks, in order of their name keys.

A chunk's key is the lowest name key it may hold; it ends where the next one begins; the first begins with the empty
name. Only chunks whose text changes are written, so looking at an unchanged directory again writes nothing.

What this module does not do: it knows neither directories nor rollups; it reports what changed. Names and modes must
have been checked by the caller.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Sequence
from operator import itemgetter

import attrs
import lmdb

from fustor.treestore.format import (
    CHUNK,
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
    row_sizes,
    split_rows,
    unpack_chunk,
)
from protocols import data
from protocols.data import Row

#: A changed chunk is joined with its neighbour when both together have at most this many rows.
MERGED_ROWS = 60

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

    def __init__(self, txn: lmdb.Transaction[bytes], tree: lmdb._Database) -> None:
        self._txn = txn
        self._cursor = txn.cursor(db=tree)
        self._put = self._cursor.put

    def replace(
        self, store_id: int, lo: bytes, hi: bytes | None, rows: list[Row], ignore: Collection[bytes] = ()
    ) -> Delta:
        """
        The names in [lo, hi) are exactly ``rows`` (sorted by :func:`sort_rows`, no name twice), except that those in
        ``ignore`` stay as they are; ``rows`` has none of them.
        """
        chunks = self._overlapping(store_id, lo, hi)
        if not chunks:
            return self._build(store_id, rows)
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
            text = encode_rows(fresh)
            count = len(fresh)
            if not whole and text != old:
                merged = dict(zip(map(_NAME, fresh), split_rows(text), strict=True))
                for row in split_rows(old):
                    name = row_name(row)
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
        changes: list[tuple[bytes, bytes, Row | None]] = [
            (name_key(row[data.NAME]), row[data.NAME], row) for row in rows
        ]
        changes += [(name_key(name), name, None) for name in gone]
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

    @staticmethod
    def _note(delta: Delta, old: bytes, text: bytes, count: int) -> None:
        if text != old:
            delta.changed = True
            delta.files += count - count_rows(old)
            delta.size += sum(row_sizes(text)) - sum(row_sizes(old))

    def _build(self, store_id: int, rows: list[Row]) -> Delta:
        """A directory without chunks gets its first."""
        if not rows:
            return Delta()
        step = _step(len(rows))
        for at in range(0, len(rows), step):
            part = rows[at : at + step]
            self._put(chunk_key(store_id, row_key(part[0]) if at else b""), pack_chunk(encode_rows(part)))
        return Delta(len(rows), sum(map(_SIZE, rows)), True)

    def _overlapping(self, store_id: int, lo: bytes, hi: bytes | None) -> list[tuple[bytes, bytes, bytes | None]]:
        """(lowest, text, lowest of the next) of the chunks that may hold names of [lo, hi)."""
        low, high = key_range(lo, hi)
        prefix = pack_id(store_id) + CHUNK
        cursor = self._cursor
        found: list[tuple[bytes, bytes]] = []
        upper = None
        here = self._seek(prefix, low)
        while here:
            key = cursor.key()
            if key[:9] != prefix:
                break
            if high is not None and key[9:] >= high:
                upper = key[9:]
                break
            found.append((key[9:], unpack_chunk(cursor.value())))
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
            return cursor.prev() and cursor.key()[:9] == prefix
        return cursor.last() and cursor.key()[:9] == prefix

    def _holding(self, store_id: int, key: bytes) -> tuple[bytes, bytes, bytes | None]:
        """(lowest, text, lowest of the next) of the chunk that holds ``key``, be it one that does not exist yet."""
        prefix = pack_id(store_id) + CHUNK
        cursor = self._cursor
        if not self._seek(prefix, key):
            return b"", b"", None
        lowest, text = cursor.key()[9:], unpack_chunk(cursor.value())
        upper = cursor.key()[9:] if cursor.next() and cursor.key()[:9] == prefix else None
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
                    self._txn_delete(store_id, piece.lowest)
            else:
                kept.append(piece)
        for piece in kept:
            if piece.text == piece.old:
                continue
            if not piece.rows:
                if piece.old is not None:
                    self._txn_delete(store_id, piece.lowest)
            elif piece.rows <= MAX_ROWS:
                self._put(chunk_key(store_id, piece.lowest), pack_chunk(piece.text))
            else:
                rows_of = split_rows(piece.text)
                step = _step(piece.rows)
                for at in range(0, piece.rows, step):
                    part = rows_of[at : at + step]
                    lowest = name_key(row_name(part[0])) if at else piece.lowest
                    self._put(chunk_key(store_id, lowest), pack_chunk(b",".join(part)))

    def _txn_delete(self, store_id: int, lowest: bytes) -> None:
        if self._cursor.set_key(chunk_key(store_id, lowest)):
            self._cursor.delete()


def _step(rows: int) -> int:
    """Rows per chunk when ``rows`` are split evenly into as few as possible."""
    pieces = -(-rows // MAX_ROWS)
    return -(-rows // pieces)


def _text_key(row: bytes) -> bytes:
    return name_key(row_name(row))


def _merged(text: bytes, changes: Sequence[tuple[bytes, bytes, Row | None]]) -> tuple[bytes, int, int]:
    """The text of a chunk with some names changed, and by how many files and bytes it grew."""
    rows = split_rows(text)
    upserts = [row for _, _, row in changes if row is not None]
    fresh = iter(split_rows(encode_rows(upserts)))
    files = 0
    size = sum(map(_SIZE, upserts))
    # Few names change in a chunk of a hundred: finding each by halving decodes a handful of names, not all of them.
    for key, name, row in changes:
        at = bisect_left(rows, key, key=_text_key)
        if at < len(rows) and row_name(rows[at]) == name:
            size -= row_sizes(rows[at])[0]
            if row is None:
                del rows[at]
                files -= 1
            else:
                rows[at] = next(fresh)
        elif row is not None:
            rows.insert(at, next(fresh))
            files += 1
    return b",".join(rows), files, size
