"""The spool: order, bounds, the file."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
import trio
import trio.testing

from actors.query.spool import Room, Spool


async def test_what_fits_stays_in_memory_and_comes_back_as_it_is() -> None:
    spool = Spool(1000)
    batch = [(1, b"head", [b"c"])]
    spool.put(batch, 500)
    spool.end()
    assert await spool.take() is batch
    assert await spool.take() is None
    assert spool.spilled == 0
    spool.close()
    spool.close()


async def test_what_does_not_fit_goes_through_an_unlinked_file(tmp_path: Path) -> None:
    spool = Spool(100, str(tmp_path))
    for number in range(50):
        spool.put([(number, b"x" * 1000)], 1000)
    assert spool.spilled > 50_000
    assert os.listdir(tmp_path) == []
    spool.end()
    for number in range(50):
        assert await spool.take() == ((number, b"x" * 1000),)
    assert await spool.take() is None
    spool.close()


async def test_any_order_of_puts_and_takes_keeps_the_order(tmp_path: Path) -> None:
    chance = random.Random(3)
    spool = Spool(3000, str(tmp_path))
    sent = taken = 0
    while taken < 2000:
        if sent < 2000 and (sent == taken or chance.random() < 0.5 + 0.4 * ((sent // 200) % 2) - 0.2):
            spool.put([sent], chance.randrange(1, 1000))
            sent += 1
        else:
            batch = await spool.take()
            assert batch is not None
            assert list(batch) == [taken]
            taken += 1
    assert spool.spilled > 0
    spool.close()


async def test_take_waits_for_put_and_for_the_end() -> None:
    spool = Spool(1000)
    found: list[object] = []

    async def reader() -> None:
        while (batch := await spool.take()) is not None:
            found.extend(batch)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader)
        for number in range(5):
            await trio.testing.wait_all_tasks_blocked()
            spool.put([number], 1)
        await trio.testing.wait_all_tasks_blocked()
        spool.end()
    assert found == [0, 1, 2, 3, 4]
    spool.close()


def test_a_folder_that_can_not_be_written_is_an_os_error(tmp_path: Path) -> None:
    spool = Spool(0, str(tmp_path / "missing"))
    with pytest.raises(OSError, match="missing"):
        spool.put([1], 1)
    spool.close()


async def test_all_of_a_process_share_its_room(tmp_path: Path) -> None:
    room = Room(1000)
    spools = [Spool(1000, str(tmp_path), room) for _ in range(3)]
    for spool in spools:
        spool.put(["held"], 500)
    assert [spool.spilled > 0 for spool in spools] == [False, False, True]
    assert await spools[0].take() == ["held"]
    assert room.used == 500
    spools[0].put(["again"], 500)
    assert spools[0].spilled == 0
    for spool in spools:
        spool.close()
        spool.close()
    assert room.used == 0
