"""Files told by their content."""

from __future__ import annotations

import contextlib
import gzip
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.formats import read, zipped


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "image/png"),
        (b"%PDF-1.7\n" + bytes(100), "application/pdf"),
        (zipped(), "application/zip"),
        (gzip.compress(b"x"), "application/gzip"),
        (b"plain text\nof two lines\n", "text/plain"),
        ("ümlaut".encode(), "text/plain"),
        (b"", "inode/x-empty"),
        (bytes(range(256)), "application/octet-stream"),
    ],
    ids=["png", "pdf", "zip", "gzip", "text", "utf-8", "empty", "bytes"],
)
def test_the_kind_of_a_file_is_told_by_its_content(content: bytes, kind: str) -> None:
    assert read("mime", content) == {"type": kind}


@given(st.binary(max_size=2000))
def test_whatever_it_is_something_is_found_or_said(tmp_path_factory: Any, content: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "any-mime"
    file.write_bytes(content)
    with contextlib.suppress(ValueError, RecursionError):
        read("mime", file)
