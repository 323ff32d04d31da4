"""A view in the process of a test."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import lmdb
import trio

from actors.view.service import build
from fustor.runtime.actor import Host
from fustor.treestore.format import child_key, head_key, unpack_id
from protocols.data import Listing, Root
from tests.actors.view.agent import Agent
from tests.treestore.scenario import file_row


@asynccontextmanager
async def running(config: dict[str, Any]) -> AsyncIterator[Host]:
    """The view of ``config``, until it is left; stopped as SIGTERM does."""
    host = Host("view.main", {}, logging.getLogger("view.main"), lambda: None)
    host.stop_requested = trio.Event()
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(build(config), host)
            while host.state != "running":  # noqa: ASYNC110 - the host has no event for it
                await trio.sleep(0.01)
            yield host
            host.stop_requested.set()


async def until_true(condition: Any) -> None:
    with trio.fail_after(20):
        while not condition():  # noqa: ASYNC110 - another task makes it true
            await trio.sleep(0.01)


def begin(agent: Agent, epoch: int = 1, files: int = 3) -> None:
    agent.epoch(epoch)
    agent.say(Root(1))
    agent.say(Listing(1, b"", None, (), ()), rows=([file_row(b"f%d" % i) for i in range(1, files + 1)],))


def damage(store: str) -> None:
    """Break the record of the directory ``d`` in a store that nobody has open."""
    env = lmdb.open(store, max_dbs=10)
    with env.begin(write=True, db=env.open_db(b"tree")) as txn:
        txn.put(head_key(unpack_id(txn.get(child_key(1, b"d"), b""))), b"broken")
    env.close()
