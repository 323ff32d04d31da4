"""The picture of a run."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from benchmarks.chaos.answers import Asked, Phase
from benchmarks.chaos.timeline import Mark, timeline

ASKED = [
    Asked("root", 100.0, 0.001, 200, 9, (), True, "live", 1),
    Asked("root", 105.0, 0.1, 200, 9, ("reset",), True, "stale", 2),
    Asked("whole", 107.5, 10.0, 200, 9, (), True, "live", 2),
    Asked("root", 109.0, 0.001, 200, 9, (), True, "live", 2),
]
PHASES = [Phase("quiet", 100.0, 105.0), Phase("a < b", 105.0, 110.0)]
MARKS = [Mark(105.0, "fusion/query.0", "kill", "kill fusion/query.0 & more"), Mark(107.0, "disk", "fill", "fill")]


@pytest.fixture(scope="module")
def svg() -> ET.Element:
    return ET.fromstring(timeline("x & y", ASKED, "root", PHASES, MARKS, ["fusion/query.0", "disk", "link"]))


def titles(svg: ET.Element, tag: str) -> list[tuple[float, str]]:
    place = {"rect": "x", "circle": "cx"}[tag]
    return [
        (float(one.attrib[place]), title.text or "")
        for one in svg.findall(f"{{*}}{tag}")
        for title in one.findall("{*}title")
    ]


def test_it_says_what_it_is(svg: ET.Element) -> None:
    texts = [one.text for one in svg.findall("{*}text")]
    assert texts[0] == "x & y"
    assert {"quiet", "a < b", "fusion/query.0", "disk", "link", "100 s", "0.1 ms", "10 s"} <= set(texts)


def test_states_and_faults_are_where_they_were(svg: ET.Element) -> None:
    found = titles(svg, "rect")
    assert [text for _, text in found] == [
        "live", "stale", "live", "5.00 s: kill fusion/query.0 & more", "7.00 s: fill"
    ]  # fmt: skip
    live, stale, again, kill, fill = (x for x, _ in found)
    assert live < kill <= stale < fill < again


def test_slower_is_higher_and_what_was_asked_again_is_marked(svg: ET.Element) -> None:
    medians = {float(one.attrib["x"]): float(one.attrib["y"]) for one in svg.findall("{*}rect[@class='mid']")}
    assert len(medians) == 4
    fast, slow, slowest, fast_again = (medians[x] for x in sorted(medians))
    assert slowest < slow < fast == fast_again
    assert [text for _, text in titles(svg, "circle")] == ["root: reset"]


def test_what_fails_while_nobody_is_there_hides_nothing() -> None:
    away = [PHASES[0], Phase("away", 105.0, 108.0, away=True), Phase("after", 108.0, 110.0)]
    svg = ET.fromstring(timeline("", ASKED, "root", away, [], []))
    assert titles(svg, "circle") == []


def test_nothing_is_no_picture() -> None:
    with pytest.raises(ValueError, match="at least one"):
        timeline("", [], "root", [], [], [])
