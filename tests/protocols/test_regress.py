"""When a payload of another program is worse than the one before."""

from __future__ import annotations

import pytest

from protocols.regress import MEMORY_BYTES, MEMORY_FACTOR, MOST_FAILURES, Level, regress

MIB = 1 << 20
WELL = Level(50 * MIB, 0)


@pytest.mark.parametrize(
    ("before", "now", "worse"),
    [
        (WELL, WELL, ""),
        (WELL, Level(50 * MIB * MEMORY_FACTOR + MEMORY_BYTES, 0), ""),
        (WELL, Level(50 * MIB * MEMORY_FACTOR + MEMORY_BYTES + 1, 0), "406 MiB"),
        (Level(0, 0), Level(10_000 * MIB, 0), ""),
        (WELL, Level(0, MOST_FAILURES - 1), ""),
        (WELL, Level(0, MOST_FAILURES), "3 of its answers failed"),
        (Level(0, 1), Level(0, 1000), ""),
    ],
)
def test_worse(before: Level, now: Level, worse: str) -> None:
    assert bool(regress(before, now)) == bool(worse)
    assert worse in regress(before, now)


def test_only_failures_of_the_program_count() -> None:
    counters = {"http_failures": 2, "failures": 7, "http_requests": 9, "zmq_failures": 1, "store_failures": 4}
    assert Level.of({"memory_bytes": 5, "rss_bytes": 9}, counters) == Level(5, 3)
    assert Level.of({}, {}) == Level(0, 0)
