"""Questions and answers on real stores: every parameter, every state, every refusal."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import trio

from actors.query.answer import Answer
from actors.query.api import Api
from actors.query.body import BodyLimits
from actors.query.stores import Stores
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

TREE: Tree = {
    b"docs": {b"a.txt": file_row(5), b"b.log": file_row(7), b"sub": {b"c.txt": file_row(9)}},
    b"empty": {},
    b"closed": {},
    b"link": link_row(b"docs"),
    b"top.txt": file_row(1),
}


class Site:
    """An Api over one store, and what it answers, read whole."""

    def __init__(self, path: str, limits: BodyLimits | None = None) -> None:
        self.counters: dict[str, int] = {}
        self.stores = Stores(
            {"main": path, "other": path + "-none"}, "main", 60.0, self.counters, logging.getLogger("t")
        )
        self.api = Api(self.stores, limits or BodyLimits(), 1000, 100)

    def ask(self, target: str, match: str = "") -> tuple[Answer, Any]:
        answer = self.api.ask_target(target.encode(), match)
        if isinstance(answer.body, bytes):
            return answer, json.loads(answer.body) if answer.body else None
        pieces: list[bytes] = []

        async def main() -> None:
            async def send(data: bytes) -> None:
                pieces.append(data)
                await trio.lowlevel.checkpoint()

            assert not isinstance(answer.body, bytes)
            await answer.body.write(send)

        trio.run(main)
        answer.close()
        return answer, json.loads(b"".join(pieces))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    path = str(tmp_path / "store")
    Build(path).write(TREE, unlisted=frozenset([b"closed"]))
    found = Site(path)
    yield found
    found.stores.close()


UNLISTED = frozenset([b"closed"])


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


def test_the_predecessors_address_gives_the_same(site: Site) -> None:
    _, ours = site.ask("/fs/tree?path=/docs&view=main")
    _, theirs = site.ask("/api/v1/views/main/tree?path=/docs&on_demand_scan=false")
    assert without_extras(ours) == without_extras(theirs)


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


@pytest.mark.parametrize(
    ("target", "field"),
    [
        ("/fs/tree?path=x", "path"),
        ("/fs/tree?path=/..", "path"),
        ("/fs/tree?path=/%00", "path"),
        ("/fs/tree?max_depth=-1", "max_depth"),
        ("/fs/tree?recursive=maybe", "recursive"),
        ("/api/v1/views/main/search", "pattern"),
        ("/api/v1/views/main/search?pattern=a&limit=1001", "limit"),
        ("/api/v1/views/main/search?pattern=[z-a]", "pattern"),
    ],
)
def test_bad_parameters_are_400_and_named(site: Site, target: str, field: str) -> None:
    answer, body = site.ask(target)
    assert answer.status == 400
    assert body["field"] == field
    assert set(body) == {"error", "field", "value", "accepted"}


def test_unknown_views_and_endpoints_are_404_with_what_there_is(site: Site) -> None:
    for target in ("/fs/tree?view=nope", "/api/v1/views/nope/tree"):
        answer, body = site.ask(target)
        assert (answer.status, body["accepted"]) == (404, ["main", "other"])
    for target in ("/nope", "/fs/tree/", "/api/v1/views/main/jobs", "/api/v1/views/main/tree/x"):
        answer, body = site.ask(target)
        assert answer.status == 404
        assert "/fs/tree" in body["accepted"]


def test_a_view_without_a_store_answers_all_the_same(site: Site) -> None:
    answer, node = site.ask("/fs/tree?view=other")
    assert answer.status == 200
    assert (node["state"], node["known"], node["complete"], node["sources"]) == ("empty", False, False, [])
    assert (node["content_type"], node["path"], node["age"], node["as_of"]) == ("directory", "/", None, None)
    assert "children" not in node
    assert site.ask("/fs/tree?view=other&path=/x")[1]["known"] is False
    assert site.ask("/api/v1/views/other/search?pattern=a")[1] == []
    assert site.ask("/api/v1/views/other/stats")[1]["item_count"] == 0
    assert site.ask("/health")[1] == {"status": "ok", "views": {"main": "live", "other": "empty"}}


def test_stats(site: Site) -> None:
    _, body = site.ask("/api/v1/views/main/stats")
    assert (body["item_count"], body["total_files"], body["total_directories"], body["total_size"]) == (9, 5, 4, 26)
    assert body["state"] == "live"
    assert body["has_blind_spot"] is False
    assert set(body) >= {"latency_ms", "staleness_seconds", "oldest_item_path", "suspect_file_count", "logical_now"}


def test_the_index_names_the_endpoints(site: Site) -> None:
    _, body = site.ask("/")
    assert {"/fs/tree", "/api/v1/views/main/search", "/health"} <= set(body["endpoints"])


def test_long_answers_are_streams_and_the_same(tmp_path: Path) -> None:
    path = str(tmp_path / "store")
    tree: Tree = {b"d%d" % d: {b"f%d" % f: file_row(f) for f in range(150)} for d in range(40)}
    Build(path).write(tree)
    site = Site(path, BodyLimits(whole_bytes=1000, slice_bytes=5000, spool_memory_bytes=2000))
    answer, node = site.ask("/fs/tree")
    assert not isinstance(answer.body, bytes)
    assert without_extras(node) == expected_node(b"", tree)
    site.stores.close()


def test_states_and_reasons_of_real_stores(tmp_path: Path) -> None:
    path = str(tmp_path / "store")
    Build(path).write(TREE, state="degraded", complete=False, reasons=("12 directories unwatched",))
    site = Site(path)
    _, node = site.ask("/fs/tree?max_depth=0")
    assert (node["state"], node["complete"], node["sources"][0]["state"]) == ("stale", False, "degraded")
    assert node["sources"][0]["reasons"] == ["12 directories unwatched"]
    site.stores.close()
    path = str(tmp_path / "old")
    Build(path).write(TREE, clock=lambda: 1)
    site = Site(path)
    _, node = site.ask("/fs/tree?max_depth=0")
    assert (node["state"], node["sources"][0]["state"], node["complete"]) == ("stale", "stale", False)
    assert node["age"] > 60
    site.stores.close()


def test_a_source_never_heard_is_empty(tmp_path: Path) -> None:
    path = str(tmp_path / "store")
    Build(path).write(None, state=None)
    site = Site(path)
    answer, node = site.ask("/fs/tree")
    assert answer.status == 200
    assert node["state"] == "empty"
    assert site.ask("/fs/tree?path=/x")[1]["known"] is False
    site.stores.close()
