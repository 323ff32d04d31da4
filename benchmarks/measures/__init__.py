"""The measures, one module each, in the order in which they are taken."""

from __future__ import annotations

from benchmarks.bench import Measure
from benchmarks.measures import (
    audit,
    back,
    burst,
    chaos,
    configuration,
    disk,
    events,
    heartbeat,
    herd,
    idle,
    kinds,
    many,
    meanwhile,
    memory,
    orders,
    overload,
    repair,
    scan,
    slow,
    small,
    sustained,
    up,
    upgrade,
    whole,
)

#: Those that may leave a system in a bad state come last of those that share one.
MEASURES: tuple[Measure, ...] = (
    scan.MEASURE,
    disk.MEASURE,
    memory.MEASURE,
    small.MEASURE,
    many.MEASURE,
    kinds.MEASURE,
    whole.MEASURE,
    meanwhile.MEASURE,
    overload.MEASURE,
    idle.MEASURE,
    events.MEASURE,
    sustained.MEASURE,
    burst.MEASURE,
    up.MEASURE,
    heartbeat.MEASURE,
    orders.MEASURE,
    configuration.MEASURE,
    herd.MEASURE,
    repair.MEASURE,
    back.MEASURE,
    upgrade.MEASURE,
    chaos.MEASURE,
    audit.MEASURE,
    slow.MEASURE,
)
