"""JSON documents."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.formats import read


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ({"a": 1, "b": [2]}, {"type": "object", "length": 2, "keys": ["a", "b"]}),
        ([1, 2, 3], {"type": "array", "length": 3}),
        ("text", {"type": "string"}),
        (1.5, {"type": "number"}),
        (True, {"type": "boolean"}),
        (None, {"type": "null"}),
    ],
)
def test_json(value: object, found: dict[str, Any]) -> None:
    assert read("json", json.dumps(value).encode()) == found


@pytest.mark.parametrize("text", [b"", b"{", b"{'a': 1}", b"\xff", b"[" * 100_000, b"[1] [2]"])
def test_what_is_no_json_is_said(text: bytes) -> None:
    with pytest.raises((ValueError, RecursionError)):
        read("json", text)


def test_of_a_large_object_the_first_keys_are_told() -> None:
    found = read("json", json.dumps({f"{number}" * 2000: 0 for number in range(1000)}).encode())
    assert (found["length"], len(found["keys"]), len(found["keys"][0])) == (1000, 256, 1024)


@given(st.binary(max_size=2000))
def test_whatever_it_is_something_is_found_or_said(tmp_path_factory: Any, content: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "any-json"
    file.write_bytes(content)
    with contextlib.suppress(ValueError, RecursionError):
        read("json", file)
