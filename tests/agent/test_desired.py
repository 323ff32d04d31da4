"""The configuration of Fusion on an agent's disk, and what this host does not take: real agents."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.sides import Sides, until

LIMITS = """
[limits.probation]
settle_seconds = 60
probation_seconds = 0.2
[limits.shell]
stop_seconds = 1.0
"""


@pytest.fixture
def sides(tmp_path: Path) -> Iterator[Sides]:
    both = Sides(tmp_path, agent=LIMITS)
    try:
        yield both
    finally:
        both.close()


def start(sides: Sides) -> None:
    sides.fusion.start()
    sides.agent.start()
    until(sides.all_running, "all payloads of both sides")


def kept(sides: Sides, generation: str = "") -> dict[str, Any]:
    content: dict[str, Any] = json.loads((sides.agent.state / f"configuration.json{generation}").read_text())
    return content


def test_a_damaged_state_gives_way_to_the_one_before_and_then_to_the_own_file(sides: Sides) -> None:
    start(sides)
    first = sides.push(sides.document(a=1))
    sides.attempted(first, "good")
    second = sides.push(sides.document(a=2))
    sides.attempted(second, "good")
    assert (kept(sides)["content"]["good"][0], kept(sides)["format"]) == (second, 1)
    assert sides.fusion.stop() == 0
    assert sides.agent.stop() == 0
    path = sides.agent.state / "configuration.json"
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"a = 2", b"a = 3"))
    sides.agent.start()
    until(lambda: len(sides.agent.pids()) == 4, "the payloads")
    assert path.with_name("configuration.json.unreadable").exists()
    # The last but one says that the second was on probation; it is tried on.
    until(lambda: path.exists() and kept(sides)["content"]["good"][0] == second, "the second to be good again")
    assert sides.agent.stop() == 0
    for name in ("configuration.json", "configuration.json.1"):
        (sides.agent.state / name).write_text('{"format": 99}')
    sides.agent.start()
    until(lambda: len(sides.agent.pids()) == 4, "the payloads of its own file")
    assert "format 1 is accepted" in sides.agent.log()
    sides.fusion.start()
    sides.attempted(second, "good")


def test_what_this_host_denies_is_refused_whatever_fusion_says(sides: Sides) -> None:
    with sides.agent.config.open("a") as file:
        file.write('[deny]\ndirectories = ["/etc"]\n')
    start(sides)
    revision = sides.push(sides.document().replace(str(sides.folder / "root"), "/etc/ssl"))
    status = sides.attempted(revision, "refused")
    assert "sources[0].root = '/etc/ssl': a directory outside /etc is accepted" in status["error"]
    assert (status["running"], status["good"]) == (0, 0)
    assert sides.all_running()


def test_a_host_may_take_no_configuration_at_all(sides: Sides) -> None:
    start(sides)
    first = sides.push(sides.document(a=1))
    sides.attempted(first, "good")
    assert sides.agent.stop() == 0
    with sides.agent.config.open("a") as file:
        file.write("[deny]\nconfiguration = true\n")
    sides.agent.start()
    second = sides.push(sides.document(a=2))
    status = sides.attempted(second, "refused")
    assert "takes no configuration of Fusion" in status["error"]
    assert (status["running"], status["running_digest"]) == (0, "")


def test_a_document_that_nobody_asked_for_is_dropped(sides: Sides) -> None:
    start(sides)
    revision = sides.push(sides.document(a=1))
    sides.attempted(revision, "good")
    again = sides.push(sides.document(a=1))
    sides.attempted(again, "good")
    assert kept(sides)["content"]["bad"] == []
    assert len(kept(sides)["content"]["documents"]) == 1  # the same text twice
