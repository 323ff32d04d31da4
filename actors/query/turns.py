"""
Turns: long answers work one after the other, a little each, so that a short one never waits for more than one of them.

However many readers of whole trees there are, the loop serves everybody else between two turns. What this module does
not do: measure how long a turn takes; whoever has it gives it back after a little work.
"""

from __future__ import annotations

from types import TracebackType

import trio


class Turns:
    """A queue of those who want to work: first come, first served. One has the turn, as an async context manager."""

    def __init__(self) -> None:
        self._lock = trio.Lock()

    async def __aenter__(self) -> None:
        await self._lock.acquire()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._lock.release()
