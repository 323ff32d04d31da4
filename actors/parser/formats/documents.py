"""JSON documents (RFC 8259): what is at their top."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, BinaryIO

import msgspec

from protocols.parsing import MOST_CHARACTERS, MOST_ELEMENTS

_decode = msgspec.json.Decoder().decode
_KINDS = {dict: "object", list: "array", str: "string", bool: "boolean", int: "number", float: "number"}


def read(file: BinaryIO, *, most_bytes: int = 16 << 20) -> Mapping[str, Any]:
    """
    ``type`` of the value; of an object its ``keys`` (the first ones), of both it and an array its ``length``.

    Raises:
        ValueError: it is no JSON, or larger than ``most_bytes``.
    """
    text = file.read(most_bytes + 1)
    if len(text) > most_bytes:
        raise ValueError(f"larger than most_bytes ({most_bytes})")
    try:
        value = _decode(text)
    except msgspec.DecodeError as error:
        raise ValueError(str(error)) from None
    found: dict[str, Any] = {"type": _KINDS.get(type(value), "null")}
    if isinstance(value, dict | list):
        found["length"] = len(value)
    if isinstance(value, dict):
        found["keys"] = [key[:MOST_CHARACTERS] for key in list(value)[:MOST_ELEMENTS]]
    return found
