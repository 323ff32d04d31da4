"""
When the control actor is started or killed, and how the guardian stops. Pure: every method takes ``now`` (seconds, any
monotonic clock) and nothing here sends a signal.
"""

from __future__ import annotations

from collections.abc import Callable


class ControlPolicy:
    """
    Keeps one control actor up: restarts it when it has died and has it killed when it is silent.

    The first restart is immediate; a further one after a life shorter than ``young`` waits ``delay`` seconds, doubling
    up to ``delay_max``. It never gives up.

    Args:
        beat_timeout: seconds without a beat after which a frozen one (stopped by a signal) is killed; 0: silence is
            never judged.
        hang_timeout: the same of one that is not frozen: it may only be waiting for a processor.
        start_timeout: the same before its first beat. A frozen one gets nowhere then either.
        delay, delay_max, young: seconds, see above.
    """

    def __init__(
        self,
        beat_timeout: float,
        hang_timeout: float,
        start_timeout: float,
        delay: float,
        delay_max: float,
        young: float,
    ) -> None:
        self._beat_timeout = beat_timeout
        self._hang_timeout = max(hang_timeout, beat_timeout)
        self._start_timeout = start_timeout
        self._delay = delay
        self._delay_max = delay_max
        self._young = young
        self._failures = 0
        self._started = 0.0
        self._start_at: float | None = 0.0
        #: When it is looked at again; None: it is not judged.
        self._deadline: float | None = None
        #: When it is killed though it is not frozen.
        self._until = 0.0

    def as_json(self) -> list[float | None]:
        """Plain data: what a new version of the guardian has to know."""
        return [float(self._failures), self._started, self._start_at, self._deadline, 0.0, self._until]

    def restore(self, data: list[float | None]) -> None:
        """From :meth:`as_json`; times are of the same clock. A version before this one tells no last moment."""
        failures, started, self._start_at, self._deadline, *more = data
        self._failures = int(failures or 0)
        self._started = started or 0.0
        told = more[1] if len(more) > 1 else None
        self._until = told if told is not None else (self._deadline or 0.0) + self._hang_timeout

    def started(self, now: float, start_timeout: float | None = None) -> None:
        """It was started; ``start_timeout``: another one for this life."""
        self._started = now
        self._start_at = None
        self._deadline = now + self._beat_timeout if self._beat_timeout else None
        self._until = now + (self._start_timeout if start_timeout is None else start_timeout)

    def beat(self, now: float) -> None:
        """It beat. Without effect once it was condemned: a process that is being killed can't beat itself free."""
        if self._deadline is not None:
            self._deadline = now + self._beat_timeout
            self._until = now + self._hang_timeout

    def hung_up(self, now: float) -> None:
        """It closed its channel: it is useless from now on. A second to exit by itself and tell why."""
        self._deadline = self._until = now + 1.0

    def exited(self, now: float) -> float:
        """It has exited, or could not be started: the seconds until it is started again."""
        self._failures = self._failures + 1 if now - self._started < self._young else 1
        exponent = min(self._failures - 2, 30)
        wait = 0.0 if exponent < 0 else min(self._delay * 2**exponent, self._delay_max)
        self._start_at = now + wait
        self._deadline = None
        return wait

    def wake_at(self) -> float | None:
        """When ``due`` wants to be asked; None: not before something happens."""
        return self._deadline if self._start_at is None else self._start_at

    def due(self, now: float, frozen: Callable[[], bool] = lambda: True) -> str:
        """
        What to do now: ``start``, ``kill`` or nothing (empty).

        Args:
            frozen: tells, when it matters, whether the control actor is stopped by a signal.
        """
        if self._start_at is not None:
            return "start" if now >= self._start_at else ""
        if self._deadline is None or now < self._deadline:
            return ""
        # A judge who overslept (both were frozen or starved) does not judge: its beats may have been held up with us.
        if self._beat_timeout and now - self._deadline > self._beat_timeout:
            self._until += now + self._beat_timeout - self._deadline
            self._deadline = now + self._beat_timeout
            return ""
        if now < self._until and not frozen():
            self._deadline = min(self._until, now + self._beat_timeout)
            return ""
        self._deadline = None
        return "kill"


class Stopping:
    """
    The orderly stop of everything: ``draining`` (the control actor stops the payloads), ``terminating`` (SIGTERM to
    whatever is left), ``killing`` (SIGKILL), ``done``.

    Args:
        now: when the stop was asked for.
        grace: seconds for draining.
    """

    #: Seconds between SIGTERM and SIGKILL of what the control actor left behind.
    TERMINATE_SECONDS = 2.0
    #: Seconds to wait for killed processes; one in uninterruptible sleep can't be waited for.
    KILL_SECONDS = 3.0

    def __init__(self, now: float, grace: float) -> None:
        self.phase = "draining"
        self._deadline = now + grace

    def wake_at(self) -> float:
        """When ``advance`` wants to be asked."""
        return self._deadline

    def advance(self, now: float, *, control: bool, children: bool) -> str:
        """
        Go on, if it is time to.

        Args:
            control: the control actor runs.
            children: some child runs.

        Returns:
            The phase that was entered; empty when nothing changed.
        """
        over = now >= self._deadline
        if self.phase == "done":
            return ""
        if not children:
            return self._enter("done", now)
        if self.phase == "draining" and (over or not control):
            return self._enter("terminating", now + self.TERMINATE_SECONDS)
        if self.phase == "terminating" and over:
            return self._enter("killing", now + self.KILL_SECONDS)
        if self.phase == "killing" and over:
            return self._enter("done", now)
        return ""

    def _enter(self, phase: str, deadline: float) -> str:
        self.phase = phase
        self._deadline = deadline
        return phase
