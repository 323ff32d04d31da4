"""Tasks and processes with periods that fit into one another wake together."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
import trio

from fustor.runtime.pace import moment_after, next_multiple

#: Between two readings of a clock; far less than any period here, however slow the machine.
READING = 0.02


def on_the_common_clock(moment: float) -> float:
    return moment - trio.current_time() + time.monotonic()


@pytest.mark.parametrize("seconds", [0.25, 0.5, 1.0, 2.0])
async def test_moments_are_multiples(seconds: float) -> None:
    for least in (0.0, seconds / 2, 3 * seconds):
        moment = on_the_common_clock(moment_after(seconds, least))
        assert abs(moment / seconds - round(moment / seconds)) * seconds < READING
        assert least - READING < moment - time.monotonic() <= least + seconds


async def test_nobody_wakes_before() -> None:
    for _ in range(20):
        before = time.monotonic()
        await next_multiple(0.02)
        assert time.monotonic() // 0.02 > before // 0.02


def test_processes_have_the_same_moments() -> None:
    code = (
        "import time, trio\nfrom fustor.runtime.pace import moment_after\n"
        "async def main():\n    print(moment_after(1e6) - trio.current_time() + time.monotonic())\ntrio.run(main)"
    )
    told = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout)
        for _ in range(2)
    ]
    assert told[0] == pytest.approx(told[1], abs=1.0)
    assert told[0] / 1e6 == pytest.approx(round(told[0] / 1e6), abs=1e-5)
