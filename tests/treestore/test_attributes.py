"""Attributes in the text of rows."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fustor.treestore.attributes import (
    ATTRIBUTES,
    keep_attributes,
    read_attributes,
    row_identity,
    with_attributes,
)
from fustor.treestore.format import count_rows, encode_rows, find_row, row_names, row_sizes, split_rows
from protocols.errors import ProtocolError
from protocols.parsing import MOST_BYTES
from tests.treestore.scenario import file_row, link_row

_texts = st.text(st.characters(codec="utf-8"), max_size=50)
_plain = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 63) - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _texts
)
_values = st.dictionaries(
    st.sampled_from(["name", "size", "path", "attrs", "a"]), _plain | st.lists(_plain, max_size=3), max_size=4
)


def attributes(row: bytes) -> Any:
    return msgspec.json.decode(row.replace(b"\x01", b"")).get("attrs")


@given(_values, st.binary(min_size=1, max_size=20).filter(lambda name: b"/" not in name and b"\0" not in name))
def test_whatever_they_are_everything_else_of_a_row_is_found(values: dict[str, Any], name: bytes) -> None:
    rows = [file_row(name, 7), file_row(b"~other", 8)]
    plain = split_rows(encode_rows(rows))
    found = read_attributes(msgspec.json.encode(values), "one")
    text = b",".join([with_attributes(plain[0], "one", found), plain[1]])
    assert attributes(split_rows(text)[0]) == (found or None)
    assert (row_names(text), row_sizes(text), count_rows(text)) == ([name, b"~other"], [7, 8], 2)
    start, end = find_row(text, name)
    assert text[start:end] == split_rows(text)[0]
    assert row_identity(split_rows(text)[0]) == row_identity(plain[0]) == (7, rows[0][3], rows[0][4], 77)
    assert with_attributes(split_rows(text)[0], "one", {}) == plain[0]
    assert keep_attributes(b",".join(plain), text) == text


def test_another_file_of_the_name_keeps_nothing() -> None:
    old = with_attributes(encode_rows([file_row(b"a", 5)]), "one", {"one.b": 1})
    other = encode_rows([file_row(b"a", 6)])
    assert keep_attributes(other, old) == other
    assert keep_attributes(b"", old) == b""


def test_only_those_of_parsers_that_there_are_are_kept() -> None:
    row = encode_rows([file_row(b"a")])
    old = with_attributes(with_attributes(row, "one", {"one.x": 1}), "two", {"two.y": 2})
    assert attributes(keep_attributes(row, old, ("two",))) == {"two.y": 2}
    assert keep_attributes(row, old, ()) == row
    assert keep_attributes(row, old, ("one", "two")) == old


def test_of_a_symlink_too_they_are_the_last_field() -> None:
    row = with_attributes(encode_rows([link_row(b"l", b"target")]), "one", {"one.x": 1})
    assert row.endswith(ATTRIBUTES + b'{"one.x":1}}')


@pytest.mark.parametrize(
    "text",
    [b"{", b"[]", b'{"a.b":1}', b'{"a":{}}', b" " * (MOST_BYTES + 1), b'{"a":' + b"[" * 2000],
    ids=["cut", "array", "dot", "object", "large", "deep"],
)
def test_what_are_none_is_refused(text: bytes) -> None:
    with pytest.raises(ProtocolError, match="attribute"):
        read_attributes(text, "one")


def test_no_text_is_nothing() -> None:
    assert read_attributes(b"", "one") == read_attributes(b"{}", "one") == {}
