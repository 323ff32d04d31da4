"""Giving an order and following it, against a Fusion that the test plays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fustor.admin.client import Client
from fustor.admin.exits import NotFoundError
from fustor.admin.ordering import give, report, target_of
from protocols.errors import MachineError, RequestError

if TYPE_CHECKING:
    from tests.admin.conftest import FakeFusion


def state(name: str, text: str = "", **more: Any) -> dict[str, Any]:
    final = name in ("done", "failed", "refused", "expired", "unknown")
    order = {"id": "x", "target": "local", "kind": "restart", "payload": "watcher.data", "data": {}}
    return {**order, "state": name, "final": final, "text": text, **more}


def test_targets() -> None:
    assert target_of("fusion/view.main") == ("fusion", "view.main")
    for wrong in ("view.main", "/x", "a/", "a/b/c", ""):
        with pytest.raises(RequestError, match="AGENT/PAYLOAD is accepted"):
            target_of(wrong)


def test_followed_to_its_outcome(fusion: FakeFusion, capsys: pytest.CaptureFixture[str]) -> None:
    fusion.admin |= {"order": state("waiting"), "order-state": state("done", "pid 1 ended")}
    with Client(fusion.state) as client:
        order = give(client, "local", "restart", "watcher.data", ttl=5.0)
    assert order["state"] == "done"
    first, second = fusion.asked
    assert first.args["ttl"] == "5.0"
    assert second.args == {"id": first.args["id"]}
    assert "restart local/watcher.data: waiting" in capsys.readouterr().err
    report(order, as_json=False)
    assert capsys.readouterr().out == "restart local/watcher.data: done: pid 1 ended\n"


@pytest.mark.parametrize(
    ("outcome", "error"),
    [
        (state("refused", "denied on this host"), RequestError),
        (state("failed", "payload = 'watcher.x': one of watcher.data is accepted"), NotFoundError),
        (state("failed", "not done within 60 s"), MachineError),
        (state("expired"), MachineError),
        (state("unknown"), MachineError),
    ],
)
def test_every_other_outcome_is_an_error(outcome: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=r"restart local/watcher\.data"):
        report(outcome, as_json=False)
