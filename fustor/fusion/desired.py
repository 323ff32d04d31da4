"""
What is desired of each agent, and of Fusion's own payloads: validated before it is kept, told by number, fetched when
it differs.

An agent has the document that was pushed for it; without one, the fleet-wide default; without that, its own file. Where
nobody ever pushed anything Fusion has nothing to say (revision 0), and the agent keeps what it has. Agents are told
with every heartbeat, Fusion's own side (:class:`Own`) when something changes.

Only numbers and digests are kept in memory: a heartbeat is answered without the disk. The database is read and written
in a thread, one call at a time; a database that fails makes operations fail, and no heartbeat.

What this module does not do: know how an agent comes to it (:mod:`protocols.desired`), or send by itself.
"""

from __future__ import annotations

import logging
import os
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import attrs
import trio

from fustor.fusion import program
from fustor.fusion.revisions import DEFAULT, DesiredLimits, Revision, Revisions
from fustor.runtime.audit import Audit
from fustor.runtime.document import Software, check, digest_of, parse
from fustor.runtime.source import NAME
from protocols.desired import Mark
from protocols.errors import ConfigError, FustorError, MachineError, RequestError
from protocols.messages import ConfigurationStatus, Document
from protocols.orders import FUSION
from protocols.session import FusionSession, LinkState

T = TypeVar("T")
#: Questions of agents that wait for the disk; further ones are asked again by the agents.
_QUESTIONS = 1024
#: Documents kept in memory, for a fleet that asks for the same one.
_CACHED = 4
#: Characters of a reason.
REASON_CHARACTERS = 500


class Own(Protocol):
    """Fusion's own side, which takes its documents from here."""

    def told(self, mark: Mark) -> None:
        """This is desired of it."""
        ...

    def arrived(self, document: Document) -> None:
        """The document that it asked for."""
        ...

    def status(self) -> ConfigurationStatus:
        """What it makes of it."""
        ...


