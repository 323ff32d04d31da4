"""Specifications of payloads."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fustor.runtime.payload import PayloadSpec


def revision(config: dict[str, Any]) -> int:
    return PayloadSpec("view.main", ("/bin/true",), config).revision


def test_a_revision_is_of_the_content_alone() -> None:
    assert revision({"a": 1, "b": (2, 3)}) == revision({"b": [2, 3], "a": 1})
    assert revision({"a": 1}) != revision({"a": 2})
    # The same in every process and version: an adopted payload is compared by it.
    assert revision({"a": 1}) == 3378130752239563


@given(st.dictionaries(st.text(), st.integers() | st.text()))
def test_a_revision_is_never_zero_and_fits_everywhere(config: dict[str, Any]) -> None:
    assert 1 <= revision(config) < 1 << 53
