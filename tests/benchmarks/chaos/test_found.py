"""What is made of a run: its table, its verdict, its page."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import attrs
import pytest

from benchmarks.chaos.answers import Asked, End, Phase
from benchmarks.chaos.found import CHAOS, DOWN, LOST, QUIET, STEADY, Claims, Equality, Found, samples, wrong
from benchmarks.chaos.report import page, picture
from benchmarks.chaos.run import read_claims
from benchmarks.chaos.timeline import Mark
from tests.support.writers import Change

SECOND = 10**9


def asked(start: float, seconds: float = 0.01, *failures: str, status: int = 200, **more: Any) -> Asked:
    return Asked("root", start, seconds, status, 100, failures, **{"state": "live", "generation": 2, **more})


FINE = Found(
    phases=[
        Phase(STEADY, 0.0, 10.0),
        Phase(CHAOS, 10.0, 20.0),
        Phase(QUIET, 20.0, 30.0),
        Phase(LOST, 30.0, 40.0),
        Phase(DOWN, 40.0, 50.0, away=True),
    ],
    asked=[
        asked(1.0),
        asked(2.0, state="stale"),
        asked(15.0, 0.2, "reset"),
        asked(16.0, 3.0, "closed"),
        asked(19.5),
        asked(25.0),
        asked(32.0),
        asked(32.9, 0.1, state="stale"),
        asked(45.0, 0.1, "refused", "refused", status=0),
    ],
    ends=[End(15.1, 15.1, "query.0", 1, "killed"), End(18.9, 18.9, "query.1", 2, "stopped")],
    marks=[Mark(15.0, "fusion/query.0", "kill", "kill fusion/query.0")],
    rate=1000.0,
    done={"kill": 3, "stop": 1, "fill": 1, "order drain: done": 2},
    claims=Claims(100, ()),
    equalities=[Equality(QUIET, 1.5, 0, 0, 0)],
    problems=[],
    running_seconds=2.5,
)


def test_the_table() -> None:
    found = {(one.case, one.metric): one.value for one in samples(FINE)}
    assert found["1,000 events a second", "answers that say live"] == 50.0
    assert found[CHAOS, "processes killed"] == 3
    assert found[CHAOS, "other faults and orders"] == 1
    assert found[CHAOS, "connections that ended early"] == 2
    assert found[CHAOS, "worst"] == pytest.approx(200)
    assert found[CHAOS, "connections of stopped workers: worst"] == pytest.approx(3000)
    assert found[LOST, "until an answer says stale"] == pytest.approx(3.0)
    assert found[QUIET, "until equal to the disk"] == 1.5
    assert found[DOWN, "connections refused"] == 2


def test_all_is_well() -> None:
    assert wrong(FINE) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"asked": [*FINE.asked, asked(17.0, status=404)]}, "chaos: 1 answers other than 200"),
        ({"asked": [*FINE.asked, asked(15.0, 0.2, "reset", "reset", status=0)]}, "chaos: 1 questions without"),
        ({"asked": [*FINE.asked, asked(17.0, valid=False)]}, "chaos: 1 answers that are no tree"),
        ({"asked": [*FINE.asked, asked(17.0, 0.1, "refused")]}, "chaos: 1 connections refused"),
        ({"asked": [*FINE.asked, asked(12.0, 0.1, "cut")]}, "though no worker had died"),
        ({"asked": [*FINE.asked, asked(26.0, generation=1)]}, "1 times a generation went back"),
        ({"ends": [End(15.1, 15.1, "query.0", 1, "ordered"), FINE.ends[1]]}, "because a worker was drained"),
        ({"claims": Claims(100, ("chaos: n5: None, not 0",))}, "1 claims that were not so"),
        ({"claims": Claims(0, ())}, "no claim was checked"),
        ({"equalities": [Equality(QUIET, 1.5, 1, 0, 0, "missing 1")]}, "not equal to the disk: missing 1"),
        ({"problems": ["two at a time"]}, "two at a time"),
    ],
)
def test_what_is_wrong_is_said(change: dict[str, Any], words: str) -> None:
    (said,) = wrong(attrs.evolve(FINE, **change))
    assert words in said


def test_the_page_and_its_picture() -> None:
    found = attrs.evolve(
        FINE, claims=Claims(100, ("chaos: as of 5: n5",)), asked=[*FINE.asked, asked(12.0, 0.1, "cut")]
    )
    text = page(found, "Chaos", ["a condition"], "chaos.svg")
    assert "- a condition\n" in text
    assert "![Chaos](chaos.svg)" in text
    assert "| chaos | processes killed | 3.00  |" in text
    assert "- chaos: as of 5: n5" in text
    assert "at 12.000 s: Asked(" in text
    assert "   15.00 s  fusion/query.0           kill fusion/query.0" in text
    assert "Nothing." in page(FINE, "Chaos", [], "chaos.svg")
    assert ET.fromstring(picture(found, "Chaos")).findall("{*}circle")


def test_claims_are_compared_with_the_ledger_of_their_asker(tmp_path: Path) -> None:
    ledger = [Change("create", "n", 0, 1 * SECOND, 2 * SECOND), Change("unlink", "n", 0, 5 * SECOND, 6 * SECOND)]
    lines = [["chaos", 6.5, 6.6, {"n": 0}], ["chaos", 2.5, 2.6, {"n": 0}], ["steady", 2.5, 2.6, {}]]
    path = tmp_path / "files"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = read_claims(path, {"chaos": ledger, "steady": []})
    assert found.checked == 3
    assert found.lies == ("chaos: as of 6.500000, come at 6.600000, 1 names: n: is there",)
