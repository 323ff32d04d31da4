"""
Rows as they come from an agent: a msgpack frame of pages, one page per operation, each row checked before it is used.

A frame is first split into pages, which are decoded one by one when their operation is applied, or not at all when a
page is byte for byte what it was before.

What this module does not do: it does not look at names (``intake`` does) and knows no store.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from protocols.data import Row
from protocols.errors import DecodeError

#: The rows of one operation, not decoded.
Page = msgspec.Raw

_Count = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
_Word = Annotated[int, msgspec.Meta(ge=0, le=(1 << 32) - 1)]
_Natural = Annotated[int, msgspec.Meta(ge=0)]

#: A row of :mod:`protocols.data` as it is nearly always.
_PlainRow = tuple[bytes, _Word, _Count, int, int, _Natural, _Word, _Word, _Count]


class _AnyRow(msgspec.Struct, array_like=True, gc=False):
    """A row of any length, to be checked; mode 0: the name is gone."""

    name: bytes
    mode: _Word = 0
    size: _Count = 0
    mtime_ns: int = 0
    ctime_ns: int = 0
    ino: _Natural = 0
    uid: _Word = 0
    gid: _Word = 0
    nlink: _Count = 0
    target: bytes | None = None


_split = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
_decode_plain = msgspec.msgpack.Decoder(list[_PlainRow]).decode
_decode_any = msgspec.msgpack.Decoder(list[Any]).decode


def split_pages(frame: bytes) -> list[tuple[Page, int]]:
    """
    The pages of the rows frame of an item, each with its number of rows.

    Raises:
        DecodeError: the frame is not an array of arrays.
    """
    try:
        return [(page, _length(memoryview(page))) for page in _split(frame)]
    except msgspec.DecodeError as error:
        raise DecodeError(f"rows: an array of arrays of rows is accepted: {error}") from None


def _length(page: memoryview) -> int:
    """Elements of a msgpack array (msgpack specification, array format family)."""
    first = page[0]
    if first >> 4 == 0x9:
        return first & 0xF
    if first == 0xDC:
        return int.from_bytes(page[1:3], "big")
    if first == 0xDD:
        return int.from_bytes(page[1:5], "big")
    raise DecodeError("rows: an array of arrays of rows is accepted")


def digest(page: Page, parsers: Sequence[str] = ()) -> bytes:
    """16 bytes that no other page has, nor this one where a source has other ``parsers``."""
    made = hashlib.blake2b(page, digest_size=16)
    if parsers:
        made.update(",".join(parsers).encode())
    return made.digest()


def decode_page(page: Page) -> list[Row]:
    """
    The rows of a page, each checked and of 9 fields, of 10 (with a target), or of a name alone (gone).

    A row that is malformed is replaced by one with an empty name, which is nobody's name; it keeps only its being a
    directory or not, so that the order of ``ids`` stays right.
    """
    try:
        return _decode_plain(page)
    except msgspec.ValidationError:  # a symlink, a name that is gone, or something wrong
        return [_row_or_blank(row) for row in _decode_any(page)]


def _row_or_blank(row: Any) -> Row:
    try:
        return row_of(row)
    except DecodeError:
        mode = row[1] if isinstance(row, list) and len(row) > 1 else 0
        return (b"", mode, *[0] * 7) if isinstance(mode, int) and 0 < mode < 1 << 32 else (b"",)


def row_of(row: Sequence[Any]) -> Row:
    """
    ``row``, checked.

    Raises:
        DecodeError: it is too short, or a field is of the wrong type.
    """
    try:
        checked = msgspec.convert(row, _AnyRow, builtin_types=(bytes,))
    except msgspec.ValidationError as error:
        raise DecodeError(f"row: {error}") from None
    if not checked.mode:
        return (checked.name,)
    fields = msgspec.structs.astuple(checked)
    return fields if checked.target is not None else fields[:-1]
