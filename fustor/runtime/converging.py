"""
What is desired of the payloads of a side: fetched, written down, applied, and left again when it is bad.

The ring around :mod:`protocols.desired`. Everything that it knows is in one small file, ``configuration.json`` in the
state folder, with the documents themselves, so that an agent starts and works without Fusion; the file's last
generation lies beside it. A file that can't be read is set aside, and the side's own configuration runs until more is
said. What a document is, and which payloads follow from it, each side says for itself (:class:`Ground`).

What this module does not do: decide (the machine does), validate what belongs to payloads (they do), or receive
anything (the control actors do).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import os
import shutil
from collections import deque
from collections.abc import Mapping
from typing import Any, Generic, Protocol, TypeVar

import attrs
import trio

from fustor.runtime.document import Software, digest_of
from fustor.runtime.durable import read_json, write_durably
from fustor.runtime.payload import PayloadSpec
from fustor.runtime.program import COURIER, program_at, versions_folder
from fustor.runtime.renewing import Renewing
from fustor.runtime.shell import Shell
from protocols.desired import (
    OPEN,
    OWN,
    Apply,
    Broke,
    Came,
    Convergence,
    Effect,
    Event,
    Fetch,
    Keep,
    Loaded,
    Mark,
    Outcome,
    Phase,
    ProbationPolicy,
    Resort,
    Say,
    Seen,
    Sight,
    Tick,
    Told,
    Widen,
)
from protocols.errors import FustorError, MachineError, RequestError
from protocols.ladder import Rung
from protocols.messages import ConfigurationStatus, Document
from protocols.regress import Level, regress
from protocols.renewal import Move
from protocols.supervision import Failed, State

#: Of the file.
FORMAT = 1
#: Bytes of the file, at most: a few documents, escaped.
_LARGEST = 16 << 20
#: Seconds between two looks how far a bundle is.
_LOOK_SECONDS = 0.2
_TRYING = frozenset({Phase.SETTLING, Phase.PROVING})
#: People's orders hold it; that says nothing about a configuration.
_HELD = frozenset({State.DRAINED, State.PAUSED})


class Side(Protocol):
    """What a document says, as far as it has to be known here."""

    @property
    def software(self) -> Software:
        """The programs that are run."""
        ...


S = TypeVar("S", bound=Side)


class Ground(Protocol[S]):
    """
    What one side knows of its documents and payloads.

    Attributes:
        state: its state folder.
        policy: of probations.
        own: what holds until something is desired.
        gradual: payloads are given a configuration one after the other, each when those before have held, instead of
            all at once.
    """

    state: str
    policy: ProbationPolicy
    own: S
    gradual: bool

    def accept(self, text: bytes) -> S:
        """
        What a document says.

        Raises:
            FustorError: it is wrong, or denied here.
        """
        ...

    def specs(self, side: S) -> list[PayloadSpec]:
        """The payloads of a document, as far as they can run now."""
        ...

    def courier(self, side: S, digest: str) -> PayloadSpec | None:
        """Who brings one of its bundles; None while it is not known from where."""
        ...

    def ask(self, revision: int) -> None:
        """The document of a revision is wanted."""
        ...

    def prepare(self, side: S) -> None:
        """Make what its payloads need. Blocks."""
        ...


class Converging(Generic[S]):
    """
    Args:
        ground: what this side knows.
        shell: its payloads.
        renewing: the program of the shell itself.
        log: for everything.

    Attributes:
        side: what the payloads are to run.
        convergence: the machine.
        counters: ``documents`` that came, ``strays`` that nobody wanted, ``unkept`` states.
    """

    def __init__(self, ground: Ground[S], shell: Shell, renewing: Renewing, log: logging.Logger) -> None:
        self.convergence = Convergence(ground.policy)
        self.counters = dict.fromkeys(("documents", "strays", "unkept"), 0)
        self._ground = ground
        self._shell = shell
        self._renewing = renewing
        self._log = log
        self._path = os.path.join(ground.state, "configuration.json")
        self._kept: dict[str, Any] | None = None
        #: Text of what was sent; the side's own configuration has none.
        self._texts: dict[str, bytes] = {}
        self._sides: dict[Mark, S] = {OWN: ground.own}
        self.side = ground.own
        self._todo: deque[Effect] = deque()
        self._arrived: Document | None = None
        #: A document that waits for a program, and what it says.
        self._awaited: tuple[Document, S] | None = None
        #: The bundle that is brought for it.
        self._brought = ""
        self._poke = trio.Event()
        #: Payload → revision that the attempted configuration gives to it, of those that it changes; None: to be made.
        self._changed: dict[str, int] | None = None
        #: How many of these have been given it.
        self._given = 1
        #: What payloads were like before they were given it.
        self._before: dict[str, Level] = {}

    # -- what others call -------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Take up what was on disk. Blocks; to be called once, before anything runs."""
        self._feed(self._load())
        while self._todo:
            effect = self._todo.popleft()
            if isinstance(effect, Keep):
                self._write(self._content())
            elif isinstance(effect, Say):
                self._say(effect.text)
            elif isinstance(effect, Apply):
                self.side = self._sides[effect.mark]
        self._ground.prepare(self.side)

    def told(self, mark: Mark) -> None:
        """This is desired; said again and again."""
        self._feed(Told(mark))

    def arrived(self, document: Document) -> None:
        """A document has come."""
        self.counters["documents"] += 1
        self._arrived = document
        self._poke.set()

    def status(self) -> ConfigurationStatus:
        """The three facts."""
        return self.convergence.status()

    def wanted(self) -> list[PayloadSpec]:
        """All payloads that shall run now."""
        brings = self._ground.courier(self._awaited[1], self._brought) if self._awaited and self._brought else None
        specs = self._ground.specs(self.side)
        if self._ground.gradual and self.convergence.phase in _TRYING:
            before = {spec.name: spec for spec in self._ground.specs(self._sides[self.convergence.good])}
            later = list(self._changes())[self._given :]
            specs = [before.get(spec.name, spec) if spec.name in later else spec for spec in specs]
        return [*specs, *([brings] if brings else [])]

    def renew(self) -> None:
        """What the payloads of a configuration are may have changed, for another reason."""
        self._changed = None

    def failed(self, name: str, failure: Failed) -> None:
        """A payload failed, and nobody ordered it."""
        if self.convergence.phase in _TRYING and failure.revision and self._changes().get(name) == failure.revision:
            self._feed(Broke(name, failure.kind, failure.text))

    def climbed(self, name: str, rung: Rung) -> None:
        """A payload is on another rung of the ladder of repairs."""
        if rung is not Rung.CONFIGURATION:
            return
        convergence = self.convergence
        other = convergence.good if convergence.phase in _TRYING else convergence.before
        if other is not None and self._revision(name, convergence.running) != self._revision(name, other):
            self._feed(Resort(name))

    async def run(self) -> None:
        """Carry out, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._follow)
            while True:
                self._poke = trio.Event()
                await self._advance()
                due = math.inf if self.convergence.wake_at is None else self.convergence.wake_at
                now = trio.current_time()
                if self._awaited is not None:
                    due = min(due, now + _LOOK_SECONDS)
                elif self.convergence.missing:
                    due = min(due, now + self._ground.policy.fetch_seconds)
                with trio.move_on_at(due):
                    await self._poke.wait()

    # -- inside -----------------------------------------------------------------------------------------------------

    def _feed(self, event: Event) -> None:
        self._todo += self.convergence.handle(event, trio.current_time())
        if self._todo:
            self._poke.set()

    async def _follow(self) -> None:
        while True:
            # Before the wait: what changed until here is looked at too.
            if self.convergence.phase in _TRYING:
                self._poke.set()
            await self._shell.wait_changed()

    async def _advance(self) -> None:
        """Everything that can be done now."""
        document, self._arrived = self._arrived, None
        if document is not None:
            await self._take(document)
        await self._look_at_awaited()
        self._feed(Told(self.convergence.desired))  # what did not come is asked for again
        await self._carry_out()
        # What was just applied may be what runs already: then nothing will change by itself.
        while self.convergence.phase in _TRYING:
            before = self.convergence.phase
            self._feed(self._seen())
            await self._carry_out()
            if self.convergence.phase is before:
                break
        self._feed(Tick())
        await self._carry_out()

    async def _carry_out(self) -> None:
        while self._todo:
            effect = self._todo.popleft()
            match effect:
                case Fetch(mark) if not mark.digest:
                    self._sides[mark] = self._ground.own
                    self._feed(Came(mark))
                case Fetch(mark):
                    # One that waits for a program need not be sent again.
                    if self._awaited is None or self._awaited[0].revision != mark.revision:
                        self._ground.ask(mark.revision)
                case Keep():
                    await trio.to_thread.run_sync(self._write, self._content())
                case Apply(mark, remedy) if mark == self.convergence.running:
                    self.side = self._sides[mark]
                    self._changed, self._given = None, 1
                    self._before = self._levels()
                    await trio.to_thread.run_sync(self._ground.prepare, self.side)
                    self._shell.set_desired(self.wanted(), remedy=remedy)
                case Widen():
                    self._given += 1
                    self._shell.set_desired(self.wanted())
                case Say(text):
                    self._say(text)

    def _told_by(self, document: Document) -> None:
        """One that was not asked for: Fusion does not wait for the next heartbeat to say that it desires this."""
        mark = Mark(document.revision, digest_of(document.text))
        self._feed(Told(mark))
        self._todo = deque([effect for effect in self._todo if effect != Fetch(mark)])  # it is here

    async def _take(self, document: Document) -> None:
        if document.revision > self.convergence.desired.revision:
            self._told_by(document)
        mark = self.convergence.desired
        if (
            document.revision != mark.revision
            or digest_of(document.text) != mark.digest
            or not self.convergence.missing
        ):
            self.counters["strays"] += 1
            return
        faults = ""
        try:
            side = await trio.to_thread.run_sync(self._ground.accept, document.text)
        except FustorError as error:
            faults = str(error)
        else:
            self._awaited = document, side
            return
        self._await_no_more()
        self._feed(Came(mark, faults))

    # -- programs ---------------------------------------------------------------------------------------------------

    def _lacks(self, side: S) -> str:
        """Digest of a bundle that it needs and that is not there; empty: all are."""
        needed = (side.software.bundle, side.software.shell)
        return next((one for one in needed if one and not os.path.isdir(program_at(self._ground.state, one))), "")

    def _await_no_more(self) -> None:
        self._awaited = None
        self._bring("")

    def _bring(self, digest: str) -> None:
        """Let a bundle be brought; none any more."""
        if digest == self._brought:
            return
        self._brought = digest
        if digest and self._awaited is not None:
            self._say(f"revision {self._awaited[0].revision} needs bundle {digest[:16]}…: it is fetched")
        self._shell.set_desired(self.wanted())

    async def _look_at_awaited(self) -> None:
        """Whether the programs of the document that waits for them are there by now, and the shell runs its own."""
        if self._awaited is None:
            return
        document, side = self._awaited
        mark = Mark(document.revision, digest_of(document.text))
        if mark != self.convergence.desired:
            self._await_no_more()
            return
        faults = ""
        if self._brought:
            facts = next((dict(one.facts) for one in self._shell.statuses() if one.name == COURIER), {})
            if facts.get("wants") != self._brought or not facts.keys() & {"staged", "refused"}:
                return
            if "refused" in facts:
                faults = f"bundle {self._brought[:16]}…: {facts['refused']}"
        if not faults:
            self._bring(self._lacks(side))
            if self._brought:
                return
            move, faults = await self._renewing.advance(side.software.shell, str(mark.revision))
            if move not in (Move.NOTHING, Move.REFUSE):
                return
        if not faults:
            self._sides[mark] = side
            self._texts[mark.digest] = document.text
        self._await_no_more()
        self._feed(Came(mark, faults))

    def _say(self, text: str) -> None:
        self._log.info("configuration", extra={"text": text[:1000]})
        self._shell.tell("", "configuration", text)

    # -- payloads ---------------------------------------------------------------------------------------------------

    def _seen(self) -> Seen:
        changes = list(self._changes().items())
        given = changes[: self._given] if self._ground.gradual else changes
        now, same = self._levels(), self._same()
        sights = {
            name: self._sight(name, revision, now.get(name) if name in same else None) for name, revision in given
        }
        return Seen(sights, more=len(given) < len(changes))

    def _changes(self) -> dict[str, int]:
        """Payloads that the running configuration changes against the last known good one, with their revision."""
        if self._changed is None:
            convergence = self.convergence
            wanted = {spec.name: spec.revision for spec in self._ground.specs(self._sides[convergence.running])}
            good = {spec.name: spec.revision for spec in self._ground.specs(self._sides[convergence.good])}
            self._changed = {name: revision for name, revision in wanted.items() if good.get(name) != revision}
        return self._changed

    def _revision(self, name: str, mark: Mark) -> int:
        return next((spec.revision for spec in self._ground.specs(self._sides[mark]) if spec.name == name), 0)

    def _levels(self) -> dict[str, Level]:
        return {one.name: Level.of(one.vitals, one.counters) for one in self._shell.statuses()}

    def _same(self) -> set[str]:
        """Payloads that do the same with the running configuration as with the last known good one."""
        convergence = self.convergence
        good = {spec.name: spec.config for spec in self._ground.specs(self._sides[convergence.good])}
        running = self._ground.specs(self._sides[convergence.running])
        return {spec.name for spec in running if good.get(spec.name) == spec.config}

    def _worse(self, name: str, now: Level | None) -> str:
        return regress(self._before[name], now) if now is not None and name in self._before else ""

    def _sight(self, name: str, revision: int, level: Level | None) -> Sight:
        try:
            health = self._shell.health(name)
        except RequestError:
            return Sight(well=False)
        runs = health.state in (State.RUNNING, State.WAITING) and health.revision == revision
        return Sight(
            well=runs or health.state in _HELD,
            refused=health.complaint if health.state is State.REFUSED else "",
            worse=self._worse(name, level) if runs else "",
            done=health.done,
            idle=not health.outstanding or health.state is not State.RUNNING,
            heard=math.inf if health.state in _HELD else health.heard,
        )

    # -- disk -------------------------------------------------------------------------------------------------------

    def _content(self) -> dict[str, Any]:
        convergence = self.convergence
        marks = [convergence.good, convergence.before, convergence.attempted if convergence.outcome in OPEN else None]
        needed = {mark for mark in marks if mark is not None}
        self._texts = {mark.digest: self._texts[mark.digest] for mark in needed if mark.digest in self._texts}
        self._sides = {mark: self._sides[mark] for mark in needed | {OWN, convergence.running} if mark in self._sides}
        return {
            "desired": _plain(convergence.desired),
            "attempted": _plain(convergence.attempted),
            "outcome": convergence.outcome.value,
            "error": convergence.error,
            "tries": convergence.tries,
            "good": _plain(convergence.good),
            "before": None if convergence.before is None else _plain(convergence.before),
            "bad": [_plain(mark) for mark in convergence.bad],
            "documents": {digest: text.decode() for digest, text in self._texts.items()},
        }

    def _write(self, content: dict[str, Any]) -> None:
        try:
            if self._kept is not None:
                write_durably(self._path + ".1", _encoded(self._kept))
            write_durably(self._path, _encoded(content))
        except MachineError as error:
            # What it is about is done all the same: it may be what mends the disk.
            self.counters["unkept"] += 1
            self._log.error("the state of the configuration can't be kept", extra={"error": str(error)})
        else:
            self._kept = content
            self._tidy()

    def _tidy(self) -> None:
        """Versions that no configuration needs any more are removed; blocks."""
        folder = versions_folder(self._ground.state)
        sides = [*self._sides.values(), *([self._awaited[1]] if self._awaited is not None else [])]
        needed = {one for side in sides for one in (side.software.bundle, side.software.shell)}
        needed |= self._renewing.needed()
        with contextlib.suppress(OSError):
            for name in os.listdir(folder):
                if name.partition(".")[0] not in needed:
                    path = os.path.join(folder, name)
                    os.unlink(path) if os.path.isfile(path) else shutil.rmtree(path, ignore_errors=True)

    def _load(self) -> Loaded:
        for path in (self._path, self._path + ".1"):
            try:
                content = read_json(path, _LARGEST)
                if content is None:
                    continue
                loaded = self._understand(_decoded(content))
            except (ValueError, MachineError) as error:
                self._log.error("the state of the configuration is lost", extra={"file": path, "error": str(error)})
                self._shell.tell("", "configuration", f"{os.path.basename(path)} can't be used: {error}")
                with contextlib.suppress(OSError):
                    os.replace(path, path + ".unreadable")
            else:
                self._kept = content["content"]
                return loaded
        return Loaded()

    def _understand(self, content: Mapping[str, Any]) -> Loaded:
        """
        Raises:
            ValueError: not what we wrote.
        """
        try:
            self._texts = {str(digest): text.encode() for digest, text in content["documents"].items()}
            loaded = Loaded(
                desired=_mark(content["desired"]),
                attempted=_mark(content["attempted"]),
                outcome=Outcome(content["outcome"]),
                error=str(content["error"]),
                tries=int(content["tries"]),
                good=_mark(content["good"]),
                before=None if content["before"] is None else _mark(content["before"]),
                bad=tuple(map(_mark, content["bad"])),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not the state of a configuration: {error!r}") from None
        return self._usable(loaded)

    def _usable(self, loaded: Loaded) -> Loaded:
        """Without what can't be run any more: documents that are missing, damaged, or denied here by now."""
        for mark in (loaded.good, loaded.before, loaded.attempted):
            if mark is None or mark in self._sides:
                continue
            if not mark.digest:
                self._sides[mark] = self._ground.own
                continue
            text = self._texts.get(mark.digest, b"")
            try:
                if digest_of(text) != mark.digest:
                    raise ValueError("its document is not there")
                side = self._ground.accept(text)
                if side.software.bundle and not os.path.isdir(program_at(self._ground.state, side.software.bundle)):
                    raise ValueError(f"its bundle {side.software.bundle[:16]}… is not there")
                self._sides[mark] = side
            except (FustorError, ValueError) as error:
                wanted = mark != loaded.attempted or loaded.outcome in OPEN
                if wanted:
                    self._say(f"revision {mark.revision} can't be used any more: {error}")
        good = loaded.good if loaded.good in self._sides else loaded.before
        if good is None or good not in self._sides:
            good = OWN
        before = loaded.before if loaded.before in self._sides and loaded.before != good else None
        outcome = loaded.outcome
        if outcome in OPEN and loaded.attempted not in self._sides:
            outcome = Outcome.FAILED
        return attrs.evolve(loaded, good=good, before=before, outcome=outcome)


def _plain(mark: Mark) -> list[Any]:
    return [mark.revision, mark.digest]


def _mark(value: Any) -> Mark:
    """
    Raises:
        TypeError: it is none.
    """
    revision, digest = value
    if type(revision) is not int or type(digest) is not str:
        raise TypeError("a mark is a number and a text")
    return Mark(revision, digest)


def _sum(content: Any) -> str:
    return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=16).hexdigest()


def _encoded(content: Any) -> bytes:
    whole = {"format": FORMAT, "sum": _sum(content), "content": content}
    return json.dumps(whole, indent=1, sort_keys=True).encode() + b"\n"


def _decoded(value: Any) -> Mapping[str, Any]:
    """
    Raises:
        ValueError: of a later program, or damaged.
    """
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise ValueError(f"format {FORMAT} is accepted")
    content = value.get("content")
    if not isinstance(content, dict) or value.get("sum") != _sum(content):
        raise ValueError("it is damaged")
    return content
