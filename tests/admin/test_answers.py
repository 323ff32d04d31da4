"""Answers of fs/tree: checked, decoded, or passed on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from fustor.admin.answers import ask_tree, decoded, streamed
from fustor.admin.client import Client
from fustor.admin.exits import NotFoundError
from protocols.errors import MachineError, RequestError

if TYPE_CHECKING:
    from tests.admin.conftest import FakeFusion


def test_a_node_in_parts_is_decoded(fusion: FakeFusion) -> None:
    fusion.tree = lambda request: (200, {}, [b'{"path": ', b'"/"}'])
    with Client(fusion.state) as client:
        assert decoded(ask_tree(client, "/", "", {})) == {"path": "/"}


def test_a_path_of_any_bytes_is_asked_for(fusion: FakeFusion) -> None:
    fusion.tree = lambda request: (200, {}, [b"{}"])
    with Client(fusion.state) as client:
        ask_tree(client, "/a\udcff", "v", {"max_depth": "0"})
    assert (fusion.asked[0].path, fusion.asked[0].view) == (b"/a\xff", "v")


@pytest.mark.parametrize(
    ("status", "error"), [(404, NotFoundError), (400, RequestError), (503, MachineError)], ids=["404", "400", "503"]
)
def test_a_refusal_keeps_its_reason(fusion: FakeFusion, status: int, error: type[Exception]) -> None:
    body = json.dumps({"error": "there is no such path"}).encode()
    fusion.tree = lambda request: (status, {}, [body])
    with Client(fusion.state) as client, pytest.raises(error, match="there is no such path"):
        ask_tree(client, "/a/b", "", {})


def test_a_relative_path_is_refused_here(fusion: FakeFusion) -> None:
    with Client(fusion.state) as client, pytest.raises(RequestError, match="PATH = 'a': an absolute path"):
        ask_tree(client, "a", "", {})


def test_an_answer_that_is_no_node(fusion: FakeFusion) -> None:
    fusion.tree = lambda request: (200, {}, [b"[]"])
    with Client(fusion.state) as client, pytest.raises(MachineError, match="no node"):
        decoded(ask_tree(client, "/", "", {}))


def test_streamed_is_passed_on_as_it_came(fusion: FakeFusion, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    fusion.tree = lambda request: (200, {}, [b'{"path":', b' "/"}'])
    with Client(fusion.state) as client:
        streamed(ask_tree(client, "/", "", {}))
    assert capfdbinary.readouterr().out == b'{"path": "/"}\n'
