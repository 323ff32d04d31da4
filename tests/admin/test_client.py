"""The client against real CURVE sockets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import zmq

from fustor.admin import client as module
from fustor.admin.client import Client
from fustor.admin.exits import NotRunningError
from fustor.admin.state import State
from fustor.runtime.keys import KeyPair, write_public
from protocols.errors import MachineError, RequestError

if TYPE_CHECKING:
    from tests.admin.conftest import FakeFusion


def test_a_question_is_answered(fusion: FakeFusion) -> None:
    fusion.admin["ping"] = {"pong": 1}
    fusion.stray = True
    with Client(fusion.state) as client:
        assert client.admin("ping", key="value") == {"pong": 1}
        assert client.admin("ping") == {"pong": 1}
    assert [(request.op, request.args) for request in fusion.asked] == [("ping", {"key": "value"}), ("ping", {})]


def test_pages_are_joined(fusion: FakeFusion) -> None:
    pages = {"": (["a", "b"], "b"), "b": (["c"], "c"), "c": ([], "")}
    fusion.admin["agents"] = lambda after="": dict(zip(("agents", "next"), pages[after], strict=True))
    with Client(fusion.state) as client:
        assert client.every("agents", "agents") == ["a", "b", "c"]


def test_a_refusal_is_passed_on(fusion: FakeFusion) -> None:
    fusion.admin["fly"] = ValueError("fly: no such operation; accepted: ping")
    with Client(fusion.state) as client, pytest.raises(RequestError, match="accepted: ping"):
        client.admin("fly")


def test_silence_has_an_end_and_says_where_to_look(fusion: FakeFusion) -> None:
    with Client(fusion.state, 0.2) as client, pytest.raises(MachineError, match=r"did not answer within 0\.2 s.*log"):
        client.admin("ping")


def test_what_changes_nothing_is_asked_again(fusion: FakeFusion, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AGAIN_SECONDS", 0.1)
    fusion.admin["ping"] = {"pong": 1}
    fusion.lost = 2
    with Client(fusion.state) as client:
        assert client.look("ping") == {"pong": 1}
    assert len(fusion.asked) >= 3


def test_that_has_an_end_too(fusion: FakeFusion, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AGAIN_SECONDS", 0.05)
    with Client(fusion.state, 0.2) as client, pytest.raises(MachineError, match="did not answer"):
        client.look("ping")


def test_parts_are_joined_in_order(fusion: FakeFusion) -> None:
    fusion.tree = lambda request: (200, {"X-Fustor-State": "live"}, [b"one", b"two", b"three"])
    with Client(fusion.state) as client:
        answer = client.tree("tree", b"/a\xff", "main", {"max_depth": "1"})
        assert (answer.status, dict(answer.headers)) == (200, {"X-Fustor-State": "live"})
        assert list(answer.parts) == [b"one", b"two", b"three"]
    request = fusion.asked[0]
    assert (request.op, request.path, request.view, request.params) == ("tree", b"/a\xff", "main", {"max_depth": "1"})


def test_a_lost_part_is_no_answer(fusion: FakeFusion) -> None:
    fusion.tree = lambda request: (200, {}, [b"one", b"two", b"three"])
    fusion.lose = 1
    with Client(fusion.state) as client, pytest.raises(MachineError, match="part 1 of the answer was lost"):
        list(client.tree("tree", b"/").parts)


def test_the_next_worker_answers_for_a_silent_one(fusion: FakeFusion) -> None:
    fusion.tree = lambda request: (200, {}, [b"here"])
    fusion.silent_workers = {0}
    with Client(fusion.state, 0.3) as client:
        assert list(client.tree("tree", b"/").parts) == [b"here"]
    fusion.silent_workers = {0, 1}
    with Client(fusion.state, 0.3) as client, pytest.raises(MachineError, match="did not answer"):
        client.tree("tree", b"/")


def test_who_is_not_fusion_gets_no_question(fusion: FakeFusion) -> None:
    fusion.admin["ping"] = "pong"
    public, _ = zmq.curve_keypair()
    other = KeyPair(name="fusion", role="fusion", public=public.decode())
    write_public(str(fusion.state.fusion.keys / "fusion.pub"), other)
    with Client(fusion.state, 0.3) as client, pytest.raises(MachineError, match="did not answer"):
        client.admin("ping")
    assert fusion.asked == []


def test_nothing_runs(tmp_path: Path) -> None:
    with pytest.raises(NotRunningError, match="fustor up DIR"):
        Client(State(tmp_path))
