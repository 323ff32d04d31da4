"""
Every message of this version, as it is on the wire: ``python -m tests.skew.recording`` writes them to ``recorded/``.

Of each kind one message in which every field has a value that its type allows, and each tuple and map one item. Files
of released versions are kept as they are, for ever.
"""

from __future__ import annotations

import json
import types
import typing
from pathlib import Path
from typing import Any

import attrs

import fustor
from protocols import codec, data, looks, messages, parsing

FOLDER = Path(__file__).parent / "recorded"
#: Modules that define messages; imported for that.
_MODULES = (messages, data, looks, parsing)


def kinds() -> dict[str, type]:
    """Every kind of message with its class."""
    assert _MODULES
    ours = {kind: cls for kind, cls in codec._KINDS.items() if cls.__module__.startswith("protocols.")}
    return dict(sorted(ours.items()))  # tests have some of their own


def sample(hint: Any, name: str) -> Any:
    """A value of a type; text says the name of its field."""
    if hint is Any:
        return {"any": [1, "x", b"\xff", None]}
    plain = {int: 7, str: name, bytes: name.encode() + b"\xff", bool: True, float: 1.5}
    if hint in plain:
        return plain[hint]
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return sample(next(one for one in arguments if one is not types.NoneType), name)
    if origin is tuple:
        return tuple(sample(one, name) for one in arguments if one is not Ellipsis)
    if origin is dict:
        return {"key": sample(arguments[1], name)}
    return example(hint)


def example(cls: Any) -> Any:
    """An instance of a message or record."""
    hints = typing.get_type_hints(cls)
    fields = {field.name: sample(hints[field.name], field.name) for field in attrs.fields(cls)}
    return cls(**fields)


def plain(value: Any) -> Any:
    """As JSON, bytes in hexadecimal; records by the names of their fields."""
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if attrs.has(type(value)):
        return {field.name: plain(getattr(value, field.name)) for field in attrs.fields(type(value))}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


def recorded() -> dict[str, dict[str, Any]]:
    """Kind → its bytes in hexadecimal, and the fields in them."""
    found = {}
    for kind, cls in kinds().items():
        one = example(cls)
        found[kind] = {"wire": codec.encode(one).hex(), "fields": plain(one)}
    return found


if __name__ == "__main__":
    (FOLDER / f"{fustor.__version__}.json").write_text(json.dumps(recorded(), indent=1, sort_keys=True) + "\n")
