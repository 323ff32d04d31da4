"""
How an agent comes to a configuration that Fusion desires, and back when that one is bad.

::

    idle ──loaded──► steady ──came──► settling ──all run it──► proving ──held, with progress──► steady (good)
                       ▲                 │  ▲                     │
                       │                 │  └── one runs no more ─┤
                       └── refused, crashed, hung, not in time, ◄─┘            back on the last known good one
                           worse than before

Three facts are told at once: what is *desired*, what was *attempted* last and what became of it, and what *runs*.

Rules:

- What is attempted is written down before it is applied, so that no crash can make it be tried for ever.
- Where one payload is given it at a time, each has to hold through a probation before the next one follows.
- Good is only what held through a probation with progress, and was heard after it; before that the last known good one
  is kept.
- What was bad is not tried again; the same content under a new number is.
- A mark of revision 0 says nothing: nobody has ever desired anything, and whatever runs goes on. An empty document is a
  configuration like others. A revision without a digest means the configuration in the agent's own file.
- Without Fusion nothing changes: what runs goes on, and a probation goes on to its end.

What this module does not do: read documents, apply them, write, send, or read a clock. ``now`` is in seconds of a
monotonic clock.
"""

from __future__ import annotations

import enum
import math
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import attrs

from protocols.bounds import positive
from protocols.errors import ConfigError
from protocols.messages import ConfigurationStatus

#: Marks that are remembered as bad.
BAD_MOST = 16
#: Characters of an error that are kept and told.
ERROR_CHARACTERS = 4000
#: Seconds between two looks for progress once a probation is over.
LOOK_SECONDS = 1.0
#: Ends that count as much as all crashes that are borne.
_GRAVE = frozenset({"hang", "protocol", "abandoned"})


def _a_few(instance: object, attribute: attrs.Attribute[Any], value: int) -> None:
    if not 1 <= value <= 100:
        raise ConfigError(attribute.name, value, "a number from 1 to 100 is accepted")


@attrs.frozen
class ProbationPolicy:
    """
    When a configuration is good, and when it is bad.

    Attributes:
        settle_seconds: until the next payload runs it, since it was applied or since the last one did: else it is bad.
        probation_seconds: how long all payloads have to run it without a break.
        crashes: of payloads with it, before it is good, that make it bad. A hang does at once.
        tries: lives of a control actor in which it is tried.
        fetch_seconds: until a document that does not come is asked for again.
    """

    settle_seconds: float = attrs.field(default=8.0, validator=positive)
    probation_seconds: float = attrs.field(default=30.0, validator=positive)
    crashes: int = attrs.field(default=2, validator=_a_few)
    tries: int = attrs.field(default=5, validator=_a_few)
    fetch_seconds: float = attrs.field(default=2.0, validator=positive)


@attrs.frozen(order=True)
class Mark:
    """A revision of Fusion: its number (0: none), and the digest of its document (empty: the agent's own file)."""

    revision: int = 0
    digest: str = ""


#: The configuration in the agent's own file, which was never sent.
OWN = Mark()


class Phase(enum.Enum):
    """Where it is. The value is what people see."""

    IDLE = "idle"
    STEADY = "steady"
    SETTLING = "settling"
    PROVING = "proving"


class Outcome(enum.Enum):
    """What became of the last attempt. The value is what people and messages see."""

    NONE = ""
    TRYING = "trying"
    RUNNING = "running"  # on probation
    GOOD = "good"
    REFUSED = "refused"
    FAILED = "failed"


#: Nothing has become of it yet.
OPEN = frozenset({Outcome.TRYING, Outcome.RUNNING})

# -- events ---------------------------------------------------------------------------------------------------------


@attrs.frozen
class Loaded:
    """What was on disk, at the start of each life."""

    desired: Mark = OWN
    attempted: Mark = OWN
    outcome: Outcome = Outcome.NONE
    error: str = ""
    tries: int = 0
    good: Mark = OWN
    before: Mark | None = None
    bad: tuple[Mark, ...] = ()


@attrs.frozen
class Told:
    """Fusion desires this."""

    mark: Mark


