"""
Whether a payload of another program is worse than that of the one before, though it runs, beats and makes progress.

Judged by what is seen from outside, and only of a payload whose configuration is the same: with another one it may need
more. What was not seen before, or was bad already, is not judged.

What this module does not do: look at processes, or decide what follows.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

#: Counters of answers that failed by a fault of the program itself.
FAILURES = ("http_failures", "zmq_failures")
#: More than so many times the memory of before, and so many bytes more, is worse.
MEMORY_FACTOR, MEMORY_BYTES = 3, 256 << 20
#: So many failures, of a payload that had none before, are worse.
MOST_FAILURES = 3


@attrs.frozen
class Level:
    """
    What a payload needs and does wrong.

    Attributes:
        memory: bytes of its own; 0: not known.
        failures: of this process so far.
    """

    memory: int
    failures: int

    @classmethod
    def of(cls, vitals: Mapping[str, int], counters: Mapping[str, int]) -> Level:
        """From the parts of a :class:`protocols.messages.PayloadStatus`."""
        return cls(vitals.get("memory_bytes", 0), sum(counters.get(name, 0) for name in FAILURES))


def regress(before: Level, now: Level) -> str:
    """
    What is worse, in words; empty when nothing is.

    Args:
        before: of the process of the program before, at its end.
        now: of that of the other program.
    """
    if before.memory and now.memory > before.memory * MEMORY_FACTOR + MEMORY_BYTES:
        return f"it needs {now.memory >> 20} MiB of memory, the one before {before.memory >> 20} MiB"
    if not before.failures and now.failures >= MOST_FAILURES:
        return f"{now.failures} of its answers failed, of the one before none"
    return ""
