"""Tasks with periods that fit into one another wake together."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from fustor.runtime.pace import next_multiple


async def test_periods_meet(autojump_clock: MockClock) -> None:
    woken: dict[float, list[float]] = {0.5: [], 1.0: []}

    async def work(seconds: float, begins: float) -> None:
        await trio.sleep(begins)
        while True:
            await next_multiple(seconds)
            woken[seconds].append(trio.current_time())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(work, 0.5, 0.3)
        nursery.start_soon(work, 1.0, 0.1)
        await trio.sleep(10.2)
        nursery.cancel_scope.cancel()
    assert set(woken[1.0]) <= set(woken[0.5])
    assert len(woken[1.0]) in (10, 11)
    first = woken[0.5][0]
    assert woken[0.5] == pytest.approx([first + step / 2 for step in range(len(woken[0.5]))])
