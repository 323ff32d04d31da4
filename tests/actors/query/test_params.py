"""Parameters: what is accepted, and that everything else is refused by name."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.query.params import TreeQuery, Waits, parse_query, path_names, search_query, split_target, tree_query
from protocols.errors import RequestError


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"/fs/tree?path=/a", (b"/fs/tree", b"path=/a")),
        (b"/fs/tree", (b"/fs/tree", b"")),
        (b"http://host:1/fs/tree?x=1#f", (b"/fs/tree", b"x=1")),
        (b"http://host?x=1", (b"/", b"x=1")),
        (b"http://host", (b"/", b"")),
        (b"/a?b?c", (b"/a", b"b?c")),
        (b"*", (b"*", b"")),
    ],
)
def test_targets(target: bytes, expected: tuple[bytes, bytes]) -> None:
    assert split_target(target) == expected


def test_defaults() -> None:
    assert tree_query({}) == TreeQuery((), None, False)
    assert tree_query({}).look is None


@pytest.mark.parametrize(
    ("query", "look"),
    [
        (b"on_demand_scan=true", 5.0),
        (b"on_demand_scan=1&wait=0", 0.0),
        (b"on_demand_scan=true&wait=2.5", 2.5),
        (b"on_demand_scan=false&wait=2.5", None),
        (b"wait=2.5", None),
    ],
)
def test_how_long_a_look_is_waited_for(query: bytes, look: float | None) -> None:
    assert tree_query(parse_query(query), Waits(default=5.0, most=60.0)).look == look


@pytest.mark.parametrize("wait", [b"x", b"-1", b"1e3", b"61", b"", b"nan"])
def test_a_wait_that_is_none(wait: bytes) -> None:
    with pytest.raises(RequestError, match="wait"):
        tree_query({"wait": wait}, Waits(most=60.0))


def test_looks_do_not_tell_kept_answers_apart() -> None:
    assert tree_query({"on_demand_scan": b"true"}).key == tree_query({}).key


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (b"path=/a//b/./c/", TreeQuery((b"a", b"b", b"c"))),
        (b"path=%2Fa%20b+c%2b", TreeQuery((b"a b c+",))),
        (b"path=/%ff%01", TreeQuery((b"\xff\x01",))),
        (b"path_b64=" + base64.urlsafe_b64encode(b"/\xff\xfe?"), TreeQuery((b"\xff\xfe?",))),
        (b"path_b64=" + base64.urlsafe_b64encode(b"/a").rstrip(b"="), TreeQuery((b"a",))),
        (b"recursive=false", TreeQuery((), 1)),
        (b"recursive=0&max_depth=0", TreeQuery((), 0)),
        (b"recursive=False&max_depth=9", TreeQuery((), 1)),
        (b"recursive=1&max_depth=2&only_path=true&unknown=%41&&", TreeQuery((), 2, True)),
    ],
)
def test_accepted(query: bytes, expected: TreeQuery) -> None:
    assert tree_query(parse_query(query)) == expected


@pytest.mark.parametrize(
    ("query", "field", "value"),
    [
        (b"path=a", "path", "a"),
        (b"path=", "path", ""),
        (b"path=/a/../b", "path", "/a/../b"),
        (b"path=/a%00b", "path", "/a\0b"),
        (b"path=/%zz", "path", "/%zz"),
        (b"path=/%4", "path", "/%4"),
        (b"path=/a&path=/b", "path", "/b"),
        (b"path=/a&path_b64=L2E=", "path_b64", "L2E="),
        (b"path_b64=L2E!", "path_b64", "L2E!"),
        (b"path_b64=YQ==", "path_b64", "a"),
        (b"path=/" + b"a" * 70_000, "path", "/" + "a" * 199 + "…"),
        (b"recursive=yes", "recursive", "yes"),
        (b"recursive=", "recursive", ""),
        (b"only_path=2", "only_path", "2"),
        (b"max_depth=-1", "max_depth", "-1"),
        (b"max_depth=1.5", "max_depth", "1.5"),
        (b"max_depth=", "max_depth", ""),
        (b"max_depth=%D9%A1", "max_depth", "١"),
        (b"max_depth=99999999999999999999999", "max_depth", "99999999999999999999999"),
    ],
)
def test_refused_by_name_value_and_what_is_accepted(query: bytes, field: str, value: str) -> None:
    with pytest.raises(RequestError) as caught:
        tree_query(parse_query(query))
    assert (caught.value.field, caught.value.value) == (field, value)
    assert caught.value.accepted


@pytest.mark.parametrize(
    ("query", "field"),
    [
        (b"", "pattern"),
        (b"pattern=", "pattern"),
        (b"pattern=" + b"a" * 1025, "pattern"),
        (b"pattern=a&limit=0", "limit"),
        (b"pattern=a&limit=101", "limit"),
        (b"pattern=a&path=x", "path"),
    ],
)
def test_search_refuses(query: bytes, field: str) -> None:
    with pytest.raises(RequestError) as caught:
        search_query(parse_query(query), 100, 10)
    assert caught.value.field == field


def test_search_limit_defaults_to_what_is_allowed() -> None:
    assert search_query({"pattern": b"a"}, 100, 1000).limit == 100
    assert search_query({"pattern": b"a", "limit": b"7"}, 100, 10).limit == 7


@given(st.lists(st.binary(min_size=1, max_size=20).filter(lambda n: b"/" not in n and b"\0" not in n), max_size=6))
def test_any_path_comes_back_as_its_names(names: list[bytes]) -> None:
    names = [name for name in names if name not in (b".", b"..")]
    query = TreeQuery(tuple(names))
    assert path_names(query.path) == tuple(names)
    escaped = b"".join(b"%%%02x" % byte for byte in query.path)
    assert tree_query(parse_query(b"path=" + escaped)).names == tuple(names)
