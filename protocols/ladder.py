"""
The ladder of repairs of one payload: what is tried next when trying again does not help.

::

    restart ──spent──► configuration ──spent──► parked ─┐
       ▲                    │                     │  ▲  │ every probe_seconds one more start
       └────────────────────┴─ stable, or ────────┘  └──┘
                               something new given

On each rung a payload may fail a number of times; the pauses between its starts go on doubling. Then the next rung is
climbed: whoever hears of it puts back the last known good configuration, with the program that is a part of it. A rung
that this side does not have is passed over. Parked is an alarm, not an end: it is started again, slowly, for ever. And
it is for what lasts: before it has failed for a time the last rung goes on, with its usual pauses.

What this module does not do: repair, start anything, read a clock, or own the source of randomness.
"""

from __future__ import annotations

import enum
import random
from typing import Any

import attrs

from protocols.bounds import positive
from protocols.errors import ConfigError
from protocols.restart import Backoff, BackoffPolicy


class Rung(enum.Enum):
    """Where a payload is on the ladder. The value is what people see."""

    RESTART = "restart"
    CONFIGURATION = "configuration"
    PARKED = "parked"


class Sign(enum.Enum):
    """What moves it."""

    FAILED = "failed"  # and may fail again on this rung
    SPENT = "spent"  # it failed as often as it may on this rung
    STABLE = "stable"  # it ran for long enough
    CHANGED = "changed"  # a person gave it something new


#: Every rung × every sign.
LADDER: dict[tuple[Rung, Sign], Rung] = {
    (Rung.RESTART, Sign.FAILED): Rung.RESTART,
    (Rung.RESTART, Sign.SPENT): Rung.CONFIGURATION,
    (Rung.RESTART, Sign.STABLE): Rung.RESTART,
    (Rung.RESTART, Sign.CHANGED): Rung.RESTART,
    (Rung.CONFIGURATION, Sign.FAILED): Rung.CONFIGURATION,
    (Rung.CONFIGURATION, Sign.SPENT): Rung.PARKED,
    (Rung.CONFIGURATION, Sign.STABLE): Rung.RESTART,
    (Rung.CONFIGURATION, Sign.CHANGED): Rung.RESTART,
    (Rung.PARKED, Sign.FAILED): Rung.PARKED,
    (Rung.PARKED, Sign.SPENT): Rung.PARKED,
    (Rung.PARKED, Sign.STABLE): Rung.RESTART,
    (Rung.PARKED, Sign.CHANGED): Rung.RESTART,
}

#: Rungs that every side has.
ALWAYS = frozenset({Rung.RESTART, Rung.PARKED})


def _tries(instance: object, attribute: attrs.Attribute[Any], value: int) -> None:
    if not 1 <= value <= 1000:
        raise ConfigError(attribute.name, value, "a number from 1 to 1000 is accepted")


@attrs.frozen
class LadderPolicy:
    """
    Attributes:
        tries: failures on one rung, without a stable period between, until the next one is climbed.
        park_seconds: how long it has to fail without a stable period, pauses included, before it is parked.
        probe_seconds: between two starts of a parked payload, before jitter.
    """

    tries: int = attrs.field(default=5, validator=_tries)
    park_seconds: float = attrs.field(default=300.0, validator=positive)
    probe_seconds: float = attrs.field(default=300.0, validator=positive)


@attrs.frozen
class Step:
    """
    Attributes:
        delay: seconds until the next start.
        rung: on which that start is made.
        climbed: the rung is a new one.
    """

    delay: float
    rung: Rung
    climbed: bool


@attrs.define(eq=False)
class Ladder:
    """
    Attributes:
        policy: bounds.
        backoff_policy: pauses between starts, and how long a run has to be to count as stable.
        rng: for jitter.
        rungs: those that this side has, beside :data:`ALWAYS`.
        rung: where it is.
        failures: on this rung.
    """

    policy: LadderPolicy
    backoff_policy: BackoffPolicy
    rng: random.Random
    rungs: frozenset[Rung] = frozenset()
    rung: Rung = Rung.RESTART
    failures: int = 0
    #: Seconds in which it has failed again and again: short runs and pauses.
    _failing: float = 0.0
    _backoff: Backoff = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._backoff = Backoff(self.backoff_policy, self.rng)

    def failed(self, ran_seconds: float = 0.0) -> Step:
        """It failed after ``ran_seconds`` of running well (0 when it never did)."""
        if ran_seconds >= self.backoff_policy.stable_seconds:
            self.stable()
        self.failures += 1
        self._failing += ran_seconds
        spent = self.failures >= self.policy.tries
        if spent and self._above() is Rung.PARKED and self._failing < self.policy.park_seconds:
            spent = False
        climbed = self._move(Sign.SPENT if spent else Sign.FAILED)
        delay = self._backoff.failed(ran_seconds)
        if self.rung is Rung.PARKED:
            jitter = self.backoff_policy.jitter
            delay = self.policy.probe_seconds * (1 + jitter * self.rng.uniform(-1, 1))
        self._failing += delay
        return Step(delay, self.rung, climbed)

    def stable(self) -> bool:
        """It has run for ``stable_seconds``: back to the ground. True when it was not there."""
        self._backoff.reset()
        return self._move(Sign.STABLE)

    def changed(self) -> None:
        """A person gave it something new: the next failure is a first one."""
        self._backoff.reset()
        self._move(Sign.CHANGED)

    def remedied(self) -> None:
        """The remedy of this rung took effect: it is tried at once, and its failures still count."""
        self._backoff.reset()

    def _above(self) -> Rung:
        """The next rung that this side has."""
        rung = LADDER[self.rung, Sign.SPENT]
        while rung not in ALWAYS | self.rungs:
            rung = LADDER[rung, Sign.SPENT]
        return rung

    def _move(self, sign: Sign) -> bool:
        before = self.rung
        self.rung = self._above() if sign is Sign.SPENT else LADDER[self.rung, sign]
        if sign is not Sign.FAILED:
            self.failures = 0
        if sign in (Sign.STABLE, Sign.CHANGED):
            self._failing = 0.0
        return self.rung is not before
