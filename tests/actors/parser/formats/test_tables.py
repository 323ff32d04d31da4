"""Tables, against files made by the csv module."""

from __future__ import annotations

import contextlib
import csv
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.formats import read


def written(folder: Path, content: bytes) -> Path:
    """A real file: tables ask for its size."""
    file = folder / "file"
    file.write_bytes(content)
    return file


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
def test_a_small_table_is_counted(tmp_path: Path, delimiter: str) -> None:
    with (tmp_path / "t").open("w", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(["name", "count", "note"])
        writer.writerows([[f"n{number}", number, 'said "so"\nand more'] for number in range(50)])
    assert read("table", tmp_path / "t") == {
        "delimiter": delimiter,
        "columns": 3,
        "header": ["name", "count", "note"],
        "rows": 50,
        "exact": True,
    }
    assert read("table", tmp_path / "t", header=False)["rows"] == 51


def test_the_rows_of_a_large_table_are_estimated(tmp_path: Path) -> None:
    lines = b"id,value\n" + b"".join(b"%07d,%05d\n" % (number, number % 99_999) for number in range(100_000))
    found = read("table", written(tmp_path, lines))
    assert not found["exact"]
    assert abs(found["rows"] - 100_000) < 2000


@pytest.mark.parametrize(
    ("content", "options", "why"),
    [(b"a\0b\n", {}, "NUL"), (b"x" * 100_000, {"most_bytes": 1000}, "no line ends")],
)
def test_what_is_no_table_is_said(tmp_path: Path, content: bytes, options: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read("table", written(tmp_path, content), **options)


def test_an_empty_table_has_nothing(tmp_path: Path) -> None:
    assert read("table", written(tmp_path, b"")) == {"columns": 0, "rows": 0, "exact": True}


@given(st.binary(max_size=2000))
def test_whatever_it_is_something_is_found_or_said(tmp_path_factory: Any, content: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "any-table"
    file.write_bytes(content)
    with contextlib.suppress(ValueError, RecursionError):
        read("table", file)
