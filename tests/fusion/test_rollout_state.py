"""The file of a rollout: what is written is what is read, and nothing else is taken for one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fustor.fusion.rollout_state import Current, Purpose, content_of, load
from fustor.runtime.durable import write_json
from protocols.rollout import Member, Phase, Rollout, RolloutPolicy, Standing


def current() -> Current:
    members = {
        "a": Member(Standing.GOOD, 7, 3),
        "b": Member(Standing.TRYING, 8),
        "c": Member(Standing.ASKED),
        "d": Member(Standing.FAILED, 9, 0, "failed: hang"),
    }
    rollout = Rollout(RolloutPolicy(canary=2, share=0.5, failures=1), True, members, Phase.PAUSED, "why", 1, 2)
    return Current(Purpose("12ab34cd", "f" * 64, "a test", "ann", "deployer", "2026-11-28T12:00:00Z"), rollout)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = str(tmp_path / "rollout.json")
    assert load(path, 0.0) is None
    write_json(path, content_of(current()))
    found = load(path, 5.0)
    assert found is not None
    assert found.purpose == current().purpose
    rollout, before = found.rollout, current().rollout
    assert (rollout.policy, rollout.everyone, rollout.phase, rollout.text) == (before.policy, True, Phase.PAUSED, "why")
    assert (rollout.borne, rollout.wave) == (1, 2)
    standings = {name: (m.standing, m.revision, m.before, m.text) for name, m in rollout.members.items()}
    assert standings == {
        "a": (Standing.GOOD, 7, 3, ""),
        "b": (Standing.TRYING, 8, 0, ""),
        "c": (Standing.WAITING, 0, 0, ""),  # it is asked again
        "d": (Standing.FAILED, 9, 0, "failed: hang"),
    }
    assert not rollout.served, "nobody was looked at yet"


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"members": {"a": ["lost", 1, 0, ""]}},
        {"members": {"a": ["good", "x", 0, ""]}},
        {"members": []},
        {"policy": {"canary": 0}},
        {"policy": {"colour": 1}},
        {"phase": "over"},
        {"purpose": {}},
        {"wave": None},
    ],
)
def test_anything_else_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "rollout.json"
    path.write_text(json.dumps({**content_of(current()), **change}))
    with pytest.raises(ValueError, match=r"accepted|not a rollout|not a valid|invalid literal"):
        load(str(path), 0.0)


def test_a_file_that_is_no_object_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rollout.json"
    path.write_text("[]")
    with pytest.raises(ValueError, match="not a rollout"):
        load(str(path), 0.0)
