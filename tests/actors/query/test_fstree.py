"""fs/tree: every parameter, what is known and what is not, entity tags; against an independent model."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from actors.query.body import BodyLimits
from actors.query.params import TreeQuery
from tests.actors.query.model import (
    EXTRAS,
    Build,
    Tree,
    every_name,
    expected_node,
    file_row,
    link_row,
    without_extras,
)
from tests.actors.query.site import TREE, UNLISTED, Site


@pytest.mark.parametrize(
    ("query", "depth"),
    [("", None), ("max_depth=0", 0), ("max_depth=1", 1), ("max_depth=2", 2), ("recursive=false", 1)],
)
@pytest.mark.parametrize("only_path", [False, True])
def test_trees_and_depths(site: Site, query: str, depth: int | None, only_path: bool) -> None:
    for path, value in ((b"", TREE), (b"/docs", TREE[b"docs"]), (b"/docs/sub", TREE[b"docs"][b"sub"])):
        target = f"/fs/tree?path={path.decode() or '/'}&{query}&only_path={only_path}"
        answer, node = site.ask(target)
        assert answer.status == 200
        assert without_extras(node) == expected_node(path, value, depth, only_path=only_path, unlisted=UNLISTED)
        assert (node["view"], node["state"], node["complete"], node["known"]) == ("main", "live", True, True)
        again, same = site.ask(target)  # by the cache of parsed requests
        assert without_extras(same) == without_extras(node)
        assert again.etag == answer.etag


def test_the_first_node_says_where_it_all_comes_from(site: Site) -> None:
    answer, node = site.ask("/fs/tree?max_depth=0")
    assert list(node)[-len(EXTRAS) :] == EXTRAS
    assert node["rollup"] == {"files": 5, "directories": 4, "bytes": 5 + 7 + 9 + 4 + 1}
    (source,) = node["sources"]
    assert source["age"] == node["age"] >= 0
    assert node["as_of"] == source["as_of"] == 1_700_000_010.0
    assert {name: source[name] for name in ("name", "agent", "mount", "state", "complete", "reasons", "counts")} == {
        "name": "data",
        "agent": "agent",
        "mount": "/",
        "state": "live",
        "complete": True,
        "reasons": [],
        "counts": {"directories": 3},
    }
    assert (node["job_id"], node["job_pending"]) == (None, False)
    headers = answer.headers.fields
    assert headers["X-Fustor-View"] == "main"
    assert headers["X-Fustor-Generation"] == str(node["generation"])
    assert headers["X-Fustor-As-Of"] == "1700000010.000000"
    assert float(headers["X-Fustor-Age"]) == node["age"]
    assert (headers["X-Fustor-State"], headers["X-Fustor-Complete"]) == ("live", "true")


def test_a_file_is_its_node(site: Site) -> None:
    for path, value in ((b"/docs/a.txt", file_row(5)), (b"/link", link_row(b"docs"))):
        answer, node = site.ask(f"/fs/tree?path={path.decode()}")
        assert answer.status == 200
        assert without_extras(node) == expected_node(path, value)
        _, node = site.ask(f"/fs/tree?path={path.decode()}&only_path=true")
        assert without_extras(node) == expected_node(path, value, only_path=True)


def test_every_odd_name_can_be_asked_for(tmp_path: Path) -> None:
    path = str(tmp_path / "store")
    tree = every_name()
    Build(path).write(tree)
    site = Site(path)
    for name in list(tree[b"files"])[::5]:
        for folder, value in ((b"files", file_row()), (b"below", tree[b"below"][name])):
            raw = b"/" + folder + b"/" + name
            answer, node = site.ask(f"/fs/tree?path={quote(raw)}")
            assert answer.status == 200
            if isinstance(value, dict):
                assert without_extras(node) == expected_node(raw, value)
                continue
            assert without_extras(node) == expected_node(raw, tree[folder][name])
            if "path_b64" in node:
                assert without_extras(site.ask(f"/fs/tree?path_b64={node['path_b64']}")[1]) == without_extras(node)
    site.stores.close()


@pytest.mark.parametrize("path", ["/none", "/docs/none", "/docs/none/deeper", "/docs/a.txt/x", "/empty/x"])
def test_what_is_known_not_to_exist_is_404(site: Site, path: str) -> None:
    answer, body = site.ask(f"/fs/tree?path={path}")
    assert answer.status == 404
    assert body["field"] == "path"
    assert body["value"] == path
    assert body["state"] == "live"
    assert answer.headers.fields["X-Fustor-State"] == "live"


@pytest.mark.parametrize("path", ["/closed/x", "/closed/x/y"])
def test_what_is_not_known_is_200_and_says_so(site: Site, path: str) -> None:
    answer, node = site.ask(f"/fs/tree?path={path}")
    assert answer.status == 200
    assert (node["known"], node["path"], node["content_type"]) == (False, path, None)
    assert "children" not in node
    assert node["state"] == "live"


def test_etags(site: Site) -> None:
    answer, _ = site.ask("/fs/tree?path=/docs")
    assert answer.etag.startswith('W/"')
    for offered in (answer.etag, f'"x", {answer.etag}', answer.etag.removeprefix("W/"), "*"):
        again, body = site.ask("/fs/tree?path=/docs", offered)
        assert (again.status, body, again.etag) == (304, None, answer.etag)
        assert again.headers.fields["X-Fustor-State"] == "live"
    assert site.ask("/fs/tree?path=/docs&max_depth=1", answer.etag)[0].status == 200
    assert site.ask("/fs/tree?path=/empty", answer.etag)[0].status == 200
    file_answer, _ = site.ask("/fs/tree?path=/docs/a.txt")
    assert site.ask("/fs/tree?path=/docs/a.txt", file_answer.etag)[0].status == 304


_WRITE = """
import ast, sys
from tests.actors.query.model import Build
path, tree, state, epoch = sys.argv[1], *map(ast.literal_eval, sys.argv[2:])
Build(path).write(tree, state=state, epoch=epoch)
"""


def write_elsewhere(path: str, tree: Tree | None, state: str, epoch: int) -> None:
    """As the view actor does, in another process: LMDB allows one environment of a path per process."""
    command = [sys.executable, "-c", _WRITE, path, repr(tree), repr(state), repr(epoch)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[3], timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_kept_answer_is_given_as_long_as_it_is_right(tmp_path: Path) -> None:
    path = str(tmp_path / "store")
    first: Tree = {
        b"same": {b"a": file_row(1), b"sub": {b"b": file_row(2)}},
        b"grows": {b"a": file_row(1), b"sub": {b"b": file_row(2)}},
        b"goes": {b"a": file_row(1)},
        b"moves": {b"sub": {b"a": file_row(1)}},
    }
    second: Tree = {
        b"same": first[b"same"],
        b"grows": {b"a": file_row(1), b"sub": {b"b": file_row(2), b"c": file_row(3)}},
        b"moved": {b"sub": {b"a": file_row(1)}},
    }
    paths = [b"", b"/same", b"/same/sub", b"/grows", b"/grows/sub", b"/goes", b"/moves/sub", b"/moved/sub"]
    site = Site(path)
    tags: dict[str, str] = {}
    for epoch, tree, state in ((1, first, "live"), (2, first, "degraded"), (3, second, "live")):
        write_elsewhere(path, tree, state, epoch)
        for _ in range(2):  # made, and kept
            for where in paths:
                value: Any = tree
                for name in where.split(b"/")[1:]:
                    value = value.get(name) if value else None
                for depth in (None, 1):
                    target = f"/fs/tree?path={where.decode() or '/'}&max_depth={9 if depth is None else depth}"
                    answer, node = site.ask(target)
                    if value is None:
                        assert answer.status == 404
                        continue
                    shown = "live" if state == "live" else "stale"
                    assert (answer.status, node["state"]) == (200, shown)
                    assert answer.headers.fields["X-Fustor-State"] == shown
                    assert answer.headers.fields["X-Fustor-Generation"] == str(node["generation"])
                    assert node["sources"][0]["state"] == state
                    assert without_extras(node) == expected_node(where, value, depth)
                    assert site.ask(target, answer.etag)[0].status == 304
                    if target in tags:
                        assert site.ask(target, tags[target])[0].status == (304 if tags[target] == answer.etag else 200)
                    tags[target] = answer.etag
    kept = site.stores.views["main"].cache
    assert kept.get(TreeQuery((b"same",), 1).key) is not None
    assert kept.get(TreeQuery((b"moved", b"sub"), 1).key) is not None
    # Another store at the same place: nothing of the old one is given.
    os.rename(path, tmp_path / "aside")
    third: Tree = {b"same": {b"z": file_row(9), b"sub": {}}}
    write_elsewhere(path, third, "live", 1)
    deadline = time.monotonic() + 10
    while site.counters["store_opened"] < 2:  # it is looked for a few times a second
        assert time.monotonic() < deadline
        site.ask("/health")
    assert without_extras(site.ask("/fs/tree?path=/same&max_depth=1")[1]) == expected_node(b"/same", third[b"same"], 1)
    site.stores.close()


def test_long_answers_are_streams_and_the_same(tmp_path: Path) -> None:
    path = str(tmp_path / "store")
    tree: Tree = {b"d%d" % d: {b"f%d" % f: file_row(f) for f in range(150)} for d in range(40)}
    Build(path).write(tree)
    site = Site(path, BodyLimits(whole_bytes=1000, slice_bytes=5000, spool_memory_bytes=2000))
    answer, node = site.ask("/fs/tree")
    assert not isinstance(answer.body, bytes)
    assert without_extras(node) == expected_node(b"", tree)
    site.stores.close()