@attrs.frozen
class Came:
    """The document of this mark is here; ``faults``: why it can't be accepted, empty when it can."""

    mark: Mark
    faults: str = ""


@attrs.frozen
class Sight:
    """
    One payload that the attempted configuration changes.

    Attributes:
        well: it runs it, or people hold it.
        refused: why it does not accept it; empty otherwise.
        done: moves while it works.
        idle: it has no work.
        heard: when it last said so, on the clock of ``now``.
        worse: than with the last known good one, and how; see :mod:`protocols.regress`.
    """

    well: bool
    refused: str = ""
    worse: str = ""
    done: int = 0
    idle: bool = True
    heard: float = math.inf


@attrs.frozen
class Seen:
    """
    The payloads that the attempted configuration changes, by name, as they are now.

    Attributes:
        payloads: those that were given it.
        more: others are given it only when these have held.
    """

    payloads: Mapping[str, Sight]
    more: bool = False


@attrs.frozen
class Broke:
    """A payload failed with the attempted configuration; ``kind`` as in :class:`protocols.supervision.Failed`."""

    payload: str
    kind: str
    text: str


@attrs.frozen
class Resort:
    """A payload fails again and again, and the configuration before would be another one for it."""

    payload: str


@attrs.frozen
class Tick:
    """Time has passed."""


Event: TypeAlias = Loaded | Told | Came | Seen | Broke | Resort | Tick

# -- effects --------------------------------------------------------------------------------------------------------


@attrs.frozen
class Fetch:
    """The document of this mark is needed; answered with Came, or asked for again."""

    mark: Mark


@attrs.frozen
class Keep:
    """Write down where it is, before what follows is done."""


@attrs.frozen
class Apply:
    """Let the payloads run this; ``remedy``: nobody asked for it."""

    mark: Mark
    remedy: bool = False


@attrs.frozen
class Widen:
    """Let the next payload run it too: those that do have held."""


@attrs.frozen
class Say:
    """Tell people."""

    text: str


Effect: TypeAlias = Fetch | Keep | Apply | Widen | Say


