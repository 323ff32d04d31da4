"""Configurations from a person at Fusion to the payloads of an agent, and back: real guardians and control actors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.sides import Sides, running, until

#: A probation that ends soon, and patience with a busy machine.
LIMITS = """
[limits.probation]
settle_seconds = 60
probation_seconds = 0.5
[limits.shell]
stop_seconds = 1.0
"""


@pytest.fixture
def sides(tmp_path: Path) -> Iterator[Sides]:
    with running(tmp_path, agent=LIMITS) as both:
        yield both


def test_a_document_is_taken_without_a_restart_and_becomes_good(sides: Sides) -> None:
    pids = sides.agent.pids()
    assert sides.configuration()["outcome"] == ""
    revision = sides.push(sides.document(more=1))
    status = sides.attempted(revision, "good")
    assert (status["desired"], status["running"], status["good"]) == (revision, revision, revision)
    assert sides.agent.pids() == pids
    shown = sides.ask("config", "observer", agent="local").data
    assert (shown["from"], shown["document"]) == ("own", sides.document(more=1))
    assert (shown["revision"]["author"], shown["revision"]["reason"]) == ("deployer", "a test")


def test_what_runs_can_be_read_changed_and_pushed(sides: Sides) -> None:
    text = sides.order("configuration", "local")["data"]["text"]
    assert f'root = "{sides.folder / "root"}"' in text
    assert f'trouble = "{sides.folder}"' in text
    pids = sides.agent.pids()
    # The same configuration changes no payload: it is good at once.
    sides.attempted(sides.push(text), "good")
    assert sides.agent.pids() == pids
    refused = sides.order("configuration", "fusion")
    assert "an agent is accepted" in refused["text"]


def test_what_is_wrong_is_refused_with_its_place_and_not_kept(sides: Sides) -> None:
    def error(document: str, role: str = "deployer") -> str:
        return sides.try_push(document, role=role).error

    assert "c.toml: sources[0].root = 'x': an absolute path" in error('[[sources]]\nname = "a"\nroot = "x"\n')
    assert "c.toml: sources = (missing): it is required" in error("")
    assert "c.toml: agent = {'id': 'x'}: unknown key" in error('sources = []\n[agent]\nid = "x"\n')
    assert "it is not TOML" in error("sources = [")
    # The payload itself is asked too.
    assert "c.toml: limits.scanner.bad = 1: nothing is accepted" in error(sides.document(bad=1))
    assert "role deployer is accepted" in error(sides.document(), "operator")
    assert sides.ask("config-history", agent="local").data == {"revisions": (), "removed": 0}


def test_the_default_holds_where_nothing_else_does_and_unset_leads_back(sides: Sides) -> None:
    default = sides.push(sides.document(all=1), agent="")
    sides.attempted(default, "good")
    own = sides.push(sides.document(own=1))
    sides.attempted(own, "good")
    reply = sides.ask("config-unset", "deployer", agent="local", reason="no more")
    assert reply.ok, reply.error
    assert sides.attempted(default, "good")["running"] == default
    reply = sides.ask("config-unset", "deployer", agent="", reason="no more")
    status = sides.attempted(reply.data["number"], "good")
    assert (status["running"], status["running_digest"]) == (reply.data["number"], "")
    until(lambda: "all" not in json.dumps(sides.payload("local", "scanner.data.0")), "its own file")


def test_an_empty_document_is_a_configuration_and_runs_nothing(sides: Sides) -> None:
    revision = sides.push("sources = []\n")
    sides.attempted(revision, "good")
    until(lambda: sides.agent.pids() == {}, "the end of all payloads")
    sides.attempted(sides.push(sides.document()), "good")
    until(sides.all_running, "everything again")


def test_sources_come_and_go_and_the_others_are_left_alone(sides: Sides) -> None:
    pids = sides.agent.pids()
    more = f'[[sources]]\nname = "more"\nroot = "{sides.folder}"\nscanners = 1\n'
    sides.attempted(sides.push(more + sides.document()), "good")
    after = sides.agent.pids()
    assert set(after) - set(pids) == {"watcher.more", "scanner.more.0"}
    assert {name: pid for name, pid in after.items() if name in pids} == pids
    assert (sides.agent.state / "sources" / "more").is_dir()
    sides.attempted(sides.push(sides.document()), "good")
    until(lambda: sides.agent.pids() == pids, "the end of the source")


def test_a_rollback_is_a_new_revision_with_the_old_content(sides: Sides) -> None:
    first = sides.push(sides.document(a=1))
    sides.attempted(first, "good")
    sides.attempted(sides.push(sides.document(a=2)), "good")
    reply = sides.ask("config-rollback", "deployer", agent="local", revision=str(first), reason="back")
    number = reply.data["number"]
    sides.attempted(number, "good")
    assert sides.ask("config", agent="local").data["document"] == sides.document(a=1)
    reasons = [one["reason"] for one in sides.ask("config-history", agent="local").data["revisions"]]
    assert reasons == [f"back (revision {first})", "a test", "a test"]
    wrong = sides.ask("config-rollback", "deployer", agent="other", revision=str(first), reason="back")
    assert "a revision of agent other is accepted" in wrong.error


def test_without_fusion_it_goes_on_starts_and_converges_when_fusion_is_back(sides: Sides) -> None:
    first = sides.push(sides.document(a=1))
    sides.attempted(first, "good")
    assert sides.agent.stop() == 0
    second = sides.push(sides.document(a=2))
    assert sides.fusion.stop() == 0
    sides.agent.start()
    until(lambda: len(sides.agent.pids()) == 4, "the payloads, without Fusion")
    kept = json.loads((sides.agent.state / "configuration.json").read_text())["content"]
    assert kept["good"][0] == first
    sides.fusion.start()
    sides.attempted(second, "good")


def test_control_actors_may_die_at_any_moment_of_it(sides: Sides) -> None:
    for turn in range(3):
        revision = sides.push(sides.document(turn=turn))
        if turn != 1:
            until(lambda: sides.configuration().get("desired") == revision, "that it was told")  # noqa: B023
        sides.agent.kill_control()
        if turn:
            sides.fusion.kill_control()
        sides.attempted(revision, "good")
    pids = sides.agent.pids()
    sides.agent.kill_control()
    until(sides.all_running, "everything again")
    assert sides.agent.pids() == pids
    assert sides.configuration()["running"] == revision
