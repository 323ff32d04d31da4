"""
What parsers have found in a file: the last field of its row, ``"attrs":{"<parser>.<key>": value, …}``.

A row that a listing says again keeps them for as long as the rest of its text is the same, which is to say for as long
as the file is. No key in them is one of a row's (:mod:`protocols.parsing`), so they can't be mistaken for the rest.

What this module does not do: know where rows are kept.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

import msgspec

from fustor.treestore.format import split_rows
from protocols.errors import ProtocolError
from protocols.parsing import MOST_BYTES, check_attributes

#: Before the attributes of a row.
ATTRIBUTES = b',"attrs":'
_IDENTITY = re.compile(
    rb'"size":(\d+),"modified_time":[^,]+,"created_time":[^,]+,"integrity_suspect":\w+,'
    rb'"mtime_ns":(-?\d+),"ctime_ns":(-?\d+),"ino":(\d+),'
)
_Found = dict[str, Any]
_encode = msgspec.json.Encoder().encode
_decode_found = msgspec.json.Decoder(_Found).decode

#: What a file is as long as nobody changes it: size, mtime_ns, ctime_ns, ino.
Identity = tuple[int, int, int, int]


def row_identity(row: bytes) -> Identity | None:
    """Of a row, from its text; None when it is none."""
    found = _IDENTITY.search(row)
    return None if found is None else (int(found[1]), int(found[2]), int(found[3]), int(found[4]))


def keep_attributes(text: bytes, old: bytes, parsers: Collection[str] | None = None) -> bytes:
    """
    Rows ``text``, as a listing says them, with the attributes that the same rows have in ``old``.

    Args:
        parsers: attributes of others are not kept; None: all are.
    """
    if ATTRIBUTES not in old:
        return text
    known = {}
    for row in split_rows(old):
        plain, between, found = row.partition(ATTRIBUTES)
        if between:
            known[plain] = found[:-1]
    rows = split_rows(text)
    for at, row in enumerate(rows):
        found = known.get(row[:-1], b"")
        if found and parsers is not None:
            found = _of_parsers(found, parsers)
        if found:
            rows[at] = row[:-1] + ATTRIBUTES + found + b"}"
    return b",".join(rows)


def _of_parsers(text: bytes, parsers: Collection[str]) -> bytes:
    found = _decode_found(text)
    kept = {key: value for key, value in found.items() if key.partition(".")[0] in parsers}
    return text if len(kept) == len(found) else _encode(kept) if kept else b""


def read_attributes(text: bytes, parser: str) -> _Found:
    """
    What a parser says of one file, each key with its name before it.

    Raises:
        ProtocolError: these are no attributes.
    """
    if len(text) > MOST_BYTES:
        raise ProtocolError(f"attributes of {len(text)} bytes: at most {MOST_BYTES} are accepted")
    try:
        found = _decode_found(text) if text else {}
    except (msgspec.DecodeError, RecursionError) as error:
        raise ProtocolError(f"attributes: a JSON object is accepted: {error}") from None
    check_attributes(found)
    return {f"{parser}.{key}": value for key, value in found.items()}


def with_attributes(row: bytes, parser: str, found: _Found) -> bytes:
    """A row whose attributes of ``parser`` are ``found``, as :func:`read_attributes` gives them."""
    plain, between, before = row.partition(ATTRIBUTES)
    if not between:
        plain = row[:-1]
    else:
        others = _decode_found(before[:-1]).items()
        found = {key: value for key, value in others if key.partition(".")[0] != parser} | found
    if not found:
        return plain + b"}"
    return plain + ATTRIBUTES + _encode(dict(sorted(found.items()))) + b"}"
