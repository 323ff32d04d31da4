"""``fustor events`` and ``fustor audit``."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fustor.admin.events import audit_line, event_line
from fustor.runtime.audit import Audit

if TYPE_CHECKING:
    from tests.admin.conftest import FakeFusion

Run = Callable[..., subprocess.CompletedProcess[str]]

EVENT: dict[str, Any] = {
    "number": 1,
    "side": "local",
    "at_ns": 10**18,
    "payload": "watcher.data",
    "kind": "hang",
    "text": "silent\x1b[2J",
    "evidence": "",
    "evidence_characters": 9,
}
ENTRY = {"n": 3, "at": "T", "by": "ann", "role": "operator", "kind": "kill", "target": "local", "payload": "w"}


def test_lines_for_people_obey_no_terminal() -> None:
    line = event_line(EVENT)
    assert "local/watcher.data hang: silent\\x1b[2J  [9 characters of evidence]" in line
    assert event_line({**EVENT, "payload": "", "evidence": "a\nb\x07"}).splitlines()[1:] == ["    a", "    b\\x07"]
    assert audit_line({**ENTRY, "state": "done", "text": "fine"}) == "3 T ann (operator) kill local/w: done: fine"
    assert audit_line({**ENTRY, "entry": "denied", "payload": ""}).endswith("kill local: denied")


def test_all_there_is_is_shown_once(fusion: FakeFusion, run_fustor: Run) -> None:
    state = ("--state", str(fusion.state.folder))
    fusion.admin["events"] = {"events": [], "next": 0, "lost": True}
    assert run_fustor("events", "local", "--evidence", *state).stdout == ""
    assert fusion.asked[0].args == {"after": "0", "side": "local", "evidence": "yes"}
    fusion.admin["audit"] = {"entries": [], "next": 0}
    assert run_fustor("audit", "--json", *state).returncode == 0


def test_the_chains_on_this_host_are_verified(fusion: FakeFusion, run_fustor: Run) -> None:
    state = ("--state", str(fusion.state.folder))
    assert run_fustor("audit", "--verify", *state).returncode == 4
    path = fusion.state.fusion.folder / "audit" / "audit.jsonl"
    audit = Audit(str(path))
    audit.append({"by": "ann"})
    audit.close()
    assert run_fustor("audit", "--verify", *state).stdout == "fusion: 1 entries, whole\n"
    path.write_text(path.read_text().replace("ann", "eve"))
    told = run_fustor("audit", "--verify", "--json", *state)
    assert told.returncode == 1
    assert "it was changed" in json.loads(told.stdout)["fusion"]["fault"]
