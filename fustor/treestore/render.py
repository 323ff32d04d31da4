"""
Stored records to the JSON of fs/tree: decompress, put the path in, join.

Rows are never decoded: their text is served as it was stored, with the path of their directory spliced in as JSON text.
Only where a path is not valid UTF-8 are rows taken one by one, for ``path_b64`` can't be spliced.

What this module does not do: it reads no store, knows no freshness, and sends nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from fustor.treestore.format import (
    LISTED,
    ODD_NAME,
    PLACEHOLDER,
    ROW_SEPARATOR,
    encode_base64,
    head_text,
    readable,
    row_name,
    split_rows,
    unpack_chunk,
    valid_utf8,
)

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(str).decode
_CHILDREN = b',"children":['
_AFTER_PATH, _ODD_ROW = b',"size":', b'"name_b64":"'
#: The first byte of U+FFFD. As a number: it is looked for many times faster than as bytes.
_ODD_BYTE = 0xEF
#: Bytes that stand in a JSON string as they are: printable ASCII but the quote and the backslash.
_as_it_is = re.compile(rb"[ !#-\[\]-~]*").fullmatch
# By what has been written of the children of a directory: how its object ends, and what stands before the next child.
_BARE, _LISTED, _OPEN = range(3)
_ENDS = (b"}", _CHILDREN + b"]}", b"]}")
_BEFORE = (_CHILDREN, _CHILDREN, b",")

#: A part of a walk: depth below where it began, head (empty: more chunks of the directory before), chunks.
Piece = tuple[int, bytes, list[bytes]]


def json_text(path: bytes) -> bytes:
    """``path`` as it stands between the quotes of a JSON string, U+FFFD for each byte that is not UTF-8."""
    return path if _as_it_is(path) else _encode(readable(path))[1:-1]


def json_object(members: Mapping[str, object]) -> bytes:
    """``members`` as the text of a JSON object."""
    return _encode(members)


def json_members(members: Mapping[str, object]) -> bytes:
    """``members`` as JSON text to put behind other members: each with a comma before it; empty for none."""
    return b"," + _encode(members)[1:-1] if members else b""


def raw_path(text: bytes) -> bytes:
    """The inverse of :func:`json_text`, for paths that are valid UTF-8."""
    return _decode(b'"' + text + b'"').encode()


def _only_paths(rows: bytes) -> bytes:
    """``rows`` cut behind their paths."""
    first, *rest = rows.split(_AFTER_PATH)
    # Each part has the rest of one row and the beginning of the next.
    middle = [part[part.index(ROW_SEPARATOR) :] for part in rest[:-1]]
    return b"}".join((first, *middle, b"")) if rest else rows


def _base64_member(path: bytes) -> bytes:
    return b',"path_b64":"' + encode_base64(path).encode() + b'"'


def render_row(row: bytes, parent: bytes, extras: bytes = b"", *, only_path: bool = False) -> bytes:
    """
    One row as an object of its own.

    Args:
        row: its stored text.
        parent: raw path of its directory, without a slash at the end (empty for the top).
        extras: JSON members to put behind its own, each with a comma before it.
        only_path: its name, content_type and path only.
    """
    odd = _ODD_ROW in row or not valid_utf8(parent)
    text = (row[: row.index(_AFTER_PATH)] if only_path else row[:-1]).replace(PLACEHOLDER, json_text(parent))
    if odd:
        text += _base64_member(parent + b"/" + row_name(row))
    return text + extras + b"}"


class TreeRenderer:
    """
    Renders one subtree from the pieces of its walk, in order.

    Args:
        parent: raw path of the parent of the first directory, without a slash at the end; empty also for the top.
        extras: JSON members of the first directory to put behind its own, each with a comma before it; they are the
            second part of the text.
        max_depth: as given to the walk: directories at this depth show no children.
        only_path: name, content_type and path of each node only.
    """

    def __init__(
        self, parent: bytes, extras: bytes = b"", *, max_depth: int | None = None, only_path: bool = False
    ) -> None:
        self._extras = extras
        self._max_depth = max_depth
        self._only_path = only_path
        # What is open, one entry per directory; and above them, what the children of each need: JSON text of its path,
        # and its raw path where that is not UTF-8 (else it can be had from the text).
        self._states: list[int] = []
        plain = _as_it_is(parent) or valid_utf8(parent)
        self._paths: list[tuple[bytes, bytes | None]] = [(json_text(parent), None if plain else parent)]

    def feed(self, piece: Piece, out: list[bytes]) -> int:
        """
        Append the text of ``piece`` to ``out``; how many bytes that is, about.

        Raises:
            MachineError: the record is damaged.
        """
        depth, head, chunks = piece
        states, paths = self._states, self._paths
        size = 0
        if head:
            while len(states) > depth:
                out.append(_ENDS[states.pop()])
                paths.pop()
            if depth:
                out.append(_BEFORE[states[-1]])
                states[-1] = _OPEN
            text, raw = paths[-1]
            shown, flags, name = head_text(head, text)
            if self._only_path:
                shown = shown[: shown.index(_AFTER_PATH)]
            if raw is not None or flags & ODD_NAME:
                raw = (raw_path(text) if raw is None else raw) + b"/" + name
                shown += _base64_member(raw)
            out.append(shown)
            if not depth:
                out.append(self._extras)
            states.append(_LISTED if flags & LISTED and depth != self._max_depth else _BARE)
            # The top has no name, and its path is the slash that its children bring along.
            paths.append((b"%b/%b" % (text, name if _as_it_is(name) else json_text(name)) if name else text, raw))
            size = len(shown)
        if chunks:
            text, odd = paths[-1]
            before = _BEFORE[states[-1]]
            states[-1] = _OPEN
            for chunk in chunks:
                rows = unpack_chunk(chunk)
                # A name that is not UTF-8 is shown with U+FFFD, whose first byte is quick to see.
                if odd is not None or (_ODD_BYTE in rows and _ODD_ROW in rows):
                    rows = self._row_by_row(rows)
                else:
                    rows = (_only_paths(rows) if self._only_path else rows).replace(PLACEHOLDER, text)
                out += before, rows
                before = b","
                size += len(rows)
        return size

    def _row_by_row(self, rows: bytes) -> bytes:
        text, odd = self._paths[-1]
        raw = raw_path(text) if odd is None else odd
        shown = []
        for row in split_rows(rows):
            node = row[: row.index(_AFTER_PATH) if self._only_path else -1].replace(PLACEHOLDER, text)
            if odd is not None or _ODD_ROW in row:
                node += _base64_member(raw + b"/" + row_name(row))
            shown.append(node + b"}")
        return b",".join(shown)

    def end(self, out: list[bytes]) -> None:
        """Append the end of the body."""
        while self._states:
            out.append(_ENDS[self._states.pop()])
