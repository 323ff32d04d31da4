"""``fustor stat``: everything that is known of one path."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fustor.admin.stat import facts, freshness

if TYPE_CHECKING:
    from tests.admin.conftest import FakeFusion

NODE: dict[str, Any] = {
    "name": "b",
    "content_type": "symlink",
    "path": "/a/b",
    "target": "c\n",
    "size": 1536,
    "mode": 0o120777,
    "uid": 1000,
    "gid": 100,
    "ino": 7,
    "nlink": 1,
    "modified_time": 1e18,
    "created_time": None,
    "known": True,
    "state": "stale",
    "complete": False,
    "age": 90,
    "sources": [{"reasons": ["not heard for more than 3 s"]}],
    "rollup": {"files": 1000, "directories": 2, "bytes": 1024},
}


def test_facts() -> None:
    assert list(facts(NODE)) == [
        ("path", "/a/b"),
        ("type", "symlink"),
        ("target", "c\\n"),
        ("size", "1,536 (1.5 KiB)"),
        ("mode", "lrwxrwxrwx (0777)"),
        ("uid", "1000"),
        ("gid", "100"),
        ("ino", "7"),
        ("nlink", "1"),
        ("modified", "1000000000000000000"),
        ("below", "1,000 files, 2 directories, 1.0 KiB"),
        ("freshness", "stale, not complete; as of 1 min 30 s ago; not heard for more than 3 s"),
    ]


def test_what_parsers_have_found_is_shown_each_in_a_line() -> None:
    attributes = {"table.header": ["a", "b\n"], "table.rows": 2, "where.project": "x\x1b"}
    shown = dict(facts({**NODE, "attrs": attributes}))
    assert (shown["table.header"], shown["table.rows"], shown["where.project"]) == ("a, b\\n", "2", "x\\x1b")


def test_what_is_not_known_is_not_made_up() -> None:
    assert list(facts({"path": "/x", "known": False, "state": "building", "age": None})) == [
        ("path", "/x"),
        ("known", "no: this part of the tree has not been looked at yet"),
        ("freshness", "building, not complete; age unknown"),
    ]
    assert freshness({}) == "unknown, not complete; age unknown"


def test_the_command(fusion: FakeFusion, run_fustor: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    fusion.tree = lambda request: (200, {}, [json.dumps(NODE).encode()])
    done = run_fustor("stat", "/a/b", "--state", str(fusion.state.folder))
    assert (done.returncode, fusion.asked[-1].params) == (0, {"max_depth": "0"})
    assert done.stdout.splitlines()[0].split() == ["path", "/a/b"]
    assert json.loads(run_fustor("stat", "/a/b", "--json", "--state", str(fusion.state.folder)).stdout) == NODE
