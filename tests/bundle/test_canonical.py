"""One text for each value."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fustor.bundle.canonical import decode, encode
from protocols.errors import BundleError

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(PLAIN)
def test_there_and_back(value: object) -> None:
    text = encode(value)
    assert decode(text, "x", len(text)) == value
    assert text.isascii()


@given(PLAIN)
def test_any_other_text_of_the_same_value_is_refused(value: object) -> None:
    other = json.dumps(value, indent=1).encode() + b"\n"
    with pytest.raises(BundleError, match="not canonical"):
        decode(other, "x", len(other))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_value_or_an_error(data: bytes) -> None:
    try:
        value = decode(data, "x", 200)
    except BundleError:
        return
    assert encode(value) == data


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "not JSON"),
        (b"\xff", "not JSON"),
        (b"{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[" * 50_000 + b"]" * 50_000, "not JSON"),
        (b"1" * 10_000, "not JSON"),
        (b'{"a":1,"a":1}', "not canonical"),
        (b'{"b":1,"a":1}', "not canonical"),
        (b'{"a": 1}', "not canonical"),
        (b'"\xc3\xa4"', "not canonical"),
        (b"1.0e3", "not canonical"),
        (b" " * 200_001, "200001 bytes, at most 200000 are accepted"),
    ],
)
def test_what_is_refused(text: bytes, words: str) -> None:
    with pytest.raises(BundleError, match=words):
        decode(text, "x", 200_000)
