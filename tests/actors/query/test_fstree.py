"""fs/tree: every parameter, what is known and what is not, entity tags; against an independent model."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest

from actors.query.body import BodyLimits
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


def test_long_answers_are_streams_and_the_same(tmp_path: Path) -> None:
    path = str(tmp_path / "store")
    tree: Tree = {b"d%d" % d: {b"f%d" % f: file_row(f) for f in range(150)} for d in range(40)}
    Build(path).write(tree)
    site = Site(path, BodyLimits(whole_bytes=1000, slice_bytes=5000, spool_memory_bytes=2000))
    answer, node = site.ask("/fs/tree")
    assert not isinstance(answer.body, bytes)
    assert without_extras(node) == expected_node(b"", tree)
    site.stores.close()
