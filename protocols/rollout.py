"""
How a program comes to a fleet: to a few agents first, then to more at a time, and to nobody else where it fails.

Of one agent::

    waiting ──its wave opens──► asked ──► trying ──it says good──────────────────► good
      ▲                           │          └── refused, failed, silent too long ──► failed
      └── not there any more ─────┘

The rollout itself::

    running ◄──resume── paused           running, paused ──abort──► aborted
       └── pause, or too many failed ─────►

Rules:

- A wave opens when nobody of the one before is asked or trying, and not too many have failed. The first one has
  ``canary`` agents, the others a ``share`` of all.
- Only who is there is in a wave. Who is away waits, and is served by a later wave when it is back; so is an agent that
  nobody knew of, where the rollout is for everyone. So a rollout is never over, only *served* for now.
- An agent leaves a bad program by itself (:mod:`protocols.desired`). What it says later counts: one that falls back
  long after it was good has failed, and one that was silent too long and says good is good.
- One that is lost while it tries is waited for as long as others, and has failed then: no success is assumed.
- Where somebody desires something else of an agent meanwhile, the agent is *overtaken*: neither good nor failed.
- What was good before is remembered for each agent, so that all can be taken back. It is written down before the agent
  is given anything.

What this module does not do: know documents or bundles, push, write, or read a clock. ``now`` is in seconds of a
monotonic clock.
"""

from __future__ import annotations

import enum
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import attrs

from protocols.bounds import between, positive
from protocols.desired import Outcome

#: Characters of what an agent said that are kept.
TEXT_CHARACTERS = 300


@attrs.frozen
class RolloutPolicy:
    """
    Attributes:
        canary: agents of the first wave.
        share: of all agents, in each later wave; at least one.
        failures: that are borne: one more pauses the rollout.
        verdict_seconds: until an agent that tries it has to say good, else it has failed.
    """

    canary: int = attrs.field(default=1, validator=between(1, 1_000_000))
    share: float = attrs.field(default=0.25, validator=between(0.000_001, 1))
    failures: int = attrs.field(default=0, validator=between(0, 1_000_000))
    verdict_seconds: float = attrs.field(default=600.0, validator=positive)


class Phase(enum.Enum):
    """Where the rollout is. The value is what people and files see."""

    RUNNING = "running"
    PAUSED = "paused"
    ABORTED = "aborted"


class Standing(enum.Enum):
    """How far one agent is. The value is what people and files see."""

    WAITING = "waiting"
    ASKED = "asked"
    TRYING = "trying"
    GOOD = "good"
    FAILED = "failed"
    OVERTAKEN = "overtaken"


#: They belong to a wave that is open.
OPEN = frozenset({Standing.ASKED, Standing.TRYING})


@attrs.define(eq=False)
class Member:
    """
    One agent of a rollout.

    Attributes:
        standing: how far it is.
        revision: that it was given; 0 for none.
        before: the revision that was good there until then; 0: its own file, or nobody knows.
        text: what it says of it.
        since: when it was asked.
    """

    standing: Standing = Standing.WAITING
    revision: int = 0
    before: int = 0
    text: str = ""
    since: float = 0.0


# -- events ---------------------------------------------------------------------------------------------------------


@attrs.frozen
class Sight:
    """
    One agent as Fusion sees it now.

    Attributes:
        online: it is there.
        desired: the revision that is desired of it; 0 for none.
        good: the revision that it last found good; 0 for none.
        attempted: the revision that it tried last.
        outcome: what became of that, a value of :class:`protocols.desired.Outcome`.
        error: why it is not good.
    """

    online: bool
    desired: int = 0
    good: int = 0
    attempted: int = 0
    outcome: str = ""
    error: str = ""


@attrs.frozen
class Seen:
    """All agents that Fusion knows, by name, as they are now. Also says that time has passed."""

    agents: Mapping[str, Sight]


@attrs.frozen
class Pushed:
    """``agent`` is desired to run it, by ``revision``."""

    agent: str
    revision: int


