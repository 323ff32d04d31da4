"""Search against fnmatch, and against itself at its limits."""

from __future__ import annotations

import fnmatch
import json
from pathlib import Path

import pytest
import re2
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.query.search import Matcher, glob_to_regex
from tests.actors.query.model import Build, Tree, every_name, expected_node, file_row
from tests.actors.query.site import Site


@settings(max_examples=500)
@given(st.text("ab*?[!]^\\.-/", max_size=8), st.text("ab.^\\-/]", max_size=6))
def test_globs_are_those_of_fnmatch(pattern: str, text: str) -> None:
    options = re2.Options()
    options.log_errors = False
    try:
        regex = re2.compile(glob_to_regex(pattern), options=options)
    except re2.error:
        return  # a range that means nothing: refused, where fnmatch gives it some meaning or other
    assert bool(regex.match(text)) == fnmatch.fnmatchcase(text, pattern)


def test_a_hostile_pattern_costs_no_more_than_another() -> None:
    matcher = Matcher("*a" * 200 + "*b")
    assert not matcher.matches("a" * 4000, "/" + "a" * 4000)


def paths(nodes: list[dict[str, str]]) -> list[str]:
    return sorted(node["path"] for node in nodes)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    path = str(tmp_path / "store")
    tree: Tree = {
        b"logs": {b"a.log": file_row(), b"b.log": file_row(), b"old.log.gz": file_row()},
        b"src": {b"login.py": file_row(), b"deep": {b"x.log": file_row(), b'q".log': file_row()}},
        b"blog": file_row(),
    }
    Build(path).write(tree)
    return Site(path)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("pattern=*.log", ["/logs/a.log", "/logs/b.log", '/src/deep/q".log', "/src/deep/x.log"]),
        ("pattern=.lo", ["/logs/a.log", "/logs/b.log", "/logs/old.log.gz", '/src/deep/q".log', "/src/deep/x.log"]),
        ("pattern=blog", ["/blog"]),
        ("pattern=/logs/*", ["/logs/a.log", "/logs/b.log", "/logs/old.log.gz"]),
        ("pattern=/logs/a.log", ["/logs/a.log"]),
        ("pattern=[ab].log", ["/logs/a.log", "/logs/b.log"]),
        ("pattern=[!a].log", ["/logs/b.log", "/src/deep/x.log"]),
        ("pattern=%22", ['/src/deep/q".log']),
        ("pattern=*&path=/src", ['/src/deep/q".log', "/src/deep/x.log", "/src/login.py"]),
        ("pattern=content_type", []),
        ("pattern=*&path=/none", []),
    ],
)  # fmt: skip
def test_search(site: Site, query: str, expected: list[str]) -> None:
    answer, nodes = site.ask(f"/api/v1/views/main/search?{query}")
    assert answer.status == 200
    assert paths(nodes) == expected
    assert answer.headers.fields["X-Fustor-State"] == "live"
    site.stores.close()


def test_the_limit_holds(site: Site) -> None:
    assert len(site.ask("/api/v1/views/main/search?pattern=log&limit=3")[1]) == 3
    site.stores.close()


def test_nodes_are_whole_and_odd_names_are_found(tmp_path: Path) -> None:
    path = str(tmp_path / "store")
    tree = every_name()
    Build(path).write(tree)
    site = Site(path)
    _, nodes = site.ask("/api/v1/views/main/search?pattern=*&path=/files&limit=1000")
    expected = expected_node(b"/files", tree[b"files"])["children"]
    key = lambda node: json.dumps(node, sort_keys=True)  # noqa: E731
    assert sorted(nodes, key=key) == sorted(expected, key=key)
    site.stores.close()
