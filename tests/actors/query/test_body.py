"""Long bodies: slow readers, failures, fairness; on real stores."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import pytest
import trio

from actors.query.body import BodyLimits, LongBody
from actors.query.fstree import tree
from actors.query.params import TreeQuery
from actors.query.stores import ViewStore
from fustor.treestore.environment import open_for_writing
from fustor.treestore.format import chunk_key
from protocols.errors import MachineError
from tests.actors.query.model import Build, Tree, expected_node, file_row, without_extras

TREE: Tree = {b"d%03d" % d: {b"f%03d" % n: file_row(n) for n in range(120)} for d in range(60)}


@pytest.fixture
def store(tmp_path: Path) -> ViewStore:
    path = str(tmp_path / "store")
    Build(path).write(TREE)
    return ViewStore("main", path, 60, {}, logging.getLogger("test"))


def long_body(store: ViewStore, **limits: object) -> LongBody:
    body = tree(store, TreeQuery(()), "", BodyLimits(whole_bytes=2000, **limits)).body  # type: ignore[arg-type]
    assert isinstance(body, LongBody)
    return body


async def test_the_snapshot_ends_however_slow_the_reader_is(store: ViewStore, tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    folder.mkdir()
    body = long_body(store, spool_memory_bytes=5000, slice_bytes=3000, spool_folder=str(folder))
    blocked, go_on = trio.Event(), trio.Event()
    pieces: list[bytes] = []

    async def slow(data: bytes) -> None:
        pieces.append(data)
        blocked.set()
        await go_on.wait()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(body.write, slow)
        await blocked.wait()
        with trio.fail_after(20):
            while not body.copied:  # noqa: ASYNC110 - polls from outside
                await trio.sleep(0.001)
        store.close()  # the environment is closed with it: nothing of the store is needed any more
        assert len(pieces) == 1
        assert body.spilled > 5000
        assert os.listdir(folder) == []
        go_on.set()
    body.close()
    assert without_extras(json.loads(b"".join(pieces))) == expected_node(b"", TREE)


async def test_a_reader_that_keeps_up_needs_no_file(store: ViewStore) -> None:
    body = long_body(store, slice_bytes=3000)
    pieces: list[bytes] = []

    async def fast(data: bytes) -> None:
        pieces.append(data)
        await trio.lowlevel.checkpoint()

    await body.write(fast)
    assert body.spilled == 0
    assert max(map(len, pieces)) < 3000 + 200 * 400
    assert without_extras(json.loads(b"".join(pieces))) == expected_node(b"", TREE)
    body.close()
    store.close()


async def test_what_the_sender_raises_comes_out_as_it_is(store: ViewStore) -> None:
    body = long_body(store)

    async def broken(data: bytes) -> None:
        raise BrokenPipeError("gone")

    with pytest.raises(BrokenPipeError):
        await body.write(broken)
    body.close()
    store.close()


async def test_cancelling_ends_it(store: ViewStore) -> None:
    body = long_body(store)

    async def stuck(data: bytes) -> None:
        await trio.sleep_forever()

    with trio.move_on_after(0.05) as scope:
        await body.write(stuck)
    assert scope.cancelled_caught
    body.close()
    store.close()


async def test_a_spool_that_can_not_be_written_breaks_the_answer_off(store: ViewStore, tmp_path: Path) -> None:
    body = long_body(store, spool_memory_bytes=0, spool_folder=str(tmp_path / "missing"))

    async def fast(data: bytes) -> None:
        await trio.lowlevel.checkpoint()

    with pytest.raises(OSError, match="missing"):
        await body.write(fast)
    body.close()
    store.close()


async def test_a_damaged_record_breaks_the_answer_off(tmp_path: Path) -> None:
    path = str(tmp_path / "store")
    Build(path).write(TREE)
    environment = open_for_writing(path, map_size=1 << 30)
    with environment.env.begin(write=True, db=environment.files) as txn:
        txn.put(chunk_key(40, b""), b"\x02damaged")
    environment.close()
    store = ViewStore("main", path, 60, {}, logging.getLogger("test"))
    body = long_body(store)

    async def fast(data: bytes) -> None:
        await trio.lowlevel.checkpoint()

    with pytest.raises(MachineError, match="damaged"):
        await body.write(fast)
    body.close()
    store.close()


async def test_others_get_their_turn_while_it_is_made(store: ViewStore) -> None:
    body = long_body(store, slice_bytes=2000)
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async def fast(data: bytes) -> None:
        await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        await body.write(fast)
        nursery.cancel_scope.cancel()
    assert turns > 20
    body.close()
    store.close()
