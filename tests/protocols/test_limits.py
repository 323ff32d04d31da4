"""Readings against limits: what is told once, what ends a process, and what does neither."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import ConfigError
from protocols.limits import (
    CPU,
    EXIT_FDS,
    EXIT_MEMORY,
    FDS,
    LIMITS,
    LOG,
    MEMORY,
    Exceeded,
    Finding,
    LargeProcessLimits,
    Meter,
    ProcessLimits,
    Reading,
    Told,
)

MIB = 1 << 20
SMALL = ProcessLimits(memory_bytes=100 * MIB, fds=100, cpu=0.5, cpu_seconds=10.0, log_bytes_per_second=1024)


def reading(**other: Any) -> Reading:
    usual: dict[str, Any] = {"memory_bytes": 10 * MIB, "cpu_ms": 0, "fds": 10, "log_bytes": 0, "progress": {"n": 1}}
    return Reading(**usual | other)


def whats(findings: list[Finding]) -> list[tuple[type[Finding], str]]:
    return [(type(finding), finding.what) for finding in findings]


@pytest.mark.parametrize(("field", "what", "unit"), [("memory_bytes", MEMORY, MIB), ("fds", FDS, 1)])
def test_a_level_is_told_once_then_over_then_ended(field: str, what: str, unit: int) -> None:
    meter = Meter(SMALL)
    assert meter.read(reading(**{field: 79 * unit}), 0.0) == []
    assert whats(meter.read(reading(**{field: 80 * unit}), 1.0)) == [(Told, what)]
    assert meter.read(reading(**{field: 90 * unit}), 2.0) == []
    assert meter.read(reading(**{field: 75 * unit}), 3.0) == [], "not yet calm"
    [over] = meter.read(reading(**{field: 50 * unit}), 4.0)
    assert over.text.startswith("well again: ")
    [ended] = meter.read(reading(**{field: 100 * unit}), 5.0)
    assert (type(ended), ended.what) == (Exceeded, what)


def test_who_burns_a_processor_without_progress_is_ended() -> None:
    meter = Meter(SMALL)
    for second in range(10):
        assert meter.read(reading(cpu_ms=second * 900), float(second)) == []
    [ended] = meter.read(reading(cpu_ms=9000), 10.0)
    assert (type(ended), ended.what) == (Exceeded, CPU)
    assert ended.text == "cpu 0.90 processors over 10 s, limit 0.5, and no counter of its work moved"


def test_who_works_hard_is_told_of_and_left_alone() -> None:
    meter = Meter(SMALL)
    found = [meter.read(reading(cpu_ms=s * 900, progress={"n": s}), float(s)) for s in range(100)]
    assert [whats(findings) for findings in found if findings] == [[(Told, CPU)]]
    rest = [meter.read(reading(cpu_ms=90_000, progress={"n": 100}), float(s)) for s in range(100, 120)]
    assert [f.text[:11] for findings in rest for f in findings] == ["well again:"]


def test_a_start_may_cost_what_it_costs() -> None:
    meter = Meter(SMALL)
    for second in range(30):
        assert meter.read(reading(cpu_ms=second * 1000, progress=None), float(second)) == []
    assert meter.read(reading(cpu_ms=30_000), 30.0) == []
    assert meter.read(reading(cpu_ms=30_100), 41.0) == []


def test_a_flood_of_output_is_told_and_then_ended() -> None:
    meter = Meter(SMALL)
    assert meter.read(reading(log_bytes=0), 0.0) == []
    assert whats(meter.read(reading(log_bytes=2000), 1.0)) == [(Told, LOG)]
    assert meter.read(reading(log_bytes=1500), 2.0) == [], "the log was emptied meanwhile"
    assert whats(meter.read(reading(log_bytes=3500), 3.0)) == [(Exceeded, LOG)]


def test_a_burst_of_output_is_borne() -> None:
    meter = Meter(SMALL)
    meter.read(reading(log_bytes=0), 0.0)
    assert whats(meter.read(reading(log_bytes=2000), 1.0)) == [(Told, LOG)]
    assert whats(meter.read(reading(log_bytes=2000), 2.0)) == [(Told, LOG)]
    assert meter.high == set()


@pytest.mark.parametrize(
    ("kind", "code", "own", "expected"),
    [
        ("exit", EXIT_MEMORY, 0, MEMORY),
        ("exit", EXIT_FDS, 0, FDS),
        ("exit", 1, 200 * MIB, "exit"),
        ("signal", 0, 100 * MIB, MEMORY),
        ("signal", 0, 99 * MIB, "signal"),
        ("oom", 0, 0, "oom"),
    ],
)
def test_exits_tell_which_limit_it_was(kind: str, code: int, own: int, expected: str) -> None:
    assert Meter(SMALL).exit_kind(kind, code, own) == expected


def test_the_kernels_limits_are_above_ours() -> None:
    for limits in (ProcessLimits(), LargeProcessLimits(), SMALL):
        assert limits.data_bytes > limits.memory_bytes
        assert limits.open_files > limits.fds


@pytest.mark.parametrize(
    "wrong", [{"memory_bytes": 1}, {"fds": 1}, {"cpu": 0}, {"cpu_seconds": 0}, {"warn": 1.5}, {"nice": -1}]
)
def test_a_wrong_limit_is_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        ProcessLimits(**wrong)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 120 * MIB),
            st.integers(0, 3000),
            st.integers(0, 120),
            st.integers(0, 10_000),
            st.integers(0, 1),
            st.floats(0, 20),
        ),
        max_size=60,
    )
)
def test_whatever_is_read(steps: list[tuple[int, int, int, int, int, float]]) -> None:
    """At most one end per reading, last; never an end below a limit; nothing is told twice in a row."""
    meter, now, cpu = Meter(SMALL), 0.0, 0
    told = dict.fromkeys(LIMITS, False)
    for memory, used, fds, log, moved, passed in steps:
        now, cpu = now + passed, cpu + min(used, round(passed * 1000))
        one = reading(memory_bytes=memory, cpu_ms=cpu, fds=fds, log_bytes=log, progress={"n": moved})
        findings = meter.read(one, now)
        ended = [finding for finding in findings if isinstance(finding, Exceeded)]
        assert findings[len(findings) - len(ended) :] == ended
        assert len(ended) <= 1
        for finding in findings:
            if isinstance(finding, Told):
                high = not finding.text.startswith("well again")
                assert told[finding.what] is not high
                told[finding.what] = high
            elif finding.what == MEMORY:
                assert memory >= 100 * MIB
            elif finding.what == FDS:
                assert fds >= 100
        assert meter.high == {what for what, high in told.items() if high}
        assert len(meter._window) <= 1 + len(steps)
