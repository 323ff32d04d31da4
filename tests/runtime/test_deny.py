"""What may stand in [deny] about files."""

from __future__ import annotations

from typing import Any

import pytest

from fustor.runtime.config import ConfigFaults, structure
from fustor.runtime.deny import DataDeny


def test_nothing_is_denied_unless_it_is_said() -> None:
    assert structure(DataDeny, {}) == DataDeny(directories=(), uids=(), file_bytes=0)


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"directories": ["/ok", "relative"]}, r"directories\[1\] = 'relative': an absolute path"),
        ({"directories": ["/a/../b"]}, r"directories\[0\]"),
        ({"uids": [0, -1]}, r"uids\[1\] = -1: a number from 0 to 4294967295"),
        ({"uids": ["root"]}, r"uids\[0\]"),
        ({"file_bytes": -1}, "file_bytes"),
        ({"files": 1}, "files"),
    ],
)
def test_what_is_not_accepted_is_named(section: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigFaults, match=words):
        structure(DataDeny, section)
