"""
The ring around the machine of one side, with payloads that a test moves: what is given to whom, and when.

On real sides: ``tests/agent/test_desired.py``, ``tests/fusion/test_desired.py``, ``tests/correctness/test_upgrade.py``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import attrs
import pytest

from protocols.desired import Mark
from protocols.renewal import Move
from protocols.supervision import Failed
from tests.support.ground import POLICY, Ground, World, world

NEW = "ab" * 32


@pytest.fixture
async def gradual(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path, gradual=True) as made:
        yield made


@pytest.fixture
async def at_once(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path, gradual=False) as made:
        yield made


async def test_all_at_once(at_once: World) -> None:
    at_once.desire(1, "7")
    await at_once.until(lambda: at_once.numbers() == {"a": 7, "b": 7})
    assert at_once.converging.status().outcome == "trying"
    at_once.payloads.take("a", "b")
    await at_once.outcome("good")


async def test_one_after_the_other(gradual: World) -> None:
    gradual.desire(1, "7")
    await gradual.until(lambda: gradual.numbers() == {"a": 7, "b": 0})
    gradual.payloads.take("a")
    await gradual.until(lambda: gradual.numbers() == {"a": 7, "b": 7})
    assert gradual.converging.status().outcome == "running"
    gradual.payloads.take("b")
    await gradual.outcome("good")
    assert gradual.numbers() == {"a": 7, "b": 7}


async def test_the_first_that_breaks_keeps_it_from_the_second(gradual: World) -> None:
    gradual.desire(1, "7")
    await gradual.until(lambda: gradual.numbers() == {"a": 7, "b": 0})
    revision = gradual.payloads.specs["a"].revision
    gradual.converging.failed("a", Failed(kind="hang", text="silent", revision=revision))
    await gradual.outcome("failed")
    await gradual.until(lambda: gradual.numbers() == {"a": 0, "b": 0})


async def test_who_was_not_given_it_may_break_by_itself(gradual: World) -> None:
    gradual.desire(1, "7")
    await gradual.until(lambda: gradual.numbers() == {"a": 7, "b": 0})
    revision = gradual.payloads.specs["b"].revision
    for _ in range(3):
        gradual.converging.failed("b", Failed(kind="signal", text="9", revision=revision))
    gradual.payloads.take("a")
    await gradual.until(lambda: gradual.numbers() == {"a": 7, "b": 7})


async def test_a_bundle_is_awaited_by_what_runs(gradual: World, tmp_path: Path) -> None:
    gradual.desire(1, f"7 {NEW}")
    await gradual.until(lambda: "courier" in gradual.payloads.specs)
    assert gradual.payloads.specs["a"].program == ""
    gradual.payloads.facts["courier"] = {"wants": NEW, "refused": "it is not trusted"}
    await gradual.outcome("refused")
    assert "it is not trusted" in gradual.converging.status().error
    await gradual.until(lambda: "courier" not in gradual.payloads.specs)
    gradual.payloads.facts.clear()
    gradual.desire(2, f"7 {NEW}")
    await gradual.until(lambda: "courier" in gradual.payloads.specs)
    (tmp_path / "versions" / NEW).mkdir(parents=True)
    gradual.payloads.facts["courier"] = {"wants": NEW, "staged": NEW}
    await gradual.until(lambda: gradual.payloads.specs["a"].program == str(tmp_path / "versions" / NEW))
    assert gradual.payloads.specs["b"].program == ""


async def test_what_does_not_come_is_asked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ground, "policy", attrs.evolve(POLICY, fetch_seconds=0.02))
    async with world(tmp_path, gradual=False) as made:
        made.converging.told(Mark(1, "d"))
        await made.until(lambda: made.ground.asked == [1, 1, 1])


async def test_a_document_that_is_wrong_changes_nothing(at_once: World) -> None:
    at_once.desire(1, "x")
    await at_once.outcome("refused")
    assert "a number is accepted" in at_once.converging.status().error
    assert at_once.numbers() == {"a": 0, "b": 0}


async def test_the_next_life_goes_on_with_it(tmp_path: Path) -> None:
    async with world(tmp_path, gradual=True) as first:
        first.desire(1, "7")
        await first.until(lambda: first.numbers() == {"a": 7, "b": 0})
    async with world(tmp_path, gradual=True) as second:
        assert second.numbers() == {"a": 7, "b": 0}
        await second.until(lambda: second.numbers() == {"a": 7, "b": 7})
        second.payloads.take("b")
        await second.outcome("good")


async def test_a_document_waits_for_the_program_of_the_shell(at_once: World) -> None:
    at_once.shells.move = Move.CONTROL, ""
    at_once.desire(1, f"7  {NEW}")
    (Path(at_once.ground.state) / "versions" / NEW).mkdir(parents=True)
    await at_once.until(lambda: (NEW, "1") in at_once.shells.wanted)
    assert at_once.numbers() == {"a": 0, "b": 0}
    at_once.shells.move = Move.NOTHING, ""
    await at_once.until(lambda: at_once.numbers() == {"a": 7, "b": 7})


async def test_a_shell_that_was_left_refuses_the_document(at_once: World) -> None:
    at_once.shells.move = Move.REFUSE, "the control actor of it was left: it crashed"
    at_once.desire(1, "7")
    await at_once.outcome("refused")
    assert at_once.converging.status().error == "the control actor of it was left: it crashed"
    assert at_once.numbers() == {"a": 0, "b": 0}


async def test_two_bundles_are_brought_one_after_the_other(at_once: World) -> None:
    other = "cd" * 32
    versions = Path(at_once.ground.state) / "versions"
    at_once.desire(1, f"7 {NEW} {other}")
    for digest in (NEW, other):
        await at_once.until(lambda digest=digest: at_once.courier() == digest)
        assert at_once.shells.wanted == []
        (versions / digest).mkdir(parents=True)
        at_once.payloads.facts["courier"] = {"wants": digest, "staged": digest}
    await at_once.until(lambda: at_once.courier() == "")
    assert at_once.shells.wanted[0] == (other, "1")


async def test_a_program_that_is_worse_than_the_one_before_is_left(at_once: World) -> None:
    (Path(at_once.ground.state) / "versions" / NEW).mkdir(parents=True)
    payloads = at_once.payloads
    payloads.vitals = {"a": {"memory_bytes": 1 << 20}, "b": {"memory_bytes": 1 << 20}}
    at_once.desire(1, f"0 {NEW}")
    await at_once.until(lambda: payloads.specs["a"].program != "")
    payloads.counters = {"a": {"http_failures": 4}}
    payloads.take("a", "b")
    await at_once.outcome("failed")
    assert at_once.converging.status().error == "a: 4 of its answers failed, of the one before none"
    await at_once.until(lambda: payloads.specs["a"].program == "")


async def test_another_configuration_may_need_more(at_once: World) -> None:
    payloads = at_once.payloads
    payloads.vitals = {"a": {"memory_bytes": 1 << 20}}
    at_once.desire(1, "7")
    await at_once.until(lambda: at_once.numbers() == {"a": 7, "b": 7})
    payloads.vitals = {"a": {"memory_bytes": 1 << 40}}
    payloads.take("a", "b")
    await at_once.outcome("good")