class Desired:
    """
    Args:
        state: Fusion's state folder.
        limits: bounds.
        session: the agents.
        audit: every change goes there.
        send: sends an agent a document; False when it can't be now.
        own: Fusion's own side.
        has_bundle: whether there is a bundle of this digest.
        log: for changes.

    Attributes:
        loaded: what is desired of whom is known.
        counters: ``pushed``, ``refused``, ``sent`` (documents), ``unasked`` (questions that were dropped).
    """

    def __init__(
        self,
        state: str,
        limits: DesiredLimits,
        session: FusionSession,
        audit: Audit,
        *,
        send: Callable[[str, Document], bool],
        own: Own,
        has_bundle: Callable[[str], bool],
        log: logging.Logger,
    ) -> None:
        self.loaded = False
        self.counters = dict.fromkeys(("pushed", "refused", "sent", "unasked"), 0)
        self._path = os.path.join(state, "revisions.db")
        self._limits = limits
        self._session = session
        self._audit = audit
        self._send = send
        self._own = own
        self._has_bundle = has_bundle
        self._log = log
        self._turn = trio.Lock()
        self._revisions: Revisions | None = None
        self._trouble = "it is being opened"
        self._heads: dict[str, Revision] = {}
        self._cache: OrderedDict[int, bytes] = OrderedDict()
        self._asked, self._questions = trio.open_memory_channel[tuple[str, int]](_QUESTIONS)

    async def run(self) -> None:
        """
        Open the database, then answer agents, until cancelled.

        Raises:
            MachineError: the database can't be used; to be started again.
        """
        try:
            self._revisions = await self._do(Revisions, self._path, self._limits.kept)
            self._heads = {head.agent: head for head in await self._do(self._revisions.heads)}
            self.loaded = True
            self._own.told(Mark(*self.of(FUSION)))
            while True:
                agent, number = await self._questions.receive()
                await self._answer(agent, number)
        except MachineError as error:
            self._trouble = str(error)
            raise
        finally:
            if self._revisions is not None:
                self._revisions.close()
                self._revisions = None

    def of(self, agent: str) -> tuple[int, str]:
        """What is desired of ``agent``: (revision, digest); revision 0 when there is nothing to say."""
        head = self._head(agent)
        return (0, "") if head is None else (head.number, head.digest)

    def ask(self, agent: str, number: int) -> None:
        """An agent wants the document of a revision."""
        try:
            self._asked.send_nowait((agent, number))
        except trio.WouldBlock:
            self.counters["unasked"] += 1  # it asks again

    # -- people -----------------------------------------------------------------------------------------------------

    async def show(self, agent: str, revision: int) -> dict[str, Any]:
        """
        What is desired of an agent (or the default), or one revision of it; with what the agent makes of it.

        Raises:
            RequestError: no such agent or revision.
            MachineError: the database can't be used.
        """
        self._known(agent)
        head = await self._find(agent, revision) if revision else self._head(agent)
        whole = await self._do(self._store().get, head.number) if head is not None else None
        status, link = self._own.status() if agent == FUSION else None, self._session.links.get(agent)
        if link is not None and link.heartbeats:
            status = link.configuration
        return {
            "agent": agent,
            "from": "none" if head is None else _source(agent, head),
            "revision": None if whole is None else _plain(whole),
            "document": None if whole is None or whole.document is None else whole.document.decode(),
            "link": LinkState.ONLINE.value if agent == FUSION else "" if link is None else link.state.value,
            "status": None if status is None else attrs.asdict(status),  # type: ignore[arg-type]
            "agents": {} if agent else self._followers(),
        }

    async def owner(self, revision: int) -> dict[str, Any]:
        """
        Whose a revision is.

        Raises:
            RequestError: there is none of this number (any more).
            MachineError: as :meth:`show`.
        """
        found = await self._do(self._store().get, revision)
        if found is None:
            raise RequestError("revision", revision, "a revision that is kept is accepted, see the histories")
        return {"agent": found.agent}

    async def history(self, agent: str) -> dict[str, Any]:
        """
        The revisions of an agent, or of the default, newest first.

        Raises:
            RequestError, MachineError: as :meth:`show`.
        """
        self._known(agent)
        revisions, removed = await self._do(self._store().history, agent)
        return {"revisions": [_plain(one) for one in revisions], "removed": removed}

    async def push(
        self, agent: str, document: str, reason: str, file: str, *, by: str, role: str, proven: bool = False
    ) -> dict[str, Any]:
        """
        Desire another document of an agent, or of all that have none of their own.

        Args:
            proven: the payloads run what it tells them already, and need not be asked.

        Raises:
            RequestError: a fault, or several, each with file, key, value and what is accepted.
            MachineError: it can't be kept.
        """
        self._known(agent)
        self._check_reason(reason)
        text = document.encode()
        faults = await (self._faults_of_own(text, file) if agent == FUSION else self._faults(text, file, proven=proven))
        if faults:
            self.counters["refused"] += 1
            raise RequestError("", file, "\n".join(faults))
        return await self._add(agent, text, digest_of(text), reason, by, role)

    async def rollback(self, agent: str, revision: int, reason: str, *, by: str, role: str) -> dict[str, Any]:
        """
        Desire what an earlier revision of the same agent said, under a new number.

        Raises:
            RequestError: no such revision.
            MachineError: as :meth:`push`.
        """
        self._known(agent)
        self._check_reason(reason)
        old = await self._find(agent, revision)
        whole = await self._do(self._store().get, old.number)
        document = None if whole is None else whole.document
        return await self._add(agent, document, old.digest, f"{reason} (revision {revision})", by, role)

    async def unset(self, agent: str, reason: str, *, by: str, role: str) -> dict[str, Any]:
        """
        Desire nothing of an agent from now on: the default holds, or its own file. Of the default likewise.

        Raises:
            RequestError, MachineError: as :meth:`push`.
        """
        self._known(agent)
        self._check_reason(reason)
        return await self._add(agent, None, "", reason, by, role)

    # -- inside -----------------------------------------------------------------------------------------------------

    def _head(self, agent: str) -> Revision | None:
        own, default = self._heads.get(agent), None if agent == FUSION else self._heads.get(DEFAULT)
        found = [head for head in (own, default) if head is not None]
        with_document = [head for head in found if head.document is not None]
        # Where nothing is left it was said so last by the later of the two.
        return with_document[0] if with_document else max(found, key=lambda head: head.number, default=None)

    def _followers(self) -> dict[str, Any]:
        """Agents that follow the default, with what they make of it."""
        default = self._heads.get(DEFAULT)
        return {
            name: {"link": link.state.value, "status": attrs.asdict(link.configuration)}  # type: ignore[arg-type]
            for name, link in sorted(self._session.links.items())
            if self._head(name) is default
        }

    def _known(self, agent: str) -> None:
        """An agent need not have logged in yet: its configuration may wait for it."""
        if agent not in (DEFAULT, FUSION):
            try:
                NAME(None, _AGENT, agent)
            except ConfigError as error:
                raise RequestError("agent", agent[:64], error.accepted) from None

    @staticmethod
    def _check_reason(reason: str) -> None:
        if not 0 < len(reason.strip()) <= REASON_CHARACTERS:
            raise RequestError("reason", reason[:64], f"1 to {REASON_CHARACTERS} characters are accepted")

    async def _faults(self, text: bytes, file: str, *, proven: bool) -> list[str]:
        if len(text) > self._limits.document_bytes:
            return [f"{file}: {len(text)} bytes, at most {self._limits.document_bytes} are accepted"]
        try:
            side = await trio.to_thread.run_sync(parse, text, file)
        except FustorError as error:
            return str(error).splitlines()
        lacking = await self._lacks(side.software, file)
        if lacking or proven:
            return lacking
        return [f"{file}: {fault}" for fault in await trio.to_thread.run_sync(check, side)]

    async def _faults_of_own(self, text: bytes, file: str) -> list[str]:
        try:
            side = program.parse(text, file)
        except FustorError as error:
            return str(error).splitlines()
        return await self._lacks(side.software, file)

    async def _lacks(self, software: Software, file: str) -> list[str]:
        accepted = "one that Fusion has is accepted: fustor bundle push FILE"
        return [
            f"{file}: software.{name} = {digest!r}: {accepted}"
            for name, digest in attrs.asdict(software).items()
            if digest and not await trio.to_thread.run_sync(self._has_bundle, digest)
        ]

    async def _find(self, agent: str, number: int) -> Revision:
        found = await self._do(self._store().get, number)
        if found is None or found.agent != agent:
            whose = f"agent {agent}" if agent else "the default"
            raise RequestError("revision", number, f"a revision of {whose} is accepted, see its history")
        return found

    async def _add(
        self, agent: str, document: bytes | None, digest: str, reason: str, by: str, role: str
    ) -> dict[str, Any]:
        store = self._store()

        def add() -> Revision:
            return store.add(agent, document, digest, author=by, role=role, reason=reason)

        # What was decided is carried out whole, whoever stops waiting for it.
        with trio.CancelScope(shield=True):
            added = await self._do(add)
            self._heads[agent] = attrs.evolve(added, document=None if document is None else b"")
            self.counters["pushed"] += 1
            self._log.warning(
                "configuration", extra={"agent": agent or "(default)", "revision": added.number, "by": by}
            )
            entry = {"entry": "configuration", "target": agent or "(default)", "revision": added.number}
            who = {"by": by, "role": role, "kind": "unset" if document is None else "push", "state": "kept"}
            await self._audit.note({**entry, **who, "digest": digest, "text": reason[:REASON_CHARACTERS]}, self._log)
        if agent == FUSION:
            self._own.told(Mark(*self.of(FUSION)))
        elif agent != DEFAULT and document is not None:
            # At once; of the default agents learn with their heartbeats, a fleet of them not all at a time.
            self.ask(agent, added.number)
        return _plain(added)

    async def _answer(self, agent: str, number: int) -> None:
        text = self._cache.get(number)
        if text is None:
            found = await self._do(self._store().get, number)
            if found is None or found.document is None or found.agent not in (agent, DEFAULT):
                return  # it was told another one meanwhile
            text = self._cache[number] = found.document
            while len(self._cache) > _CACHED:
                self._cache.popitem(last=False)
        link = self._session.links.get(agent)
        if agent == FUSION:
            self._own.arrived(Document(epoch=0, revision=number, text=text))
        elif link is not None and self.of(agent)[0] == number:
            self.counters["sent"] += self._send(agent, Document(epoch=link.epoch, revision=number, text=text))

    def _store(self) -> Revisions:
        if self._revisions is None:
            raise MachineError(f"configurations can't be read or changed now: {self._trouble}")
        return self._revisions

    async def _do(self, call: Callable[..., T], *arguments: Any) -> T:
        """One call at a time, off the loop."""
        async with self._turn:
            return await trio.to_thread.run_sync(call, *arguments)


#: For the words of the validator of names.
_AGENT: Any = type("_Agent", (), {"name": "agent"})()


def _source(agent: str, head: Revision) -> str:
    if head.document is None:
        return "file"
    return "default" if head.agent == DEFAULT and agent else "own"


def _plain(revision: Revision) -> dict[str, Any]:
    return {
        "number": revision.number,
        "agent": revision.agent,
        "digest": revision.digest,
        "unset": revision.document is None,
        "author": revision.author,
        "role": revision.role,
        "reason": revision.reason,
        "at": revision.at,
    }
