"""``fustor view reset``: what it asks of Fusion."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.admin.conftest import FakeFusion

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.parametrize(
    ("arguments", "payload", "more"),
    [
        ((), "view.main", {}),
        (("other",), "view.other", {}),
        (("other", "--cancel", "--ttl", "5"), "view.other", {"cancel": "yes", "ttl": "5.0"}),
    ],
)
def test_it_is_an_order_to_the_view(
    fusion: FakeFusion, run_fustor: Run, arguments: tuple[str, ...], payload: str, more: dict[str, str]
) -> None:
    order = {"id": "x", "target": "fusion", "kind": "reset", "payload": payload, "state": "done", "final": True}
    fusion.admin["order"] = {**order, "text": "fine", "data": {}}
    told = run_fustor("view", "reset", *arguments, "--state", str(fusion.state.folder))
    assert (told.returncode, told.stdout) == (0, f"reset fusion/{payload}: done: fine\n"), told.stderr
    asked = dict(fusion.asked[0].args)
    asked.pop("id")
    assert asked == {"target": "fusion", "kind": "reset", "payload": payload, **more}
