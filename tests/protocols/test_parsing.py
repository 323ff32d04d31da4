"""What an attribute may be."""

from __future__ import annotations

from typing import Any

import pytest

from protocols.codec import DATA_LIMITS, decode, encode
from protocols.data import Attributes
from protocols.errors import ProtocolError
from protocols.parsing import (
    MOST_CHARACTERS,
    MOST_ELEMENTS,
    MOST_KEYS,
    Parsed,
    ParserDir,
    ParserHello,
    ParserWork,
    check_attributes,
)


@pytest.mark.parametrize(
    "found",
    [
        {},
        {"a": 1, "B_2": "text", "c": 1.5, "d": True, "e": None},
        {"list": [1, "a", None, 2.5], "none": []},
        {f"k{number}": 0 for number in range(MOST_KEYS)},
        {"long": "x" * MOST_CHARACTERS, "many": [0] * MOST_ELEMENTS},
        {"least": -(1 << 63), "most": (1 << 63) - 1},
    ],
)
def test_these_are_accepted(found: dict[str, Any]) -> None:
    check_attributes(found)


@pytest.mark.parametrize(
    ("found", "names"),
    [
        ({"a.b": 1}, "a.b"),
        ({"": 1}, "''"),
        ({"size\n": 1}, "size"),
        ({1: 1}, "1"),
        ({"k" * 65: 1}, "kkk"),
        ({"nested": {"size": 1}}, "nested"),
        ({"nested": [[1]]}, "nested"),
        ({"raw": b"bytes"}, "raw"),
        ({"big": 1 << 63}, "big"),
        ({"odd": float("nan")}, "odd"),
        ({"odd": float("inf")}, "odd"),
        ({"long": "x" * (MOST_CHARACTERS + 1)}, "long"),
        ({"many": [0] * (MOST_ELEMENTS + 1)}, "many"),
        ({f"k{number}": 0 for number in range(MOST_KEYS + 1)}, str(MOST_KEYS + 1)),
    ],
)
def test_these_are_refused_by_name(found: dict[Any, Any], names: str) -> None:
    with pytest.raises(ProtocolError, match=names):
        check_attributes(found)


@pytest.mark.parametrize(
    "message",
    [
        ParserHello(parser="table", incarnation="abc", rules="digest", epoch=7, taken=3),
        ParserWork(
            incarnation="abc",
            epoch=7,
            number=2,
            dirs=(ParserDir(5, b"a/b", None), ParserDir(6, b"", (b"x", b"\xff"))),
        ),
        Parsed(
            parser="table",
            incarnation="abc",
            epoch=7,
            number=2,
            parts=(Attributes(5, "table", ((b"x", 1, 2, 3, 4, b"{}"),), b"", None),),
            last=True,
        ),
    ],
)
def test_messages_survive_the_wire(message: object) -> None:
    assert decode(encode(message), ParserHello, ParserWork, Parsed, limits=DATA_LIMITS) == message
