"""Rows from outside: what is right comes through, what is wrong is blank, and pages are told apart."""

from __future__ import annotations

from typing import Any

import pytest

from fustor.treestore.wire import decode_page, digest, row_of, split_pages
from protocols.codec import pack
from protocols.data import Row
from protocols.errors import DecodeError
from tests.treestore.scenario import directory_row, file_row, link_row


def decode_rows(frame: bytes) -> list[list[Row]]:
    return [decode_page(page) for page, _ in split_pages(frame)]


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


@pytest.mark.parametrize("rows", [0, 1, 15, 16, 65_535, 65_536])
def test_rows_are_counted_without_being_decoded(rows: int) -> None:
    assert [count for _, count in split_pages(pack([[()] * rows, []]))] == [rows, 0]


def test_digests_are_of_the_bytes_of_a_page() -> None:
    pages = [[file_row(b"a")], [file_row(b"b")], [file_row(b"a")], [(*file_row(b"a")[:8], 2)], []]
    one, other, again, changed, nothing = (digest(page) for page, _ in split_pages(pack(pages)))
    assert one == again
    assert len({one, other, changed, nothing}) == 4
