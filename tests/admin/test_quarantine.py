"""``fustor quarantine list``, and ``fustor release`` with an item."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fustor.admin.quarantine import listing

if TYPE_CHECKING:
    from tests.admin.conftest import FakeFusion

Run = Callable[..., subprocess.CompletedProcess[str]]
CASE = {
    "id": "0123456789",
    "group": "scanner.data",
    "item": "/a\x1b[31m/",
    "state": "quarantined",
    "payload": "scanner.data.1",
    "how": "signal 11 (SIGSEGV)",
    "deaths": 2,
    "since": 1.0,
    "last": 2.0,
}


def order(state: str = "done", **data: Any) -> dict[str, Any]:
    told = {"id": "x", "target": "local", "kind": "quarantine", "payload": "", "state": state, "final": True}
    return {**told, "text": "fine", "data": data}


def test_what_is_quarantined_is_listed(fusion: FakeFusion, run_fustor: Run) -> None:
    fusion.admin |= {"agents": {"agents": [{"agent": "local"}], "next": ""}, "order": order(cases=[CASE])}
    state = ("--state", str(fusion.state.folder))
    told = run_fustor("quarantine", "list", *state)
    assert told.returncode == 0
    assert "0123456789" in told.stdout
    assert "\x1b" not in told.stdout
    found = json.loads(run_fustor("quarantine", "list", "local", "--json", *state).stdout)
    assert found == {"cases": [{"agent": "local", **CASE}], "missing": {}}
    asked = [dict(request.args) for request in fusion.asked if request.op == "order"]
    assert [one["target"] for one in asked] == ["fusion", "local", "local"]
    assert {one["kind"] for one in asked} == {"quarantine"}


def test_nothing_is_said_to_be_nothing(fusion: FakeFusion, run_fustor: Run) -> None:
    fusion.admin |= {"agents": {"agents": [], "next": ""}, "order": order(cases=[])}
    told = run_fustor("quarantine", "list", "--state", str(fusion.state.folder))
    assert (told.returncode, told.stdout) == (0, "nothing is quarantined, and nothing suspected\n")


def test_a_side_that_can_not_be_asked_is_named(fusion: FakeFusion, run_fustor: Run) -> None:
    fusion.admin["order"] = order("expired")
    told = run_fustor("quarantine", "list", "local", "--state", str(fusion.state.folder))
    assert told.returncode == 1
    assert "local: fine" in told.stderr


def test_an_item_is_released_by_its_id(fusion: FakeFusion, run_fustor: Run) -> None:
    fusion.admin["order"] = order(cases=[CASE])
    state = ("--state", str(fusion.state.folder))
    assert run_fustor("release", "local", "0123456789", *state).returncode == 0
    asked = dict(fusion.asked[-1].args)
    asked.pop("id")
    assert asked == {"target": "local", "kind": "release", "payload": "scanner.data.1", "item": "0123456789"}
    assert run_fustor("release", "local", "9876543210", *state).returncode == 4
    assert run_fustor("release", "local/scanner.data.1", "0123456789", *state).returncode == 2


def test_a_row_per_case() -> None:
    table = listing([{"agent": "local", **CASE}])
    assert table.row_count == 1
