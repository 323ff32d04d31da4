"""The files of the quarantine: what the dead wrote, and what is kept of it."""

from __future__ import annotations

import logging
from pathlib import Path

import attrs
import pytest
import trio

from fustor.runtime.handling import Handling, file_of
from fustor.runtime.isolation import Isolation, readable, told
from fustor.runtime.payload import PayloadSpec
from protocols.quarantine import Full, Quarantined, QuarantinePolicy, Suspected

SPEC = PayloadSpec("scanner.data.0", ("/x",), {"slot": 0}, group="scanner.data")
LOG = logging.getLogger("test")


def make(folder: Path, policy: QuarantinePolicy | None = None) -> Isolation:
    return Isolation(policy or QuarantinePolicy(), str(folder / "quarantine.json"), LOG, str(folder))


def test_what_the_dead_was_handling_is_read_once(tmp_path: Path) -> None:
    isolation = make(tmp_path)
    note = Handling.at(str(tmp_path / file_of(SPEC.name)))
    note.begin(b"/a\xff/")
    note.part(b"b")
    assert isolation.handled(SPEC.name) == "/a\udcff/b"
    assert isolation.handled(SPEC.name) == ""


def test_payloads_of_the_group_are_told(tmp_path: Path) -> None:
    isolation = make(tmp_path)
    assert isolation.effective(SPEC) is SPEC
    for item in ("/b/", "/a/"):
        isolation.died(SPEC, item, "x")
        isolation.died(SPEC, item, "x")
    other = attrs.evolve(SPEC, name="scanner.data.1", config={"slot": 1})
    assert isolation.effective(other).config == {"slot": 1, "quarantined": ["/a/", "/b/"]}
    assert isolation.effective(attrs.evolve(SPEC, group="scanner.other")).config == SPEC.config
    assert isolation.effective(attrs.evolve(SPEC, group="")).config == SPEC.config
    isolation.release(next(case.id for case in isolation.quarantine.cases.values() if case.item == "/a/"))
    assert isolation.effective(SPEC).config == {"slot": 0, "quarantined": ["/b/"], "again": ["/a/"]}


async def test_it_is_kept(tmp_path: Path) -> None:
    isolation = make(tmp_path)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(isolation.keep)
        isolation.died(SPEC, "/a\udcff/", "x")
        isolation.died(SPEC, "/a\udcff/", "x")
        with trio.fail_after(30):
            while not (tmp_path / "quarantine.json").exists():  # noqa: ASYNC110 - a thread makes it true
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    assert make(tmp_path).effective(SPEC).config["quarantined"] == ["/a\udcff/"]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"cases": [{}]}', '{"cases": 5}', '{"cases": [5]}'])
def test_a_file_that_is_none_is_said_and_begun_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str
) -> None:
    (tmp_path / "quarantine.json").write_text(content)
    assert make(tmp_path).quarantine.cases == {}
    assert "quarantined is lost" in caplog.text


def test_what_can_not_be_kept_stops_nobody(tmp_path: Path) -> None:
    isolation = Isolation(QuarantinePolicy(), "", LOG, str(tmp_path))
    isolation.died(SPEC, "/a/", "x")
    assert list(tmp_path.iterdir()) == []


def test_in_words(tmp_path: Path) -> None:
    isolation = make(tmp_path, QuarantinePolicy(items=1))
    effects = [isolation.died(SPEC, item, "signal 11") for item in ("/a\udcff/", "/a\udcff/", "/b/", "/b/")]
    texts = [told(effect, 2) for effect in effects]
    assert [type(effect) for effect in effects] == [Suspected, Quarantined, Suspected, Full]
    assert texts[1].startswith(f"{readable(effects[0].case.item)} is quarantined as {effects[0].case.id}")
    assert "no room" in texts[3]
    assert "\n".join(texts).encode(), "no lone surrogates"
