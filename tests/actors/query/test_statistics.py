"""How much is there: the rollup of the top, in the words of the predecessor's clients."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.actors.query.model import Build, file_row
from tests.actors.query.site import Site


def stats(path: str) -> dict[str, Any]:
    site = Site(path)
    _, body = site.ask("/api/v1/views/main/stats")
    found: dict[str, Any] = body if isinstance(body, dict) else json.loads(body)
    return found


def test_counts_of_a_tree(tmp_path: Path) -> None:
    path = str(tmp_path / "store")
    Build(path).write({b"a": {b"x": file_row(10), b"y": file_row(5)}, b"z": file_row(1)})
    found = stats(path)
    assert (found["item_count"], found["total_files"], found["total_directories"], found["total_size"]) == (4, 3, 1, 16)
    assert found["has_blind_spot"] is False
    assert found["state"] == "live"


def test_an_incomplete_tree_has_a_blind_spot(tmp_path: Path) -> None:
    path = str(tmp_path / "store")
    Build(path).write({b"z": file_row(1)}, complete=False)
    assert stats(path)["has_blind_spot"] is True


def test_without_a_store_nothing_is_claimed(tmp_path: Path) -> None:
    found = stats(str(tmp_path / "none"))
    assert (found["item_count"], found["logical_now"], found["state"]) == (0, None, "empty")
    assert found["has_blind_spot"] is True
