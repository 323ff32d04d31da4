"""
When to start again what has died.

Delays double from a first one to a cap and are spread by a jitter, so that a herd that died together does not come back
together. A period of stable running makes the next failure a first one again. It never gives up.

What this module does not do: start anything, read a clock, or own the source of randomness.
"""

from __future__ import annotations

import random

import attrs

from protocols.bounds import between, positive


@attrs.frozen
class BackoffPolicy:
    """
    Bounds of the delays, in seconds.

    Attributes:
        first_seconds: before the first try after a failure.
        cap_seconds: the longest, before jitter.
        jitter: share by which a delay is made shorter or longer at random; 0.25 means ±25 %.
        stable_seconds: who ran this long has no history.
    """

    first_seconds: float = attrs.field(default=0.2, validator=positive)
    cap_seconds: float = attrs.field(default=60.0, validator=positive)
    jitter: float = attrs.field(default=0.25, validator=between(0, 0.9))
    stable_seconds: float = attrs.field(default=30.0, validator=positive)

    @property
    def longest_seconds(self) -> float:
        """No delay is longer."""
        return max(self.first_seconds, self.cap_seconds) * (1 + self.jitter)

    @property
    def shortest_seconds(self) -> float:
        """No delay is shorter."""
        return min(self.first_seconds, self.cap_seconds) * (1 - self.jitter)


@attrs.define(eq=False)
class Backoff:
    """
    The delays of one thing that is started again and again.

    Attributes:
        failures: in a row, without a stable period between.
    """

    policy: BackoffPolicy
    rng: random.Random
    failures: int = 0

    def failed(self, ran_seconds: float = 0.0) -> float:
        """
        It failed after ``ran_seconds`` of running (0 when it never ran).

        Returns:
            The seconds to wait before the next start.
        """
        if ran_seconds >= self.policy.stable_seconds:
            self.failures = 0
        # 2.0 ** 1024 would overflow after enough failures; no policy needs more than 2 ** 64.
        delay = min(self.policy.first_seconds * 2.0 ** min(self.failures, 64), self.policy.cap_seconds)
        self.failures += 1
        return delay * (1 + self.policy.jitter * self.rng.uniform(-1, 1))

    def reset(self) -> None:
        """Forget the failures: something has changed, so the next try is a first one."""
        self.failures = 0
