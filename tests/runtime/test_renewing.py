"""Proving and changing the program of a shell: a guardian that a test writes for, over a real keeper channel."""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

import fustor
from fustor.guardian.programs import Programs, write
from fustor.runtime import renewing
from fustor.runtime.keeper import Keeper, open_keeper
from fustor.runtime.renewing import Renewing
from protocols.renewal import Move
from tests.support.waiting import PATIENCE

NEW = "ab" * 32


class World:
    """A shell whose guardian answers everything, and remembers it."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.programs = Programs()
        self.healthy = True
        self.faults = 0
        self.guardian_faults = 0
        self.asked: list[dict[str, Any]] = []
        self.said: list[tuple[str, str]] = []
        self.refuses: dict[str, Any] | None = None
        self.renewing: Renewing

    @property
    def folder(self) -> str:
        return str(self.state / "versions" / NEW)

    def keep(self) -> None:
        write(str(self.state / renewing.FILE), self.programs)

    def ops(self) -> list[str]:
        return [one["op"] for one in self.asked]

    async def until(self, condition: Callable[[], bool]) -> None:
        with trio.fail_after(PATIENCE):
            while not condition():  # noqa: ASYNC110 - polls from outside
                await trio.sleep(0.005)

    async def answer(self, sock: trio.socket.SocketType) -> None:
        while packet := await sock.recv(65536):
            asked = json.loads(packet)
            self.asked.append(asked)
            body: dict[str, Any] = {"counters": {"faults": self.guardian_faults}} if asked["op"] == "status" else {}
            if asked["op"] == "attempt" and self.refuses is not None:
                body = {"error": self.refuses}
            await sock.send(json.dumps({"re": asked["id"], **body}).encode())


@asynccontextmanager
async def world(state: Path, *, proof: float = 0.0, trial: float = 1000.0) -> AsyncIterator[World]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    made = World(state)
    async with open_keeper(Keeper(ours)) as keeper, trio.open_nursery() as nursery:
        made.renewing = Renewing(
            str(state),
            keeper,
            healthy=lambda: made.healthy,
            faults=lambda: made.faults,
            trial_seconds=trial,
            proof_seconds=proof,
            tell=lambda *said: made.said.append(said),
            logs=str(state),
            log=logging.getLogger("test"),
        )
        there = trio.socket.from_stdlib_socket(theirs)
        nursery.start_soon(made.answer, there)
        yield made
        nursery.cancel_scope.cancel()
        there.close()


async def run(made: World, condition: Callable[[], bool]) -> None:
    """Until ``condition`` holds."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(made.renewing.run)
        await made.until(condition)
        nursery.cancel_scope.cancel()


async def test_the_control_actor_is_begun_first(tmp_path: Path) -> None:
    async with world(tmp_path) as made:
        assert await made.renewing.advance(NEW, "7") == (Move.CONTROL, "")
        assert made.asked == [{"op": "attempt", "id": 1, "part": "control", "program": made.folder, "tag": "7"}]
        assert await made.renewing.advance(NEW, "7") == (Move.CONTROL, "")
        assert len(made.asked) == 1, "it is given time"


async def test_what_the_guardian_does_not_take_is_refused(tmp_path: Path) -> None:
    async with world(tmp_path) as made:
        made.refuses = {"field": "program", "value": "/x", "accepted": "a program is accepted", "errno": 0}
        move, why = await made.renewing.advance(NEW, "7")
        assert (move, "a program is accepted" in why) == (Move.REFUSE, True)


async def test_a_disk_that_takes_nothing_is_waited_for(tmp_path: Path) -> None:
    async with world(tmp_path) as made:
        made.refuses = {"field": "program", "value": "/x", "accepted": "it can't be written", "errno": 28}
        assert (await made.renewing.advance(NEW, "7"))[0] is Move.CONTROL


async def test_who_is_well_is_proved(tmp_path: Path) -> None:
    async with world(tmp_path) as made:
        made.programs.control.begin(made.folder, "7")
        made.keep()
        await run(made, lambda: "prove" in made.ops())
        assert next(one["part"] for one in made.asked if one["op"] == "prove") == "control"


async def test_who_is_out_of_touch_or_fails_is_not(tmp_path: Path) -> None:
    async with world(tmp_path, proof=1.0) as made:
        made.programs.control.begin(made.folder, "7")
        made.programs.guardian.begin(made.folder, "7")
        made.programs.runs = made.folder
        made.keep()
        made.healthy = False
        await run(made, lambda: ("prove", "guardian") in [(one["op"], one.get("part")) for one in made.asked])
        assert ("prove", "control") not in [(one["op"], one.get("part")) for one in made.asked]


async def test_a_guardian_that_does_not_change_is_given_up(tmp_path: Path) -> None:
    async with world(tmp_path, trial=1.0) as made:
        made.programs.guardian.begin(made.folder, "7")
        made.keep()
        await run(made, lambda: "leave" in made.ops())
        assert "prove" not in made.ops()


async def test_what_was_left_is_told_once(tmp_path: Path) -> None:
    async with world(tmp_path) as made:
        for part, why in ((made.programs.control, "it crashed"), (made.programs.guardian, "it hung")):
            part.begin(made.folder, "7")
            part.leave(why)
        # Something is still to be proved, so that it is looked at again and again.
        made.programs.guardian.begin(made.folder, "8")
        made.keep()
        (tmp_path / "control.log").write_text("some\nlines\n")
        await run(made, lambda: made.ops().count("status") >= 3)
        assert made.said == [
            (f"bundle {NEW[:16]}… of the control was left: it crashed", "some\nlines"),
            (f"bundle {NEW[:16]}… of the guardian was left: it hung", ""),
        ]


async def test_bundles_that_the_shell_runs_are_needed(tmp_path: Path) -> None:
    async with world(tmp_path) as made:
        made.programs.control.begin(made.folder, "7")
        made.keep()
        assert made.renewing.needed() == {NEW, ""}


async def test_a_file_that_cannot_be_read_says_that_nothing_was_sent(tmp_path: Path) -> None:
    async with world(tmp_path) as made:
        (tmp_path / renewing.FILE).write_text("{")
        assert await made.renewing.advance("", "7") == (Move.NOTHING, "")


def test_what_is_installed_says_its_version() -> None:
    assert (renewing.own_digest(), renewing.software()) == ("", fustor.__version__)


async def test_what_the_guardian_has_written_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}")))
    async with world(tmp_path) as made:
        made.keep()
        await run(made, lambda: len(synced) == 2)
        assert synced == [str(tmp_path / renewing.FILE), str(tmp_path)]
