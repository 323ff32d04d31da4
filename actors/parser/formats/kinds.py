"""
The kind of a file by its content, as a media type (RFC 6838): by magic numbers, which puremagic knows.

Without one only text and other bytes are told apart; a name says nothing here.
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from typing import Any, BinaryIO

import puremagic

_CONTAINER = "application/zip"
#: Names by which media types are registered, for older ones.
_REGISTERED = {"application/x-gzip": "application/gzip"}
#: Control characters that text has none of.
_NO_TEXT = frozenset(range(32)) - set(b"\t\n\r\f\x1b\b")


def read(file: BinaryIO, *, most_bytes: int = 4096) -> Mapping[str, Any]:
    """``type``; ``inode/x-empty`` and ``application/octet-stream`` are told as file(1) does."""
    return {"type": _kind(file.read(most_bytes))}


def _kind(start: bytes) -> str:
    if not start:
        return "inode/x-empty"
    try:
        found = puremagic.magic_string(start)
    except (puremagic.PureError, ValueError):
        found = []
    # Several formats may be the same container: then that is what is known.
    kinds = [match.mime_type for match in found if match.mime_type and match.confidence == found[0].confidence]
    if kinds:
        kind = _CONTAINER if _CONTAINER in kinds else kinds[0]
        return _REGISTERED.get(kind, kind)
    return "text/plain" if _is_text(start) else "application/octet-stream"


def _is_text(start: bytes) -> bool:
    if not _NO_TEXT.isdisjoint(start):
        return False
    try:
        codecs.getincrementaldecoder("utf-8")().decode(start)  # a character may be cut at the end
    except UnicodeDecodeError:
        return False
    return True
