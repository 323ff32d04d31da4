"""Archives made by others."""

from __future__ import annotations

import contextlib
import gzip
import io
import tarfile
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.formats import CONTENTS, read, tarred, zipped


@pytest.mark.parametrize(
    ("content", "kind"),
    [(zipped(), "zip"), (tarred(), "tar"), (tarred(kind=tarfile.GNU_FORMAT), "tar"), (tarred("w:gz"), "tar.gz")],
    ids=["zip", "pax", "gnu", "tar.gz"],
)
def test_an_archive_is_listed(content: bytes, kind: str) -> None:
    found = read("archive", content)
    assert (found["format"], found["entries"], found["bytes"]) == (kind, 100, sum(range(100)))
    assert found["names"] == list(CONTENTS)[:64]
    assert found["complete"] is True
    bounded = read("archive", content, most_entries=10)
    assert bounded["complete"] is False
    assert len(bounded["names"]) == 10


def test_a_compressed_tar_is_not_unpacked_further_than_allowed() -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        for number in range(10):
            entry = tarfile.TarInfo(f"zeros{number}")
            entry.size = 1 << 20
            archive.addfile(entry, io.BytesIO(bytes(1 << 20)))
    found = read("archive", made.getvalue(), most_bytes=3 << 20)
    assert found["complete"] is False
    assert 1 <= found["entries"] <= 3


def test_gzip_says_its_length() -> None:
    found = read("archive", gzip.compress(b"x" * 12_345))
    assert found == {"format": "gzip", "entries": 1, "bytes": 12_345, "complete": True}


@pytest.mark.parametrize(
    "content",
    [b"", b"text", zipped()[:200], tarred("w:gz")[:100], tarred()[:700], b"\x1f\x8bx"],
    ids=["empty", "text", "zip", "tar.gz", "tar", "gzip"],
)
def test_a_damaged_archive_is_said(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        read("archive", content)


@given(st.binary(max_size=2000))
def test_whatever_it_is_something_is_found_or_said(tmp_path_factory: Any, content: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "any-archive"
    file.write_bytes(content)
    with contextlib.suppress(ValueError, RecursionError):
        read("archive", file)
