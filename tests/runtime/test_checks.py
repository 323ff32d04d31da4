"""Validators of configuration tables."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import attrs
import pytest

from fustor.runtime import checks
from protocols.errors import ConfigError


@attrs.frozen
class Table:
    field: str = ""


FIELD = attrs.fields(Table).field


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (checks.endpoint, "tcp://h:1", "h:1"),
        (checks.endpoint_or_empty, "", "h:1"),
        (checks.endpoint_or_empty, "tcp://h:1", " "),
        (checks.address, "h:1", "tcp://h:1"),
        (checks.path, "/x", ""),
        (checks.path, "x", "a\0b"),
    ],
)
def test_each_accepts_and_refuses(check: Callable[..., None], good: str, bad: str) -> None:
    check(None, FIELD, good)
    with pytest.raises(ConfigError) as caught:
        check(None, FIELD, bad)
    assert (caught.value.field, "accepted" in caught.value.accepted) == ("field", True)


def test_distinct_names_the_double() -> None:
    checks.distinct("sources", ["a", "b"], "names")
    with pytest.raises(ConfigError) as caught:
        checks.distinct("sources", ["a", "b", "a"], "names")
    assert (caught.value.field, caught.value.value) == ("sources", "a")


def test_paths_are_made_absolute_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    table: dict[str, Any] = {"a": "x/../y", "b": "/abs", "c": "~/z", "d": "", "e": 5, "f": "a\0b"}
    for key in (*table, "missing"):
        checks.absolute(table, key, "/base")
    assert table == {"a": "/base/y", "b": "/abs", "c": "/home/me/z", "d": "", "e": 5, "f": "a\0b"}
    checks.absolute(["no", "table"], "a", os.sep)
