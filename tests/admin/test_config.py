"""``fustor config``: what it asks of Fusion, prints, and exits with. The real thing: tests/fusion/test_desired.py."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from protocols.errors import RequestError

if TYPE_CHECKING:
    from tests.admin.conftest import FakeFusion

Run = Callable[..., subprocess.CompletedProcess[str]]

REVISION = {
    "number": 7,
    "agent": "local",
    "digest": "abcdef0123456789",
    "unset": False,
    "author": "ann",
    "role": "deployer",
    "reason": "why",
    "at": "2026-11-24T12:00:00.000Z",
}


def status(attempted: int, outcome: str, error: str = "") -> dict[str, Any]:
    return {
        "desired": 7,
        "desired_digest": "abcdef01",
        "attempted": attempted,
        "attempted_digest": "abcdef01",
        "outcome": outcome,
        "error": error,
        "tries": 1,
        "running": 6,
        "running_digest": "aa",
        "good": 6,
        "good_digest": "aa",
    }


def shown(outcome: str = "good", error: str = "", link: str = "online") -> dict[str, Any]:
    return {
        "agent": "local",
        "from": "own",
        "revision": REVISION,
        "document": "sources = []\n",
        "link": link,
        "status": status(7, outcome, error),
        "agents": {},
    }


@pytest.fixture
def document(tmp_path: Path) -> Path:
    path = tmp_path / "c.toml"
    path.write_text("sources = []\n")
    return path


def test_show_prints_the_document_and_the_three_facts(fusion: FakeFusion, run_fustor: Run) -> None:
    fusion.admin["config"] = shown("failed", "scanner.data.0: hang")
    state = ("--state", str(fusion.state.folder))
    told = run_fustor("config", "show", "local", *state)
    assert (told.returncode, told.stdout) == (0, "sources = []\n")
    for line in ("revision 7", "by ann (deployer)", "attempted revision 7", "failed: scanner.data.0: hang"):
        assert line in told.stderr
    assert "running   revision 6" in told.stderr
    assert fusion.asked[0].args == {"agent": "local", "revision": "0"}
    assert json.loads(run_fustor("config", "show", "local", "--json", *state).stdout)["document"] == "sources = []\n"
    fusion.admin["config"] = {
        **shown(),
        "agent": "",
        "from": "none",
        "revision": None,
        "document": None,
        "status": None,
    }
    told = run_fustor("config", "show", "--default", *state)
    assert (told.returncode, told.stdout) == (0, "")
    assert "nobody has pushed anything" in told.stderr


def test_show_what_runs_asks_the_agent(fusion: FakeFusion, run_fustor: Run) -> None:
    done = {"id": "x", "target": "local", "kind": "configuration", "payload": "", "state": "done", "final": True}
    fusion.admin["order"] = {**done, "text": "", "data": {"text": "sources = []\n"}}
    state = ("--state", str(fusion.state.folder))
    told = run_fustor("config", "show", "local", "--running", *state)
    assert (told.returncode, told.stdout) == (0, "sources = []\n")
    assert run_fustor("config", "show", "--default", "--running", *state).returncode == 2


def test_push_follows_until_the_agent_says_running(fusion: FakeFusion, run_fustor: Run, document: Path) -> None:
    fusion.admin |= {"config-push": REVISION, "config": shown("running")}
    state = ("--state", str(fusion.state.folder))
    told = run_fustor("config", "push", "local", str(document), "--reason", "better", *state)
    assert told.returncode == 0, told.stderr
    assert "kept as revision 7" in told.stderr
    assert "local: running" in told.stderr
    assert fusion.asked[0].args == {
        "agent": "local",
        "document": "sources = []\n",
        "reason": "better",
        "file": str(document),
    }
    told = run_fustor("config", "push", "local", str(document), "-r", "better", "--json", *state)
    assert json.loads(told.stdout) == {"revision": REVISION, "agents": {"local": "running"}}


@pytest.mark.parametrize("outcome", ["refused", "failed"])
def test_push_fails_when_the_agent_could_not_take_it(
    fusion: FakeFusion, run_fustor: Run, document: Path, outcome: str
) -> None:
    fusion.admin |= {"config-push": REVISION, "config": shown(outcome, "scanner.data.0: no")}
    told = run_fustor("config", "push", "local", str(document), "-r", "x", "--state", str(fusion.state.folder))
    assert told.returncode == 1
    assert f"local: {outcome}: scanner.data.0: no" in told.stderr


def test_push_does_not_wait_for_who_is_away(fusion: FakeFusion, run_fustor: Run, document: Path) -> None:
    fusion.admin |= {"config-push": REVISION, "config": shown("good", link="lost")}
    told = run_fustor("config", "push", "local", str(document), "-r", "x", "--state", str(fusion.state.folder))
    assert told.returncode == 0
    assert "away: it takes it when it is back" in told.stderr


def test_push_gives_up_waiting(fusion: FakeFusion, run_fustor: Run, document: Path) -> None:
    fusion.admin |= {"config-push": REVISION, "config": {**shown(), "status": status(6, "good")}}
    state = ("--state", str(fusion.state.folder))
    told = run_fustor("config", "push", "local", str(document), "-r", "x", "--wait", "0.1", *state)
    assert told.returncode == 1
    assert "not taken within 0.1 s by local" in told.stderr


def test_a_default_is_followed_at_every_agent(fusion: FakeFusion, run_fustor: Run, document: Path) -> None:
    agents = {
        "a": {"link": "online", "status": status(7, "good")},
        "b": {"link": "online", "status": status(7, "refused", "no")},
    }
    fusion.admin |= {"config-push": {**REVISION, "agent": ""}, "config": {**shown(), "agent": "", "agents": agents}}
    state = ("--state", str(fusion.state.folder))
    told = run_fustor("config", "push", "--default", str(document), "-r", "x", *state)
    assert told.returncode == 1
    assert "a: good" in told.stderr
    assert "b: refused: no" in told.stderr


def test_what_fusion_refuses_is_a_wrong_command(fusion: FakeFusion, run_fustor: Run, document: Path) -> None:
    fusion.admin["config-push"] = RequestError("", "c.toml", "c.toml: sources[0].root = 'x': an absolute path")
    state = ("--state", str(fusion.state.folder))
    told = run_fustor("config", "push", "local", str(document), "-r", "x", *state)
    assert told.returncode == 2
    assert "sources[0].root = 'x'" in told.stderr
    for wrong in (
        ("push", "local", "-r", "x"),
        ("push", "local", "/nowhere", "-r", "x"),
        ("show",),
        ("show", "local", "--default"),
    ):
        assert run_fustor("config", *wrong, *state).returncode == 2, wrong
    assert run_fustor("config", "push", "local", str(document), *state).returncode == 2  # no reason


def test_rollback_finds_whose_it_is(fusion: FakeFusion, run_fustor: Run) -> None:
    fusion.admin |= {"config-owner": {"agent": "local"}, "config-rollback": REVISION, "config": shown()}
    told = run_fustor("config", "rollback", "3", "-r", "back", "--state", str(fusion.state.folder))
    assert told.returncode == 0, told.stderr
    assert fusion.asked[1].args == {"agent": "local", "revision": "3", "reason": "back"}


def test_unset_is_followed_to_what_is_left(fusion: FakeFusion, run_fustor: Run) -> None:
    fusion.admin |= {"config-unset": {**REVISION, "number": 9, "unset": True, "digest": ""}, "config": shown()}
    told = run_fustor("config", "unset", "local", "-r", "x", "--state", str(fusion.state.folder))
    assert told.returncode == 0, told.stderr
    assert "kept as revision 9, digest (unset)" in told.stderr
    assert "local: good" in told.stderr


def test_history_and_diff(fusion: FakeFusion, run_fustor: Run, document: Path) -> None:
    revisions = [REVISION, {**REVISION, "number": 5, "reason": "first"}]
    fusion.admin |= {"config-history": {"revisions": revisions, "removed": 4}, "config": shown()}
    state = ("--state", str(fusion.state.folder))
    told = run_fustor("config", "history", "local", *state)
    assert [line.split()[0] for line in told.stdout.splitlines()] == ["revision", "7", "5"]
    assert "4 older ones are gone" in told.stderr
    assert run_fustor("config", "diff", "local", *state).stdout == ""
    asked = [one.args for one in fusion.asked if one.op == "config"]
    assert [one["revision"] for one in asked] == ["5", "7"]
    document.write_text("sources = [ ]\n")
    told = run_fustor("config", "diff", "local", "--file", str(document), *state)
    assert told.stdout.splitlines()[-2:] == ["-sources = []", "+sources = [ ]"]
    told = run_fustor("config", "diff", "local", "--json", "--file", str(document), *state)
    assert json.loads(told.stdout)["from"] == 7
    fusion.admin["config-history"] = {"revisions": [], "removed": 0}
    assert run_fustor("config", "diff", "local", *state).returncode == 2
