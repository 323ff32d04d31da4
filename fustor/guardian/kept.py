"""
Descriptors that a payload leaves with its guardian when it ends, for the next process of its name: what is queued
behind them goes on being queued. As the file descriptor store of systemd (sd_pid_notify_with_fds(3), FDSTORE=1).

What this module does not do: survive the guardian, or say what the descriptors are.
"""

from __future__ import annotations

import os

#: Seconds for which they are kept.
KEEP_SECONDS = 60.0
#: Begins their names among the descriptors of a process.
PREFIX = "kept."


class Kept:
    """By name of the payload."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[dict[str, int], float]] = {}

    def put(self, payload: str, fds: dict[str, int], now: float) -> None:
        """Keep ``fds``, which are owned from now on, instead of what was kept; ``now`` is of the monotonic clock."""
        self._close(payload)
        self._held[payload] = fds, now + KEEP_SECONDS

    def take(self, payload: str) -> dict[str, int]:
        """What was kept, to be closed by the caller; under the names that the process shall find them by."""
        fds, _ = self._held.pop(payload, ({}, 0.0))
        return {PREFIX + name: fd for name, fd in fds.items()}

    def wake_at(self) -> float | None:
        """When :meth:`expire` wants to be called; None: nothing is kept."""
        return min((until for _, until in self._held.values()), default=None)

    def expire(self, now: float) -> list[str]:
        """Close what nobody has come for; names of the payloads."""
        late = [payload for payload, (_, until) in self._held.items() if now >= until]
        for payload in late:
            self._close(payload)
        return late

    def _close(self, payload: str) -> None:
        fds, _ = self._held.pop(payload, ({}, 0.0))
        for fd in fds.values():
            os.close(fd)
