"""
The looks that readers want, between query workers and agents: who wants which, and how far it is.

Whoever wants a look asks for it again and again until it has ended, so nothing here has to be sent twice. What this
module does not do: look, send, or read a clock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from protocols.bounds import between
from protocols.looks import DONE, ENDED, REFUSED, WAITING, Look, Looked

#: Bytes of the rows of one answer.
ANSWER_BYTES = 256 << 10
#: Bytes of a row beside its path.
_ROW_BYTES = 512
#: Why a look is not begun.
_AWAY = "the agent is not connected"


@attrs.frozen
class LookLimits:
    """
    ``[limits.looks]``: the looks of readers.

    Attributes:
        kept: looks that are known at once, with those that have ended; of those the oldest go first.
        forgotten_seconds: one that nobody has asked for again for so long has ended.
    """

    kept: int = attrs.field(default=1024, validator=between(1, 1 << 20))
    forgotten_seconds: float = attrs.field(default=60.0, validator=between(1, 86400))


@attrs.define(eq=False)
class _Known:
    """A look, how far it is, since when it is known and asked for, and who wants it."""

    look: Look
    said: Looked
    since: float
    asked: float
    ended: float | None = None
    names: set[str] = attrs.Factory(set)


class Looks:
    """
    Args:
        limits: what is kept.
        sources: view → (agent, source) of each of its sources.
        pass_on: gives a look to its agent; False: it is not there.
        tell: tells a query worker how far a look is.

    Attributes:
        counters: looks by what became of them.
    """

    def __init__(
        self,
        limits: LookLimits,
        sources: Mapping[str, frozenset[tuple[str, str]]],
        *,
        pass_on: Callable[[Look], bool],
        tell: Callable[[str, Looked], object],
    ) -> None:
        self._limits = limits
        self._sources = sources
        self._pass_on = pass_on
        self._tell = tell
        self._known: dict[tuple[str, str, str], _Known] = {}
        self.counters = {"looks": 0, "looks_done": 0, "looks_refused": 0}

    def wanted(self, name: str, look: Look, now: float) -> None:
        """The query worker ``name`` wants a look, or to know how far it is."""
        key = look.id, look.agent, look.source
        known = self._known.get(key)
        if known is not None:
            known.asked = now
            known.names.add(name)
            if known.said.state in ENDED:
                self._tell(name, known.said)
            elif not look.later:
                begins, known.look = known.look.later, look
                # An agent that is away has not forgotten what it began, or begins anew.
                if not self._pass_on(look) and begins:
                    self.heard(look.agent, _said(look, REFUSED, _AWAY), now)
            return
        self._forget(now)
        refusal = ""
        if (look.agent, look.source) not in self._sources.get(look.view, ()):
            refusal = "the view has no such source"
        elif len(self._known) >= self._limits.kept:
            refusal = f"{self._limits.kept} looks are under way (limits.looks, kept)"
        elif not look.later and not self._pass_on(look):
            refusal = _AWAY
        if refusal:
            self.counters["looks_refused"] += 1
            self._tell(name, _said(look, REFUSED, refusal))
            return
        self.counters["looks"] += 1
        self._known[key] = _Known(look, _said(look, WAITING), now, now, names={name})

    def heard(self, agent: str, looked: Looked, now: float) -> None:
        """What an agent says of a look."""
        known = self._known.get((looked.id, agent, looked.source))
        if known is None or known.said.state in ENDED:
            return
        known.said = looked
        if looked.state in ENDED:
            known.ended = now
            self.counters["looks_done" if looked.state == DONE else "looks_refused"] += 1
        for name in known.names:
            self._tell(name, looked)

    def rows(self, view: str, now: float) -> tuple[dict[str, Any], ...]:
        """The looks of a view, the latest first, as plain data: paths as bytes, durations in seconds."""
        rows: list[dict[str, Any]] = []
        room = ANSWER_BYTES
        for known in reversed(self._known.values()):
            room -= _ROW_BYTES + len(known.look.path)
            if known.look.view == view and room > 0:
                rows.append(_row(known, now))
        return tuple(rows)

    def _forget(self, now: float) -> None:
        """Make room: looks that have ended, and those that nobody wants any more."""
        for key, known in list(self._known.items()):
            if len(self._known) < self._limits.kept:
                return
            if known.said.state in ENDED or now - known.asked > self._limits.forgotten_seconds:
                del self._known[key]


def _said(look: Look, state: str, text: str = "") -> Looked:
    return Looked(id=look.id, agent=look.agent, source=look.source, state=state, text=text)


def _row(known: _Known, now: float) -> dict[str, Any]:
    look, said = known.look, known.said
    return {
        "job_id": look.id,
        "agent": look.agent,
        "source": look.source,
        "path": look.path,
        "depth": look.depth,
        "state": said.state,
        "error": said.text,
        "directories": said.directories,
        "skipped": said.skipped,
        "as_of_ns": said.as_of_ns,
        "age": now - known.since,
        "seconds": (now if known.ended is None else known.ended) - known.since,
    }
