"""
Canonical JSON: one text for each value, so that the digest of a text is the digest of what it says.

Sorted keys, no spaces, ASCII only, no floating-point numbers where the classes have none. A text that differs from what
:func:`encode` would write is refused: two texts never mean the same, and nothing hides in a text (repeated keys,
spaces).
"""

from __future__ import annotations

import json
from typing import Any

from protocols.errors import BundleError


def encode(value: object) -> bytes:
    """The text of plain data."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def decode(text: bytes, where: str, largest: int) -> Any:
    """
    The value of a canonical text.

    Args:
        text: the text.
        where: named in errors.
        largest: bytes that are accepted. The nesting is bounded by the interpreter's own limit, and each field of what
            is decoded is checked afterwards.

    Raises:
        BundleError: too big, not JSON, or not canonical.
    """
    if len(text) > largest:
        raise BundleError(f"{where}: {len(text)} bytes, at most {largest} are accepted")
    try:
        value = json.loads(text)
        same = encode(value) == text
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{where}: it is not JSON: {error}") from None
    if not same:
        raise BundleError(f"{where}: it is not canonical: sorted keys without repetitions and spaces are accepted")
    return value
