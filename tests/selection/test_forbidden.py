"""Items as the shell tells them, and back."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fustor.selection.forbidden import Forbidden, item_of
from protocols.errors import ConfigError

NAMES = st.binary(min_size=1, max_size=20).filter(lambda name: b"/" not in name and b"\0" not in name)


def test_directories_and_names() -> None:
    forbidden = Forbidden.of(["/", "/a/b/", "/a/c", "/top", "/a/d", "/b\udcff/"])
    assert forbidden.directories == {b"", b"a/b", b"b\xff"}
    assert forbidden.names == {b"a": {b"c", b"d"}, b"": {b"top"}}


@given(st.lists(NAMES, max_size=4), NAMES)
def test_what_was_written_down_is_what_is_forbidden(path: list[bytes], name: bytes) -> None:
    thing = b"/".join(path)
    assert Forbidden.of([os.fsdecode(item_of(thing))]).directories == {thing}
    assert Forbidden.of([os.fsdecode(item_of(thing) + name)]).names == {thing: {name}}


@pytest.mark.parametrize("item", ["", "a", "a/b/", "/a\0"])
def test_what_is_no_path_is_refused_by_its_place(item: str) -> None:
    with pytest.raises(ConfigError, match=r"quarantined\[1\]"):
        Forbidden.of(["/fine", item])
