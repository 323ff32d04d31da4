"""Rollouts of a program to many agents: Fusion as shipped, and agents that say what the test wants said."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fustor.runtime.keys import KeyPair, load_or_create
from tests.support.bundles import bundle_in, small
from tests.support.fleet import Fleet, fleet
from tests.support.sides import Sides, until

DIGEST = bundle_in(small()).digest
NAMES = [f"a{number}" for number in range(6)]


@pytest.fixture
def sides(tmp_path: Path) -> Iterator[Sides]:
    both = Sides(tmp_path)
    both.fusion.start()
    content = small()
    data = base64.b64encode(content).decode()
    args = {"digest": DIGEST, "offset": "0", "total": str(len(content)), "data": data}
    reply = both.ask_within(30, "bundle-put", "deployer", args)
    assert reply.ok, reply.error
    yield both
    both.close()


@pytest.fixture
def bad() -> set[str]:
    """Agents with which the program fails."""
    return set()


@pytest.fixture
def herd(sides: Sides, bad: set[str]) -> Iterator[Fleet]:
    def verdict(name: str, bundle: str) -> str:
        return "failed" if bundle and name in bad else "good"

    with fleet(sides.control_endpoint, sides.curve, verdict) as made:
        yield made


def pairs(sides: Sides, *names: str) -> list[KeyPair]:
    """Agents that are let in."""
    found = [load_or_create(str(sides.folder / f"{name}.key"), name, "agent") for name in names]
    for pair in found:
        sides.authorize(pair)
    return found


def come(sides: Sides, herd: Fleet, *names: str) -> None:
    herd.come(pairs(sides, *names))
    until(lambda: set(names) <= online(sides), f"{names} online")


def online(sides: Sides) -> set[str]:
    return {one["agent"] for one in sides.ask("agents").data["agents"] if one["link"] == "online"}


def start(sides: Sides, **args: str) -> None:
    reply = sides.ask_within(30, "rollout-start", "deployer", {"bundle": DIGEST, "reason": "a test", **args})
    assert reply.ok, reply.error


def change(sides: Sides, what: str) -> Any:
    reply = sides.ask_within(60, f"rollout-{what}", "deployer", {"reason": "a test"})
    assert reply.ok, reply.error
    return reply.data


def standing(sides: Sides) -> dict[str, str]:
    return {one["agent"]: one["standing"] for one in sides.ask("rollout").data["agents"]}


def rollout(sides: Sides) -> dict[str, Any]:
    found: dict[str, Any] = sides.ask("rollout").data["rollout"]
    return found


def served(sides: Sides, **counts: int) -> None:
    def looked() -> bool:
        found = rollout(sides)
        return bool(found["served"]) and {k: v for k, v in found["counts"].items() if v} == counts

    until(looked, f"{counts}")


def test_everyone_gets_it_a_canary_first(sides: Sides, herd: Fleet) -> None:
    come(sides, herd, *NAMES)
    start(sides, share="0.5")
    served(sides, good=6)
    found = rollout(sides)
    assert (found["wave"], found["phase"], found["by"]) == (3, "running", "deployer")
    assert {agent.side.software.bundle for agent in herd.agents.values()} == {DIGEST}
    events = [one["text"] for one in sides.events("fusion") if one["kind"] == "rollout"]
    assert events == ["rollout: wave 1: a0", "rollout: wave 2: a1, a2, a3", "rollout: wave 3: a4, a5"]
    reasons = [one["reason"] for one in sides.ask("config-history", agent="a3").data["revisions"]]
    assert reasons == [f"rollout {found['id']}: a test"]


def test_one_failure_too_many_pauses_it_and_a_person_may_go_on(sides: Sides, herd: Fleet, bad: set[str]) -> None:
    come(sides, herd, *NAMES)
    bad.add("a0")
    start(sides)
    until(lambda: rollout(sides)["phase"] == "paused", "the pause")
    assert "1 failed, 0 are borne: a0" in rollout(sides)["text"]
    assert standing(sides) == {"a0": "failed", **dict.fromkeys(NAMES[1:], "waiting")}
    assert [agent.taken for name, agent in herd.agents.items() if name != "a0"] == [[]] * 5
    change(sides, "resume")
    served(sides, good=5, failed=1)


def test_failures_may_be_borne(sides: Sides, herd: Fleet, bad: set[str]) -> None:
    come(sides, herd, *NAMES)
    bad.add("a0")
    start(sides, failures="1")
    served(sides, good=5, failed=1)


def test_who_is_away_and_who_is_new_are_served_when_they_come(sides: Sides, herd: Fleet) -> None:
    come(sides, herd, "a0", "a1")
    herd.go("a1")
    until(lambda: "a1" not in online(sides), "a1 away")
    start(sides)
    served(sides, good=1, waiting=1)
    come(sides, herd, "a1", "new")
    served(sides, good=3)
    assert herd.agents["new"].taken == [DIGEST]


def test_named_ones_only(sides: Sides, herd: Fleet) -> None:
    come(sides, herd, "a0", "a1", "a2")
    start(sides, agents="a1,a2")
    served(sides, good=2)
    assert herd.agents["a0"].taken == []


def test_paused_and_aborted_by_people(sides: Sides, herd: Fleet) -> None:
    come(sides, herd, "a0")
    pairs(sides, "later")
    start(sides)
    served(sides, good=1)
    change(sides, "pause")
    come(sides, herd, "later")
    until(lambda: standing(sides) == {"a0": "good", "later": "waiting"}, "the newcomer")
    change(sides, "abort")
    refused = sides.ask("rollout-resume", "deployer", reason="a test")
    assert "one that is paused is accepted" in refused.error
    assert herd.agents["later"].taken == []


def test_all_of_it_is_taken_back_to_what_was_desired_before(sides: Sides, herd: Fleet) -> None:
    come(sides, herd, "a0", "a1", "a2")
    own = sides.push("sources = []\n[limits.scanner]\n", agent="a1")
    until(lambda: herd.agents["a1"].status.attempted == own, "its own document")
    start(sides, agents="a0,a1")
    served(sides, good=2)
    done = change(sides, "rollback")
    assert (set(done["agents"]), done["failed"]) == ({"a0", "a1"}, {})
    until(lambda: all(agent.side.software.bundle == "" for agent in herd.agents.values()), "the program before")
    assert rollout(sides)["phase"] == "aborted"
    assert sides.ask("config", agent="a0").data["from"] == "file"
    shown = sides.ask("config", agent="a1").data
    assert shown["document"] == "sources = []\n[limits.scanner]\n"
    assert herd.agents["a2"].taken == []


def test_back_means_what_was_good_and_not_what_failed_last(sides: Sides, herd: Fleet, bad: set[str]) -> None:
    come(sides, herd, "a0")
    own = sides.push("sources = []\n[limits.scanner]\n", agent="a0")
    until(lambda: herd.agents["a0"].status.good == own, "its own document")
    bad.add("a0")
    start(sides)
    until(lambda: standing(sides) == {"a0": "failed"}, "the failure")
    bad.clear()
    start(sides)
    served(sides, good=1)
    change(sides, "rollback")
    shown = sides.ask("config", agent="a0").data
    assert shown["document"] == "sources = []\n[limits.scanner]\n"


def test_what_somebody_desires_meanwhile_is_not_taken_back(sides: Sides, herd: Fleet) -> None:
    come(sides, herd, "a0")
    start(sides)
    served(sides, good=1)
    sides.push("sources = []\n", agent="a0")
    served(sides, overtaken=1)
    assert "something else is desired" in change(sides, "rollback")["failed"]["a0"]


def test_a_killed_control_actor_does_not_lose_it(sides: Sides, herd: Fleet) -> None:
    come(sides, herd, *NAMES)
    start(sides, share="0.01")
    for _ in range(3):
        sides.fusion.kill_control()
        until(partial(rollout, sides), "the rollout")
    served(sides, good=6)
    for name, agent in herd.agents.items():
        assert agent.taken == [DIGEST], f"{name} was given it more than once"


def test_a_file_that_is_damaged_is_set_aside(sides: Sides, herd: Fleet) -> None:
    come(sides, herd, "a0")
    start(sides)
    served(sides, good=1)
    file = sides.fusion.state / "rollout.json"
    file.write_text('{"format": 1}')
    sides.fusion.kill_control()
    until(lambda: sides.ask("rollout").data["rollout"] is None and not file.exists(), "no rollout")
    assert os.path.exists(f"{file}.unreadable")
    until(lambda: online(sides) == {"a0"}, "a0 again")
    start(sides)
    served(sides, good=1)
    assert herd.agents["a0"].taken == [DIGEST], "it ran it already"


def test_what_is_wrong_is_refused(sides: Sides) -> None:
    wrong = [
        ({"bundle": "f" * 64}, "one that Fusion has is accepted"),
        ({"agents": "nobody"}, "agents that have logged in are accepted"),
        ({"canary": "0"}, "a number from 1 to 1e+06 is accepted"),
        ({"share": "x"}, "a number is accepted"),
        ({"share": "nan"}, "is accepted"),
        ({"failures": "-1"}, "a whole number is accepted"),
        ({"reason": " "}, "characters are accepted"),
    ]
    for args, error in wrong:
        wanted = {"bundle": DIGEST, "reason": "a test", **args}
        assert error in sides.ask_within(30, "rollout-start", "deployer", wanted).error
    assert "role deployer is accepted" in sides.ask("rollout-start", "operator", bundle=DIGEST, reason="a test").error
    assert sides.ask("rollout").data == {"rollout": None, "agents": (), "next": ""}


def test_one_at_a_time(sides: Sides, herd: Fleet, bad: set[str]) -> None:
    come(sides, herd, "a0", "a1")
    bad.add("a0")
    start(sides)
    until(lambda: rollout(sides)["phase"] == "paused", "the pause")
    refused = sides.ask_within(30, "rollout-start", "deployer", {"bundle": "", "reason": "another"})
    assert "abort it first" in refused.error
    change(sides, "abort")
    start(sides, bundle="")
    served(sides, good=2)
