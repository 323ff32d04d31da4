"""Turns: one at a time, in order, and nobody else waits for more than one."""

from __future__ import annotations

import trio
import trio.testing

from actors.query.turns import Turns


async def test_everybody_has_as_many_turns_and_others_run_between_them() -> None:
    turns = Turns()
    order: list[int] = []
    between = 0

    async def work(number: int) -> None:
        for _ in range(50):
            async with turns:
                order.append(number)

    async def other() -> None:
        nonlocal between
        while len(order) < 250:
            await trio.lowlevel.checkpoint()
            between += 1

    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(work, number)
        nursery.start_soon(other)
    counts = [order[:25].count(number) for number in range(5)]
    assert counts == [5] * 5
    assert between > 200


async def test_who_is_cancelled_waiting_or_at_it_gives_the_turn_back() -> None:
    turns = Turns()
    async with trio.open_nursery() as nursery:

        async def hold() -> None:
            async with turns:
                await trio.sleep_forever()

        nursery.start_soon(hold)
        nursery.start_soon(hold)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    with trio.fail_after(5):
        async with turns:
            pass
