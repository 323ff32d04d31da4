"""Keys, heads, chunks and rows: what goes in comes out, and positions in text are what decoding says."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fustor.treestore import format as layout
from fustor.treestore.errors import StoreUnusableError
from fustor.treestore.format import (
    BLANK,
    LISTED,
    PLACEHOLDER,
    Head,
    count_rows,
    encode_base64,
    encode_rows,
    find_row,
    head_counts,
    head_flags,
    head_name,
    head_rollup,
    head_text,
    name_key,
    pack_chunk,
    pack_id,
    readable,
    row_name,
    row_names,
    row_sizes,
    split_rows,
    unpack_chunk,
)
from fustor.treestore.render import json_text
from tests.treestore.scenario import file_row, link_row

NAMES = st.binary(min_size=1, max_size=450).filter(lambda name: b"/" not in name and b"\0" not in name)
TRICKY = st.lists(
    st.sampled_from(
        [b'"', b"\\", b"{", b"}", b",", b'"name":', b'"size":7,', b"\x01", b"\x7f", b"\xff", b"\xc3", b"x"]
    ),
    min_size=1,
    max_size=8,
).map(b"".join)


def decoded(text: bytes) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.json.decode(text.replace(layout.PLACEHOLDER, b"<dir>"))
    return fields


def test_a_row_is_what_fs_tree_returns() -> None:
    row = decoded(encode_rows([(b"x", 0o100644, 5, 1_700_000_000_250_000_000, -5, 7, 8, 9, 2)]))
    assert row == {
        "name": "x",
        "content_type": "file",
        "path": "<dir>/x",
        "size": 5,
        "modified_time": 1_700_000_000.25,
        "created_time": -5e-9,
        "integrity_suspect": False,
        "mtime_ns": 1_700_000_000_250_000_000,
        "ctime_ns": -5,
        "ino": 7,
        "mode": 0o100644,
        "uid": 8,
        "gid": 9,
        "nlink": 2,
    }


def test_targets_and_bytes_that_are_not_utf8() -> None:
    plain, odd = split_rows(encode_rows([link_row(b"l", "zi\u00eb".encode()), link_row(b"\xffl", b"\xfe\xfe")]))
    assert decoded(plain)["target"] == "zi\u00eb"
    assert {"name_b64", "target_b64"}.isdisjoint(decoded(plain))
    fields = decoded(odd)
    assert (fields["name"], fields["path"], fields["target"]) == ("\ufffdl", "<dir>/\ufffdl", "\ufffd\ufffd")
    assert (fields["name_b64"], fields["target_b64"]) == (encode_base64(b"\xffl"), encode_base64(b"\xfe\xfe"))


def test_each_bad_byte_is_one_replacement_character() -> None:
    assert readable(b"a\xe2\x82z\xed\xa0\x80") == "a\ufffd\ufffdz\ufffd\ufffd\ufffd"


@given(st.dictionaries(st.one_of(NAMES, TRICKY), st.integers(0, 1 << 62), min_size=1, max_size=12))
def test_rows_are_found_split_and_counted_as_decoding_would(sizes: dict[bytes, int]) -> None:
    text = encode_rows([file_row(name, size) for name, size in sizes.items()])
    rows = split_rows(text)
    assert b",".join(rows) == text
    assert [row_name(row) for row in rows] == list(sizes)
    assert row_names(text) == list(sizes)
    assert row_sizes(text) == list(sizes.values())
    assert count_rows(text) == len(sizes)
    assert text.count(layout.PLACEHOLDER) == len(sizes)
    for (name, size), row in zip(sizes.items(), rows, strict=True):
        start, end = find_row(text, name)
        assert text[start:end] == row
        assert decoded(row)["path"] == "<dir>/" + readable(name)
        assert decoded(row)["size"] == size
    assert find_row(text, b"not there") == (-1, -1)
    assert unpack_chunk(pack_chunk(text)) == text


@given(NAMES, NAMES)
def test_name_keys_fit_and_differ(one: bytes, other: bytes) -> None:
    assert len(layout.child_key(1, one)) <= 511
    assert (name_key(one) == name_key(other)) == (one == other)


def test_keys_of_a_directory_are_together_head_first() -> None:
    keys = [
        layout.head_key(5), layout.child_key(5, b"\0"), layout.child_key(5, b"\xff" * 400), layout.head_key(6),
    ]  # fmt: skip
    assert sorted(keys) == keys
    chunks = [layout.chunk_key(5, b""), layout.chunk_key(5, b"a"), layout.chunk_key(5, b"\xff" * 400), pack_id(6)]
    assert sorted(chunks) == chunks


def test_no_rows_are_no_text() -> None:
    assert encode_rows([]) == b""
    assert split_rows(b"") == []


# -- heads ----------------------------------------------------------------------------------------------------------


ATTRIBUTES = st.tuples(
    st.just(0o040755), st.integers(0, (1 << 63) - 1), st.integers(-(1 << 63), (1 << 64) - 1), st.just(-1),
    st.integers(0, (1 << 64) - 1), st.integers(0, (1 << 32) - 1), st.just(0), st.just(2),
)  # fmt: skip


@given(
    st.binary(max_size=255), st.integers(0, (1 << 128) - 1), st.integers(0, 65535), ATTRIBUTES,
    st.sampled_from([b"", b"EACCES"]),
)  # fmt: skip
def test_heads_come_out_as_they_went_in(
    name: bytes, size: int, flags: int, attributes: layout.Attributes, unreadable: bytes
) -> None:
    head = Head(3, 4, 5, 6, size, (1 << 64) - 1, 8, flags, name, attributes, unreadable, b"0123456789abcdef")
    value = head.pack()
    assert Head.unpack(value) == head
    assert (head_flags(value), head_name(value)) == (flags, name)
    row = encode_rows([(name, *attributes)])[:-1]
    assert head_text(value)[0] == row + (b',"unreadable":"EACCES"' if unreadable else b"")
    assert (head_counts(value), head_rollup(value)) == ((5, 6), (4, 5, 6, size))


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_the_text_of_a_head_has_the_path_that_is_given(name: bytes, path: bytes) -> None:
    value = Head(3, name=name, flags=LISTED, attributes=BLANK).pack()
    text = json_text(path)
    node, flags, own = head_text(value, text)
    assert (node, flags, own) == (head_text(value)[0].replace(PLACEHOLDER, text), LISTED, name)
    assert msgspec.json.decode(node + b"}")["path"] == f"{readable(path)}/{readable(name)}"


def test_what_is_no_head_is_damage() -> None:
    whole = Head(3, name=b"name", attributes=BLANK, unreadable=b"EIO").pack()
    for value in (b"", b"short", whole[:-1], whole + b"x", whole[:70]):
        with pytest.raises(StoreUnusableError):
            Head.unpack(value)
        with pytest.raises(StoreUnusableError):
            head_text(value)
    with pytest.raises(StoreUnusableError):
        head_rollup(b"short")
    with pytest.raises(StoreUnusableError):
        head_counts(b"short")


@pytest.mark.parametrize(
    "value",
    [b"", b"\x01x", b"\x02", b"\x02xxxx", pack_chunk(b"x" * 99)[:-1], b"\x02\x28\xb5\x2f\xfd\xe0" + b"\xff" * 8],
)
def test_damaged_chunks_are_damage(value: bytes) -> None:
    with pytest.raises(StoreUnusableError):
        unpack_chunk(value)


def test_a_damaged_row_is_damage() -> None:
    for text in (b"", b"{}", b'{"name":5,"path":"x"}', b'{"name":"x","name_b64":"!","path":"x"}'):
        with pytest.raises(StoreUnusableError):
            row_name(text)
