"""Tasks behind a guard, under virtual time."""

from __future__ import annotations

import itertools
import logging

import pytest
import trio
import trio.testing

from fustor.runtime.guard import guarded
from protocols.restart import BackoffPolicy

LOG = logging.getLogger("test")
POLICY = BackoffPolicy(first_seconds=1.0, cap_seconds=8.0, jitter=0.0)


class FatalError(Exception):
    pass


async def test_a_failing_task_is_started_again_and_its_sibling_lives(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    failures: dict[str, int] = {}
    starts: list[float] = []
    ticks = 0

    async def failing() -> None:
        starts.append(trio.current_time())
        if len(starts) < 6:
            raise ValueError("again")

    async def sibling() -> None:
        nonlocal ticks
        while True:
            await trio.sleep(1)
            ticks += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(sibling)
        await guarded(failing, name="failing", log=LOG, failures=failures, policy=POLICY)
        nursery.cancel_scope.cancel()
    assert [round(b - a) for a, b in itertools.pairwise(starts)] == [1, 2, 4, 8, 8]
    assert failures == {"failing": 5}
    assert ticks >= 22
    assert caplog.text.count("ValueError: again") == 5


async def test_a_group_of_errors_is_an_error(autojump_clock: trio.testing.MockClock) -> None:
    failures: dict[str, int] = {}

    async def failing() -> None:
        if not failures:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep, -1)  # a ValueError inside

    await guarded(failing, name="group", log=LOG, failures=failures, policy=POLICY)
    assert failures == {"group": 1}


async def test_what_is_fatal_passes_through() -> None:
    async def alone() -> None:
        raise FatalError

    async def grouped() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(alone)

    for task in (alone, grouped):
        with pytest.raises((FatalError, ExceptionGroup)) as caught:
            await guarded(task, name="x", log=LOG, failures={}, fatal=(FatalError,))
        assert "FatalError" in repr(caught.value)


async def test_cancellation_is_no_failure(autojump_clock: trio.testing.MockClock) -> None:
    failures: dict[str, int] = {}
    with trio.move_on_after(5) as scope:
        await guarded(trio.sleep_forever, name="x", log=LOG, failures=failures)
    assert scope.cancelled_caught
    assert failures == {}