@attrs.frozen
class Ran:
    """``agent`` runs it already; nothing was pushed."""

    agent: str


@attrs.frozen
class NotPushed:
    """``agent`` could not be given it; ``refused``: for a reason that stays, else it is tried again when it is seen."""

    agent: str
    text: str
    refused: bool = False


@attrs.frozen
class Pause:
    """Somebody wants no further wave."""

    text: str


@attrs.frozen
class Resume:
    """Somebody wants to go on, whatever has failed so far."""


@attrs.frozen
class Abort:
    """Somebody wants it to be over: who has it keeps it."""

    text: str


Event: TypeAlias = Seen | Pushed | Ran | NotPushed | Pause | Resume | Abort

# -- effects --------------------------------------------------------------------------------------------------------


@attrs.frozen
class Push:
    """Desire the program of this agent; answered with Pushed, Ran or NotPushed."""

    agent: str


@attrs.frozen
class Keep:
    """Write down where it is."""


@attrs.frozen
class Say:
    """Tell people."""

    text: str


Effect: TypeAlias = Push | Keep | Say


@attrs.define(eq=False)
class Rollout:
    """
    Args and attributes:
        policy: bounds.
        everyone: agents that are not named are taken up as they come.
        members: by name; those named at the beginning, at least.
        phase: see the module.
        text: why it is paused or aborted.
        borne: failures that a person has accepted by going on.
        wave: number of the last one opened; 0 for none.
    """

    policy: RolloutPolicy
    everyone: bool = False
    members: dict[str, Member] = attrs.Factory(dict)
    phase: Phase = Phase.RUNNING
    text: str = ""
    borne: int = 0
    wave: int = 0
    #: Who is there, with the revision that is good there; None: nobody was looked at yet.
    _online: Mapping[str, int] | None = None

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take one event, return what is to be done, in order. An event that means nothing here changes nothing."""
        return TRANSITIONS[type(event)](self, event, now)

    def counts(self) -> Counter[str]:
        """How many agents stand where, by the value of their standing."""
        return Counter(member.standing.value for member in self.members.values())

    @property
    def served(self) -> bool:
        """Nobody is open, and nobody who is there waits."""
        return self._online is not None and not any(
            member.standing in OPEN or (member.standing is Standing.WAITING and name in self._online)
            for name, member in self.members.items()
        )

    @property
    def over(self) -> bool:
        """Another one may begin."""
        return self.phase is Phase.ABORTED or self.served

    # -- transitions ------------------------------------------------------------------------------------------------

    def _seen(self, event: Seen, now: float) -> list[Effect]:
        if self.phase is Phase.ABORTED:
            return []
        self._online = {name: sight.good for name, sight in event.agents.items() if sight.online}
        changed = False
        for name in sorted(self._online.keys() - self.members.keys()) if self.everyone else ():
            self.members[name] = Member()
            changed = True
        for name, member in self.members.items():
            changed |= self._judge(member, event.agents.get(name, Sight(online=False)), now)
        return [*([Keep()] if changed else []), *self._advance(now)]

    def _judge(self, member: Member, sight: Sight, now: float) -> bool:
        """Take up what an agent says of what it was given; whether that changes anything."""
        if not member.revision or member.standing is Standing.OVERTAKEN:
            return False
        before = member.standing, member.text
        if sight.desired != member.revision:
            member.standing, member.text = Standing.OVERTAKEN, f"revision {sight.desired} is desired of it now"
        elif sight.attempted == member.revision and sight.outcome == Outcome.GOOD.value:
            member.standing, member.text = Standing.GOOD, ""
        elif sight.attempted == member.revision and sight.outcome in _BAD:
            how = "refused: " if sight.outcome == Outcome.REFUSED.value else ""
            member.standing, member.text = Standing.FAILED, f"{how}{sight.error}"[:TEXT_CHARACTERS]
        elif member.standing is Standing.TRYING and now - member.since >= self.policy.verdict_seconds:
            where = "" if sight.online else ", and it is away"
            text = f"it did not say good within {self.policy.verdict_seconds:g} s{where}"
            member.standing, member.text = Standing.FAILED, text
        return before != (member.standing, member.text)

    def _advance(self, now: float) -> list[Effect]:
        """The next wave, where it may open."""
        failed = sum(member.standing is Standing.FAILED for member in self.members.values())
        if self.phase is not Phase.RUNNING or self._online is None:
            return []
        if failed - self.borne > self.policy.failures:
            names = sorted(name for name, member in self.members.items() if member.standing is Standing.FAILED)
            few = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
            return self._stop(Phase.PAUSED, f"{failed} failed, {self.policy.failures + self.borne} are borne: {few}")
        standing = [member.standing for member in self.members.values()]
        if any(one in OPEN for one in standing):
            return []
        ready = sorted(n for n, m in self.members.items() if m.standing is Standing.WAITING and n in self._online)
        if not ready:
            return []
        size = self.policy.canary if self.wave == 0 else math.ceil(self.policy.share * len(self.members))
        chosen = ready[:size]
        self.wave += 1
        for name in chosen:
            member = self.members[name]
            member.standing, member.since = Standing.ASKED, now
            # One that was asked before by somebody who died may run it by now.
            member.before = member.before or self._online[name]
        return [Keep(), Say(f"wave {self.wave}: {_few(chosen)}"), *map(Push, chosen)]

    def _pushed(self, event: Pushed, now: float) -> list[Effect]:
        member = self.members.get(event.agent)
        if member is None:
            return []
        member.standing, member.revision, member.since = Standing.TRYING, event.revision, now
        return [Keep()]

    def _ran(self, event: Ran, now: float) -> list[Effect]:
        member = self.members.get(event.agent)
        if member is None:
            return []
        member.standing, member.text = Standing.GOOD, "it ran it already"
        return [Keep(), *self._advance(now)]

    def _not_pushed(self, event: NotPushed, now: float) -> list[Effect]:
        member = self.members.get(event.agent)
        if member is None:
            return []
        member.standing, member.before = (Standing.FAILED if event.refused else Standing.WAITING), 0
        member.text = event.text[:TEXT_CHARACTERS]
        # One that is not refused is looked at with the next sight of all: it may have gone.
        return [Keep()]

    def _pause(self, event: Pause, now: float) -> list[Effect]:
        return self._stop(Phase.PAUSED, event.text) if self.phase is Phase.RUNNING else []

    def _resume(self, event: Resume, now: float) -> list[Effect]:
        if self.phase is not Phase.PAUSED:
            return []
        self.phase, self.text = Phase.RUNNING, ""
        self.borne = sum(member.standing is Standing.FAILED for member in self.members.values())
        return [Keep(), Say("the rollout goes on"), *self._advance(now)]

    def _abort(self, event: Abort, now: float) -> list[Effect]:
        return [] if self.phase is Phase.ABORTED else self._stop(Phase.ABORTED, event.text)

    def _stop(self, phase: Phase, text: str) -> list[Effect]:
        self.phase, self.text = phase, text
        return [Keep(), Say(f"the rollout is {phase.value}: {text}")]


_BAD = frozenset({Outcome.REFUSED.value, Outcome.FAILED.value})

#: What each event does; phases matter inside, for an agent's word counts in all of them.
TRANSITIONS: Mapping[type[Any], Callable[[Rollout, Any, float], list[Effect]]] = {
    Seen: Rollout._seen,
    Pushed: Rollout._pushed,
    Ran: Rollout._ran,
    NotPushed: Rollout._not_pushed,
    Pause: Rollout._pause,
    Resume: Rollout._resume,
    Abort: Rollout._abort,
}


def _few(names: Iterable[str]) -> str:
    known = list(names)
    return f"{len(known)} agents, {known[0]} first" if len(known) > 3 else ", ".join(known)