@attrs.define(eq=False)
class Convergence:
    """
    One agent's way from one configuration to the next.

    Attributes:
        policy: bounds.
        phase: see the module.
        desired: by Fusion, as it said last.
        attempted, outcome, error, tries: the last attempt.
        running: what the payloads are to run.
        good: last known good.
        before: good before that; None for unknown or used up.
        bad: what failed, oldest first.
    """

    policy: ProbationPolicy
    phase: Phase = Phase.IDLE
    desired: Mark = OWN
    attempted: Mark = OWN
    outcome: Outcome = Outcome.NONE
    error: str = ""
    tries: int = 0
    running: Mark = OWN
    good: Mark = OWN
    before: Mark | None = None
    bad: tuple[Mark, ...] = ()
    #: In SETTLING: when it has failed. In PROVING: when it is good, or looked at again.
    _due: float | None = None
    _fetched_at: float | None = None
    _well: frozenset[str] = frozenset()
    #: In PROVING: when it is over, and what each payload had done when it began.
    _over: float = 0.0
    _done: Mapping[str, int] = attrs.Factory(dict)
    _sights: Mapping[str, Sight] = attrs.Factory(dict)
    _more: bool = False
    _crashes: int = 0

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take one event, return what is to be done, in order. An event that means nothing here changes nothing."""
        return TRANSITIONS[self.phase, type(event)](self, event, now)

    @property
    def wake_at(self) -> float | None:
        """When a Tick is wanted; None for never."""
        return self._due

    @property
    def missing(self) -> bool:
        """The document of what is desired is needed."""
        known = (self.attempted, self.good, *self.bad)
        return self.desired.revision != 0 and self.desired not in known

    def status(self) -> ConfigurationStatus:
        """The three facts."""
        return ConfigurationStatus(
            self.desired.revision,
            self.desired.digest,
            self.attempted.revision,
            self.attempted.digest,
            self.outcome.value,
            self.error,
            self.tries,
            self.running.revision,
            self.running.digest,
            self.good.revision,
            self.good.digest,
        )

    # -- transitions ------------------------------------------------------------------------------------------------

    def _nothing(self, event: Event, now: float) -> list[Effect]:
        """The event means nothing in this phase."""
        return []

    def _loaded(self, event: Loaded, now: float) -> list[Effect]:
        self.desired, self.attempted, self.outcome, self.error = (
            event.desired,
            event.attempted,
            event.outcome,
            event.error,
        )
        self.tries, self.good, self.before, self.bad = event.tries, event.good, event.before, event.bad
        if self.outcome not in OPEN:
            self._rest(self.good)
            return [Apply(self.good)]
        if self.tries >= self.policy.tries:
            return self._fall(Outcome.FAILED, f"the control actor ended {self.tries} times while it was tried")
        self.tries += 1
        return self._try(now)

    def _told(self, event: Told, now: float) -> list[Effect]:
        if event.mark.revision == 0:
            return []
        effects: list[Effect] = []
        if event.mark != self.desired:
            self.desired, self._fetched_at = event.mark, None
            effects.append(Keep())
            if self.desired == self.good and self.attempted != self.good:
                return self._return()
        if self.missing and (self._fetched_at is None or now - self._fetched_at >= self.policy.fetch_seconds):
            self._fetched_at = now
            effects.append(Fetch(self.desired))
        return effects

    def _return(self) -> list[Effect]:
        """What is good is desired again."""
        trying = self.outcome in OPEN
        self.attempted, self.outcome, self.error, self.tries = self.good, Outcome.GOOD, "", 1
        self._rest(self.good)
        return [Keep(), *([Apply(self.good)] if trying else [])]

    def _came(self, event: Came, now: float) -> list[Effect]:
        if event.mark != self.desired or not self.missing:
            return []
        self.attempted, self.error, self.tries, self._crashes = event.mark, "", 1, 0
        if event.faults:
            return self._fall(Outcome.REFUSED, event.faults, applied=self.running != self.good)
        return self._try(now)

    def _try(self, now: float) -> list[Effect]:
        self.outcome = Outcome.TRYING
        self._settle(now)
        self._well, self.running = frozenset(), self.attempted
        return [Keep(), Say(f"revision {self.attempted.revision} is tried"), Apply(self.attempted)]

    def _settle(self, now: float) -> None:
        self.phase, self._due = Phase.SETTLING, now + self.policy.settle_seconds

    def _seen_settling(self, event: Seen, now: float) -> list[Effect]:
        self._sights, self._more = event.payloads, event.more
        refusal = self._refusal()
        if refusal:
            return self._fall(Outcome.REFUSED, refusal)
        well = frozenset(name for name, sight in event.payloads.items() if sight.well)
        if not well <= self._well:
            self._settle(now)
        self._well = well
        if len(well) < len(event.payloads):
            return []
        self._over = now + self.policy.probation_seconds
        self.phase, self._due = Phase.PROVING, self._over
        self._done = {name: sight.done for name, sight in event.payloads.items()}
        if not event.payloads:
            return self._promote()
        if self.outcome is Outcome.RUNNING:
            return []
        self.outcome = Outcome.RUNNING
        return [Keep(), Say(f"revision {self.attempted.revision} runs, on probation")]

    def _seen_proving(self, event: Seen, now: float) -> list[Effect]:
        self._sights, self._more = event.payloads, event.more
        refusal = self._refusal()
        if refusal:
            return self._fall(Outcome.REFUSED, refusal)
        worse = [f"{name}: {sight.worse}" for name, sight in event.payloads.items() if sight.worse]
        if worse:
            return self._fall(Outcome.FAILED, "; ".join(worse))
        if not all(sight.well for sight in event.payloads.values()):
            self._well = frozenset(name for name, sight in event.payloads.items() if sight.well)
            self._settle(now)
        return []

    def _refusal(self) -> str:
        return "; ".join(f"{name}: {sight.refused}" for name, sight in self._sights.items() if sight.refused)

    def _broke(self, event: Broke, now: float) -> list[Effect]:
        self._crashes += self.policy.crashes if event.kind in _GRAVE else 1
        if self._crashes >= self.policy.crashes:
            return self._fall(Outcome.FAILED, f"{event.payload}: {event.kind}: {event.text}")
        return []

    def _resort_trying(self, event: Resort, now: float) -> list[Effect]:
        return self._fall(Outcome.FAILED, f"{event.payload} fails again and again")

    def _resort_steady(self, event: Resort, now: float) -> list[Effect]:
        """It was good once, and is not any more."""
        if self.before is None:
            return []
        self.attempted, self.tries = self.good, max(1, self.tries)
        self.good, self.before = self.before, None
        return self._fall(Outcome.FAILED, f"{event.payload} fails again and again, long after its probation")

    def _tick_settling(self, event: Tick, now: float) -> list[Effect]:
        if self._due is None or now < self._due:
            return []
        late = sorted(name for name, sight in self._sights.items() if not sight.well)
        seconds = self.policy.settle_seconds
        return self._fall(Outcome.FAILED, f"not running within {seconds:g} s: {', '.join(late) or 'none was seen'}")

    def _tick_proving(self, event: Tick, now: float) -> list[Effect]:
        if self._due is None or now < self._due:
            return []
        # Who was heard last before the end may have fallen silent within the probation.
        if all(
            sight.heard >= self._over and (sight.idle or sight.done != self._done.get(name, 0))
            for name, sight in self._sights.items()
        ):
            return self._widen(now) if self._more else self._promote()
        self._due = now + LOOK_SECONDS
        return []

    def _widen(self, now: float) -> list[Effect]:
        """The next one has a probation of its own, and those before it once more with it."""
        self._settle(now)
        return [Widen()]

    def _promote(self) -> list[Effect]:
        self.outcome, self.error = Outcome.GOOD, ""
        if self.good != self.attempted:
            self.before, self.good = self.good, self.attempted
        self._rest(self.good)
        return [Keep(), Say(f"revision {self.good.revision} is good")]

    def _fall(self, outcome: Outcome, error: str, *, applied: bool = True) -> list[Effect]:
        """The attempt is over: back to what is known to be good, unless that is what runs."""
        self.outcome, self.error = outcome, error[:ERROR_CHARACTERS]
        self.bad = (*[mark for mark in self.bad if mark != self.attempted], self.attempted)[-BAD_MOST:]
        self._rest(self.good)
        text = f"revision {self.attempted.revision} {outcome.value}: {self.error}"
        if not applied:
            return [Keep(), Say(text)]
        return [Keep(), Say(f"{text}; back to revision {self.good.revision}"), Apply(self.good, remedy=True)]

    def _rest(self, mark: Mark) -> None:
        self.phase, self._due, self.running, self._sights = Phase.STEADY, None, mark, {}


_R = Convergence
_Transition = Callable[..., list[Effect]]

#: Every phase × every event. What is not named below means nothing in that phase.
TRANSITIONS: dict[tuple[Phase, type], _Transition] = {
    (phase, event): _R._nothing for phase in Phase for event in typing.get_args(Event)
}
TRANSITIONS |= {
    (Phase.IDLE, Loaded): _R._loaded,
    (Phase.STEADY, Told): _R._told,
    (Phase.STEADY, Came): _R._came,
    (Phase.STEADY, Resort): _R._resort_steady,
    (Phase.SETTLING, Told): _R._told,
    (Phase.SETTLING, Came): _R._came,
    (Phase.SETTLING, Seen): _R._seen_settling,
    (Phase.SETTLING, Broke): _R._broke,
    (Phase.SETTLING, Resort): _R._resort_trying,
    (Phase.SETTLING, Tick): _R._tick_settling,
    (Phase.PROVING, Told): _R._told,
    (Phase.PROVING, Came): _R._came,
    (Phase.PROVING, Seen): _R._seen_proving,
    (Phase.PROVING, Broke): _R._broke,
    (Phase.PROVING, Resort): _R._resort_trying,
    (Phase.PROVING, Tick): _R._tick_proving,
}
