"""
The story of the vision: a bad configuration is pushed from afar, harms payloads, and is mended from afar.

A stand-in for the scanner searches names with Python's own ``re``. Nobody touches the agent's host in between, its
control actor lives on, and not a single heartbeat is missed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.sides import Sides, until

#: A probation that ends soon, and patience with a busy machine.
LIMITS = """
[limits.probation]
settle_seconds = 60
probation_seconds = 1
[limits.shell]
stop_seconds = 1.0
[limits.shell.ladder]
tries = 2
park_seconds = 0.1
"""
NAMES = ["a" * 64 + "b", "aaaa"]
#: Backtracks for longer than the universe on the first name, in C, with the interpreter's lock.
CATASTROPHE, CORRECTED = "^(a+)+$", "^a+$"
SCANNERS = ("scanner.data.0", "scanner.data.1")


class Story(Sides):
    """Both sides, and what must not happen to the control plane meanwhile."""

    def begin(self) -> None:
        self.fusion.start()
        self.agent.start()
        until(self.all_running, "all payloads of both sides")
        self.control, self.before = self.agent.control(), self.link()

    def assert_untouched(self) -> None:
        """The same control actor, in the same session, of which every heartbeat has come."""
        link = self.link()
        assert self.agent.control() == self.control
        assert (link["epoch"], link["logins"], link["losses"]) == (self.before["epoch"], 1, 0)
        assert link["beats"] == link["seq"] > self.before["seq"]

    def scanners(self) -> list[dict[str, Any]]:
        return [self.payload("local", name) for name in SCANNERS]

    def hang(self) -> dict[str, Any]:
        """The first hang of a scanner that Fusion was told of."""

        def hangs() -> list[dict[str, Any]]:
            return [e for e in self.events("local") if e["kind"] == "hang" and e["payload"] in SCANNERS]

        found: dict[str, Any] = until(hangs, "the zombie")[0]
        return found


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    both = Story(tmp_path, agent=LIMITS, heartbeat=1.0)
    try:
        both.begin()
        yield both
    finally:
        both.close()


def test_a_catastrophic_expression_is_left_again_and_mended_from_afar(story: Story) -> None:
    bad = story.push(story.document(expression=CATASTROPHE, names=NAMES), reason="looks fine to me")
    zombie = story.hang()
    assert "silent" in zombie["text"]
    assert "R (running)" in zombie["evidence"]

    def stacks() -> list[str]:
        found = [e["evidence"] for e in story.events("local") if e["kind"] == "evidence"]
        return [text for text in found if "re/__init__.py" in text and "in search" in text]

    until(stacks, "the stack of the zombie")
    status = story.attempted(bad, "failed")
    assert "hang" in status["error"]
    assert (status["running"], status["good"]) == (0, 0)
    until(story.all_running, "the last known good configuration")
    assert all("matched" not in one["counters"] for one in story.scanners())

    mended = story.push(story.document(expression=CORRECTED, names=NAMES), reason="no nested quantifiers")
    assert story.attempted(mended, "good")["running"] == mended
    until(lambda: all(one["counters"].get("matched") == 1 for one in story.scanners()), "scanners that work with it")
    story.assert_untouched()
    refusals = [e["text"] for e in story.events("local") if e["kind"] == "configuration"]
    assert any(text.startswith(f"revision {bad} failed: scanner.data.") for text in refusals)
    assert refusals[-1] == f"revision {mended} is good"


def test_a_corrected_expression_is_taken_in_the_middle_of_the_hang(story: Story) -> None:
    """Whoever is quick enough: the process that hangs is not held against what it never had."""
    bad = story.push(story.document(expression=CATASTROPHE, names=NAMES))
    story.attempted(bad, "running", "failed")
    mended = story.push(story.document(expression=CORRECTED, names=NAMES))
    story.attempted(mended, "good")
    until(lambda: all(one["counters"].get("matched") == 1 for one in story.scanners()), "scanners that work with it")
    story.assert_untouched()


def test_a_crash_in_native_code_is_left_again_and_mended_from_afar(story: Story) -> None:
    bad = story.push(story.document(native="/"))
    status = story.attempted(bad, "failed")
    assert "signal 11 (SIGSEGV)" in status["error"]
    until(story.all_running, "the last known good configuration")
    exits = [e["text"] for e in story.events("local") if e["kind"] == "exit"]
    assert any("signal 11 (SIGSEGV)" in text for text in exits)
    mended = story.push(story.document(native=str(story.folder / "never")))
    assert story.attempted(mended, "good")["running"] == mended
    story.assert_untouched()


def test_a_configuration_that_turns_bad_after_its_probation_is_left_too(story: Story) -> None:
    before = story.push(story.document(more=1))
    story.attempted(before, "good")
    trigger = story.folder / "trigger"
    bad = story.push(story.document(native=str(trigger)))
    story.attempted(bad, "good")
    trigger.touch()
    status = story.attempted(bad, "failed")
    assert "long after its probation" in status["error"]
    assert (status["running"], status["good"]) == (before, before)
    until(story.all_running, "the configuration before")
    mended = story.push(story.document(more=2))
    story.attempted(mended, "good")
    story.assert_untouched()


def test_where_nothing_helps_it_is_parked_with_an_alarm_and_a_new_configuration_frees_it(tmp_path: Path) -> None:
    story = Story(tmp_path, agent=LIMITS, heartbeat=1.0)
    trigger = story.folder / "trigger"
    text = story.agent.config.read_text()
    plain = f'[limits.scanner]\ntrouble = "{story.folder}"\n'
    assert plain in text
    story.agent.config.write_text(text.replace(plain, f'{plain}native = "{trigger}"\n'))
    try:
        story.begin()
        trigger.touch()
        until(lambda: all(one["state"] == "parked" for one in story.scanners()), "both to be parked")
        alarms = [e["payload"] for e in story.events("local") if e["kind"] == "alarm"]
        assert set(alarms) == set(SCANNERS)
        mended = story.push(story.document())
        story.attempted(mended, "good")
        until(story.all_running, "everything again")
        story.assert_untouched()
    finally:
        story.close()
