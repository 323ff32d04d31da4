"""
Periodic work done at common moments, so that a process wakes once for all of it, and a host for all of its processes.

What this module does not do: make up for a period that was missed.
"""

from __future__ import annotations

import time

import trio


def moment_after(seconds: float, least: float = 0.0) -> float:
    """
    When CLOCK_MONOTONIC, which all processes of a host share, next shows a multiple of ``seconds``, ``least`` seconds
    from now or later; on trio's clock, which every process begins elsewhere. Whoever has the same period, or half of
    it, wakes then too.
    """
    now = time.monotonic()
    return trio.current_time() + ((now + least) // seconds + 1) * seconds - now


async def next_multiple(seconds: float) -> None:
    """Sleep until :func:`moment_after`."""
    await trio.sleep_until(moment_after(seconds))
