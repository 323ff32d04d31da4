"""Rendered trees against an independent model, for every name there can be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fustor.treestore.format import encode_rows
from fustor.treestore.reader import Reader
from fustor.treestore.render import TreeRenderer, json_members, render_row
from fustor.treestore.wire import row_of
from tests.actors.query.model import DIRECTORY, Build, Tree, every_name, expected_node, file_row, link_row, sorted_node


def find(tree: Tree, names: tuple[bytes, ...]) -> Any:
    value: Any = tree
    for name in names:
        value = value[name]
    return value


def render(path: str, names: tuple[bytes, ...] = (), depth: int | None = None, **more: Any) -> Any:
    reader = Reader(path)
    out: list[bytes] = []
    with reader.snapshot() as snapshot:
        found = snapshot.resolve(names)
        renderer = TreeRenderer(b"".join(b"/" + n for n in names[:-1]), max_depth=depth, **more)
        sizes = sum(renderer.feed((d, head, chunks), out) for d, _, head, chunks in snapshot.walk(found.id, depth))
    renderer.end(out)
    reader.close()
    text = b"".join(out)
    assert 0 < sizes <= len(text)
    return sorted_node(json.loads(text.decode("utf-8")))


@pytest.fixture(scope="module")
def odd_store(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Tree]:
    path = str(tmp_path_factory.mktemp("odd") / "store")
    tree = every_name()
    Build(path).write(tree)
    return path, tree


@pytest.mark.parametrize("only_path", [False, True])
@pytest.mark.parametrize("depth", [None, 0, 1, 2, 3])
def test_every_name_is_rendered_as_the_model_has_it(
    odd_store: tuple[str, Tree], depth: int | None, only_path: bool
) -> None:
    path, tree = odd_store
    assert render(path, (), depth, only_path=only_path) == expected_node(b"", tree, depth, only_path=only_path)


def test_every_subtree_too(odd_store: tuple[str, Tree]) -> None:
    path, tree = odd_store
    for name in list(tree[b"below"])[::7]:
        for names in ((b"below", name), (b"below", name, b"sub")):
            expected = expected_node(b"/" + b"/".join(names), find(tree, names))
            assert render(path, names) == expected


def test_directories_not_listed_have_no_children_and_empty_ones_have_none(tmp_path: Path) -> None:
    path = str(tmp_path / "store")
    tree: Tree = {b"empty": {}, b"unlisted": {}, b"full": {b"f": file_row()}}
    Build(path).write(tree, unlisted=frozenset([b"unlisted"]))
    node = render(path)
    assert node == expected_node(b"", tree, unlisted=frozenset([b"unlisted"]))
    assert {child["name"]: child.get("children") for child in node["children"]}["unlisted"] is None
    assert {child["name"]: child.get("children") for child in node["children"]}["empty"] == []


def test_a_directory_of_many_chunks_and_pieces_of_it(tmp_path: Path) -> None:
    path = str(tmp_path / "store")
    tree: Tree = {b"big": {b"f%05d" % n: file_row(n) for n in range(2500)}, b"z": {b"last": file_row()}}
    Build(path).write(tree)
    reader = Reader(path)
    out: list[bytes] = []
    renderer = TreeRenderer(b"")
    with reader.snapshot() as snapshot:
        for depth, _, head, chunks in snapshot.walk(1):
            renderer.feed((depth, head, chunks[:1]), out)
            for chunk in chunks[1:]:
                renderer.feed((depth, b"", [chunk]), out)
    renderer.end(out)
    reader.close()
    assert sorted_node(json.loads(b"".join(out))) == expected_node(b"", tree)


def test_a_deep_tree(tmp_path: Path) -> None:
    path = str(tmp_path / "store")
    tree: Tree = {b"f": file_row()}
    for level in range(400):
        tree = {b"d%d" % level: tree, b"x": file_row()}
    Build(path).write(tree)
    node = render(path)
    depth = 0
    while "children" in node:
        depth += 1
        (node,) = [child for child in node["children"] if child["content_type"] == "directory"] or [{}]
    assert depth == 401


def test_extras_stand_on_the_first_node_only(tmp_path: Path) -> None:
    path = str(tmp_path / "store")
    tree: Tree = {b"d": {b"e": {}}, b"f": file_row()}
    Build(path).write(tree)
    node = render(path, extras=json_members({"view": "main", "sources": ["}"]}))
    assert node.pop("view") == "main"
    assert node.pop("sources") == ["}"]
    assert node == expected_node(b"", tree)
    assert json_members({}) == b""


@pytest.mark.parametrize("parent", [b"", b"/a", b"/\xff", b'/"\x01'])
@pytest.mark.parametrize("name", [b"plain", b"\xff", b'"', b"\x01"])
@pytest.mark.parametrize("only_path", [False, True])
def test_one_row(parent: bytes, name: bytes, only_path: bool) -> None:
    for value in (file_row(), link_row(b"}\xff")):
        row = encode_rows([row_of((name, *value))])
        node = json.loads(render_row(row, parent, b',"known":true', only_path=only_path))
        assert node.pop("known") is True
        assert node == expected_node(parent + b"/" + name, value, only_path=only_path)


def test_the_model_itself_knows_what_a_directory_is() -> None:
    assert expected_node(b"", {b"a": {}})["children"][0]["mode"] == DIRECTORY[0]
