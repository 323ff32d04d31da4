"""Rows sorted out."""

from __future__ import annotations

import pytest

from fustor.treestore.intake import sort_out, valid_names
from protocols.data import Row
from tests.treestore.scenario import directory_row, file_row, link_row


@pytest.mark.parametrize(
    ("names", "valid"),
    [
        ([], True),
        ([b"a", b"b", b"...", b"\xff" * 255], True),
        ([b"a", b"a"], False),
        ([b"a", b""], False),
        ([b"."], False),
        ([b".."], False),
        ([b"a/b"], False),
        ([b"a\0b"], False),
        ([b"x" * 4097], False),
    ],
)
def test_valid_names(names: list[bytes], valid: bool) -> None:
    assert valid_names(names) is valid


def test_directories_keep_their_ids() -> None:
    page: list[Row] = [file_row(b"z"), directory_row(b"d2"), link_row(b"a", b"t"), directory_row(b"d1")]
    intake = sort_out(page, (7, 8), ())
    assert intake.files == [page[0], page[2]]
    assert intake.directories == [(page[1], 7), (page[3], 8)]
    assert (intake.ignored, intake.malformed, intake.refused) == (frozenset(), 0, False)


def test_ignored_names_are_left_out_by_list_and_by_id() -> None:
    page: list[Row] = [file_row(b"f"), file_row(b"g"), directory_row(b"d"), directory_row(b"e"), directory_row(b"h")]
    intake = sort_out(page, (0, 8, 9), (b"g", b"h", b"other"))
    assert intake.files == [page[0]]
    assert intake.directories == [(page[3], 8)]
    assert intake.ignored == {b"d", b"g", b"h", b"other"}


def test_what_is_wrong_is_left_out_and_counted() -> None:
    page: list[Row] = [
        file_row(b"c"), file_row(b"a/b"), file_row(b"d", 1), file_row(b"d", 2), file_row(b"z"),
        (b"k", 0, *file_row(b"k")[2:]),
        directory_row(b""), directory_row(b"e"),
    ]  # fmt: skip
    intake = sort_out(page, (5, 6), (), b"b", b"y")
    assert intake.files == [page[0], page[3]]
    assert intake.directories == [(page[7], 6)]
    assert intake.malformed == 5


@pytest.mark.parametrize("ids", [(), (1,), (1, 2, 3), (1, -2)])
def test_ids_that_do_not_fit(ids: tuple[int, ...]) -> None:
    intake = sort_out([directory_row(b"d"), directory_row(b"e"), file_row(b"f")], ids, ())
    assert intake.refused
    assert intake.directories == []
    assert intake.ignored == {b"d", b"e"}
    assert intake.files == [file_row(b"f")]
