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
    Head,
    blank_fragment,
    count_rows,
    decode_rows,
    encode_base64,
    encode_fragment,
    encode_rows,
    find_row,
    head_flags,
    head_fragment,
    head_name,
    mark_unreadable,
    name_key,
    pack_chunk,
    readable,
    rename_fragment,
    row_name,
    row_of,
    row_sizes,
    split_rows,
    unpack_chunk,
    unreadable_mark,
)
from protocols.codec import pack
from protocols.errors import DecodeError
from tests.treestore.scenario import directory_row, file_row, link_row

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
        layout.head_key(5), layout.chunk_key(5, b""), layout.chunk_key(5, b"a"), layout.child_key(5, b"\0"),
        layout.child_key(5, b"\xff" * 400), layout.head_key(6),
    ]  # fmt: skip
    assert sorted(keys) == keys


def test_no_rows_are_no_text() -> None:
    assert encode_rows([]) == b""
    assert split_rows(b"") == []


# -- heads ----------------------------------------------------------------------------------------------------------


@given(st.binary(max_size=255), st.integers(0, (1 << 128) - 1), st.integers(0, 65535))
def test_heads_come_out_as_they_went_in(name: bytes, size: int, flags: int) -> None:
    head = Head(3, 4, 5, 6, size, (1 << 64) - 1, 8, flags, name, b'{"name":')
    value = head.pack()
    assert Head.unpack(value) == head
    assert (head_flags(value), head_name(value), head_fragment(value)) == (flags, name, b'{"name":')


def test_what_is_no_head_is_damage() -> None:
    with pytest.raises(StoreUnusableError):
        Head.unpack(b"short")


def test_a_fragment_is_renamed_and_marked() -> None:
    fragment = encode_fragment(directory_row(b"old"))
    marked = mark_unreadable(fragment, "EACCES")
    assert decoded(marked + b"}")["unreadable"] == "EACCES"
    renamed = rename_fragment(marked, b'n"\xff')
    assert renamed == encode_fragment(directory_row(b'n"\xff')) + unreadable_mark(marked)
    assert mark_unreadable(mark_unreadable(marked, "EIO"), "") == fragment
    assert decoded(blank_fragment(b"x") + b"}")["name"] == "x"


@pytest.mark.parametrize("value", [b"", b"\x02x", b"\x01", b"\x01\xff\xff\xff\x7fxxxx", b"\x01\x05\0\0\0\xf0"])
def test_damaged_chunks_are_damage(value: bytes) -> None:
    with pytest.raises(StoreUnusableError):
        unpack_chunk(value)


def test_a_damaged_row_is_damage() -> None:
    for text in (b"", b"{}", b'{"name":5,"path":"x"}', b'{"name":"x","name_b64":"!","path":"x"}'):
        with pytest.raises(StoreUnusableError):
            row_name(text)


# -- rows from outside ----------------------------------------------------------------------------------------------


def test_rows_are_decoded_and_checked() -> None:
    pages = [[file_row(b"a"), file_row(b"b")], [], [link_row(b"l", b"t"), (b"gone",), directory_row(b"d")]]
    assert decode_rows(pack(pages)) == pages
    assert decode_rows(pack(pages[:1])) == pages[:1]


GOOD = file_row(b"x")


@pytest.mark.parametrize(
    "row",
    [
        (), (5,), (None, *GOOD[1:]), (b"x", "m", *GOOD[2:]), (*GOOD[:2], -1, *GOOD[3:]),
        (*GOOD[:2], 1 << 63, *GOOD[3:]),
        (*GOOD[:8], 1.5), (*GOOD, "text"), "text", 5, None, {},
    ],
)  # fmt: skip
def test_a_malformed_row_becomes_one_without_a_name(row: Any) -> None:
    (page,) = decode_rows(pack([[GOOD, row, GOOD]]))
    assert page[0] == page[2] == GOOD
    assert page[1][0] == b""
    with pytest.raises(DecodeError):
        row_of(row)


def test_a_malformed_directory_stays_a_directory() -> None:
    (page,) = decode_rows(pack([[(7, 0o040755, 0, 0, 0, 0, 0, 0, 0)]]))
    assert page == [(b"", 0o040755, 0, 0, 0, 0, 0, 0, 0)]


@pytest.mark.parametrize(
    "frame", [b"", b"\xc1", pack(5), pack([5]), pack({}), pack([[GOOD]])[:-1], pack([[GOOD]]) + b"x"]
)
def test_a_frame_that_is_no_rows(frame: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_rows(frame)
