"""
Periodic work of one process, done at common moments, so that it wakes once for all of it.

What this module does not do: make up for a period that was missed.
"""

from __future__ import annotations

import trio


async def next_multiple(seconds: float) -> None:
    """Sleep until the clock next shows a multiple of ``seconds``: whoever has the same period, or half of it, joins."""
    await trio.sleep_until((trio.current_time() // seconds + 1) * seconds)
