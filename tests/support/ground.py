"""One side of which the payloads are moved by the test: what is given to whom, and what it makes of it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import attrs
import trio

from fustor.runtime.converging import Converging
from fustor.runtime.document import Software, digest_of
from fustor.runtime.payload import PayloadSpec
from fustor.runtime.program import program_folder
from fustor.runtime.renewing import Renewing
from fustor.runtime.shell import Health, Shell
from protocols.desired import Mark, ProbationPolicy
from protocols.errors import RequestError
from protocols.messages import Document
from protocols.renewal import Move
from protocols.supervision import State
from tests.support.waiting import PATIENCE

POLICY = ProbationPolicy(settle_seconds=60, probation_seconds=0.05)


@attrs.frozen
class Says:
    """A document: the program, and a number for the payloads."""

    software: Software = attrs.field(factory=Software)
    number: int = 0


class Ground:
    """A side with two payloads."""

    policy = POLICY
    own = Says()

    def __init__(self, state: Path, gradual: bool) -> None:
        self.state = str(state)
        self.gradual = gradual
        self.asked: list[int] = []

    def accept(self, text: bytes) -> Says:
        """``NUMBER``, ``NUMBER DIGEST`` or ``NUMBER DIGEST SHELL``."""
        number, bundle, shell, *_ = [*text.decode().split(" "), "", ""]
        if not number.isdigit():
            raise RequestError("number", number, "a number is accepted")
        return Says(Software(bundle, shell), int(number))

    def specs(self, side: Says) -> list[PayloadSpec]:
        """Both."""
        program = program_folder(self.state, side.software)
        return [PayloadSpec(name, ("/x",), {"number": side.number}, program=program) for name in ("a", "b")]

    def courier(self, side: Says, digest: str) -> PayloadSpec | None:
        """Somebody."""
        return PayloadSpec("courier", ("/x",), {"digest": digest})

    def ask(self, revision: int) -> None:
        """Noted."""
        self.asked.append(revision)

    def prepare(self, side: Says) -> None:
        """Nothing."""


class Payloads:
    """In the place of a shell: payloads take what they are given when the test says so."""

    def __init__(self) -> None:
        self.specs: dict[str, PayloadSpec] = {}
        self.running: dict[str, int] = {}
        self.facts: dict[str, dict[str, str]] = {}
        self.vitals: dict[str, dict[str, int]] = {}
        self.counters: dict[str, dict[str, int]] = {}
        self.told: list[str] = []
        self._changed = trio.Event()

    def set_desired(self, specs: Iterable[PayloadSpec], *, remedy: bool = False) -> None:
        """What is wanted."""
        self.specs = {spec.name: spec for spec in specs}
        self.change()

    def change(self) -> None:
        """Something did."""
        self._changed.set()
        self._changed = trio.Event()

    async def wait_changed(self) -> None:
        """Until something does."""
        await self._changed.wait()

    def take(self, *names: str) -> None:
        """Payloads run what is wanted of them."""
        for name in names:
            self.running[name] = self.specs[name].revision
        self.change()

    def health(self, name: str) -> Health:
        """It is well, and was heard in the future."""
        return Health(State.RUNNING, self.running.get(name, 0), 0, False, "", float("inf"))

    def statuses(self) -> list[Any]:
        """Of who has something to say."""
        names = [*self.specs, *(self.facts.keys() - self.specs.keys())]
        return [
            _Status(name, self.facts.get(name, {}), self.vitals.get(name, {}), self.counters.get(name, {}))
            for name in names
        ]

    def tell(self, payload: str, kind: str, text: str) -> None:
        """Noted."""
        self.told.append(text)


class Shells:
    """In the place of ``Renewing``: the program of the shell is where a test says."""

    def __init__(self) -> None:
        self.move = Move.NOTHING, ""
        self.wanted: list[tuple[str, str]] = []

    async def advance(self, wanted: str, tag: str) -> tuple[Move, str]:
        """What the test has said."""
        self.wanted.append((wanted, tag))
        return self.move

    def needed(self) -> set[str]:
        """None."""
        return set()


@attrs.frozen
class _Status:
    name: str
    facts: dict[str, str]
    vitals: dict[str, int]
    counters: dict[str, int]


@attrs.define
class World:
    """All of it."""

    ground: Ground
    payloads: Payloads
    shells: Shells
    converging: Converging[Says]

    def desire(self, revision: int, text: str) -> None:
        """Say it, and bring its document."""
        document = Document(epoch=0, revision=revision, text=text.encode())
        self.converging.told(Mark(revision, digest_of(document.text)))
        self.converging.arrived(document)

    def numbers(self) -> dict[str, int]:
        """What each payload is to run."""
        return {name: spec.config["number"] for name, spec in self.payloads.specs.items() if name != "courier"}

    def courier(self) -> str:
        """What is brought."""
        found = self.payloads.specs.get("courier")
        return found.config["digest"] if found is not None else ""

    async def until(self, condition: Any) -> None:
        """Wait for it."""
        with trio.fail_after(PATIENCE):
            while not condition():  # noqa: ASYNC110 - polls from outside
                await trio.sleep(0.005)

    async def outcome(self, outcome: str) -> None:
        """Wait until the attempt has come to this."""
        await self.until(lambda: self.converging.status().outcome == outcome)


@asynccontextmanager
async def world(state: Path, *, gradual: bool) -> AsyncIterator[World]:
    payloads, shells, ground = Payloads(), Shells(), Ground(state, gradual)
    converging = Converging(ground, cast(Shell, payloads), cast(Renewing, shells), logging.getLogger("test"))
    converging.begin()
    payloads.set_desired(converging.wanted())
    payloads.take("a", "b")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(converging.run)
        yield World(ground, payloads, shells, converging)
        nursery.cancel_scope.cancel()
