"""Copies of a view's store: when they are made, given up, and used."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
import trio

from actors.view.config import ViewLimits
from actors.view.copies import Copier
from fustor.runtime.actor import Host
from fustor.treestore.check import check
from fustor.treestore.copying import generation_of
from fustor.treestore.environment import data_file
from fustor.treestore.place import Place
from fustor.treestore.reader import Reader, Status
from fustor.treestore.stamp import Stamp, write_stamp
from fustor.treestore.writer import Writer
from protocols.data import Listing, Names, Watermark
from tests.actors.view.agent import Agent, Keys, agents
from tests.actors.view.live import begin, running, until_true
from tests.treestore.scenario import SOURCE, Feed, file_row


@pytest.fixture
def front(tmp_path: Path) -> Path:
    (tmp_path / "main").mkdir()
    return tmp_path / "main" / "front"


def status(path: Path) -> Status:
    reader = Reader(str(path))
    try:
        with reader.snapshot() as snapshot:
            return snapshot.status()
    finally:
        reader.close()


def has(path: Path, name: bytes) -> bool:
    reader = Reader(str(path))
    try:
        with reader.snapshot() as snapshot:
            return snapshot.row(1, name) is not None
    finally:
        reader.close()


def tear(place: Place) -> None:
    """As a power cut may leave it: of an earlier boot, with nothing behind the meta pages."""
    current = place.current()
    with open(data_file(current), "r+b") as file:
        file.seek(8192)
        file.write(bytes(os.fstat(file.fileno()).st_size - 8192))
    write_stamp(current, Stamp("earlier", clean=False))


def copy_of(place: Place) -> bytes:
    """The copy; empty when there is none."""
    path = Path(place.copy)
    return path.read_bytes() if path.exists() else b""


async def churn(agent: Agent, times: int) -> None:
    """Much that comes and goes again."""
    for at in range(times):
        rows = [file_row(os.urandom(40).hex().encode(), at) for _ in range(5000)]
        agent.say(Listing(1, b"", None, (), ()), rows=(rows,))
        await agent.delivered()
    agent.say(Listing(1, b"", None, (), ()), rows=([file_row(b"f1")],))
    await agent.delivered()


async def test_a_copy_is_made_when_the_tree_has_changed_and_not_else(front: Path, keys: Keys) -> None:
    config = keys.config(front, copy_seconds=0.05, copy_reserve_bytes=0)
    place = Place(str(front))
    with agents(config, keys) as make:
        async with running(config) as host:
            agent = make()
            begin(agent)
            await agent.delivered()
            await until_true(lambda: host.counters["copies"])
            await agent.delivered()
            copies = host.counters["copies"]
            first = generation_of(place.copy)
            assert host.gauges["copy_bytes"] > 8192
            assert host.gauges["copied_at"] > 1.7e9
            for _ in range(20):  # commits, and no change to the tree
                agent.say(Watermark(123, "live", True))
                await agent.delivered()
                await trio.sleep(0.02)
            assert host.counters["copies"] <= copies + 1  # one may have been under way
            agent.say(Names(1, ()), rows=([file_row(b"later")],))
            await agent.delivered()
            await until_true(lambda: generation_of(place.copy) > first)
            assert "copy" not in host.facts
        # The same tree after a restart needs no other one.
        async with running(config) as host:
            copies = host.counters["copies"]
            await trio.sleep(0.3)
            assert host.counters["copies"] == copies
    assert sorted(os.listdir(place.folder)) == ["a", "copy", "front", "generation"]


async def test_without_room_there_is_none_and_that_is_said(front: Path, keys: Keys) -> None:
    config = keys.config(front, copy_seconds=0.05, copy_reserve_bytes=1 << 46)
    with agents(config, keys) as make:
        async with running(config) as host:
            agent = make()
            begin(agent)
            await agent.delivered()
            await until_true(lambda: "copy" in host.facts)
            assert "are needed" in host.facts["copy"]
            assert host.counters["copies_failed"] >= 1
            agent.say(Names(1, ()), rows=([file_row(b"later")],))
            await agent.delivered()
    assert copy_of(Place(str(front))) == b""


async def test_a_store_of_an_earlier_boot_is_made_of_its_copy_and_the_agent_adds_the_rest(
    front: Path, keys: Keys
) -> None:
    config = keys.config(front, copy_seconds=0.05, copy_reserve_bytes=0)
    silent = {**config, "limits": {**config["limits"], "copy_seconds": 0}}
    place = Place(str(front))
    with agents(config, keys) as make:
        agent = make()
        async with running(config) as host:
            begin(agent)
            agent.say(Watermark(123, "live", True))
            ack = await agent.delivered()
            await until_true(lambda: host.counters["copies"])
            copied = host.counters["copies"]
            agent.say(Names(1, ()), rows=([file_row(b"f3", 9)],))  # so that one more is made, of all of the above
            ack = await agent.delivered()
            await until_true(lambda: host.counters["copies"] > copied)
        async with running(silent):
            agent.say(Names(1, ()), rows=([file_row(b"later")],))
            later = await agent.delivered()
        before = status(front)
        assert has(front, b"later")
        tear(place)

        async with running(silent) as host:
            assert "may be torn" in host.facts["replaced"]
            assert "restored from" in host.facts["restored"]
        assert (has(front, b"f1"), has(front, b"later")) == (True, False)
        now = status(front)
        assert now.generation > before.generation
        assert (now.sources[0].arrived_ns, now.sources[0].complete) == (0, False)

        async with running(silent):
            again = await agent.until(lambda heard: heard.store not in (ack.store, ""))
            assert (again.epoch, again.applied) == (ack.epoch, ack.applied)
            assert later.applied == ack.applied + 1
            assert agent.window.behind  # the watcher begins a new epoch then
            begin(agent, 2, files=2)
            agent.say(Watermark(456, "live", True))
            await agent.delivered()
    assert status(front).sources[0].complete
    assert check(str(front)) == []
    assert (has(front, b"f2"), has(front, b"f3")) == (True, False)


async def test_what_grows_too_much_meanwhile_is_given_up(front: Path, tmp_path: Path) -> None:
    host = Host("view.main", {}, logging.getLogger("view.main"), lambda: None)
    writer = Writer(str(tmp_path / "s"), [SOURCE], map_size=1 << 30)
    feed = Feed(writer)
    feed.root()
    copier = Copier(Place(str(front)), ViewLimits(copy_reserve_bytes=0, copy_growth_bytes=0), host)
    feed.listing(1, *[file_row(os.urandom(60).hex().encode(), n) for n in range(60_000)])
    errors: list[str] = []
    with trio.fail_after(60):
        while not errors:
            async with trio.open_nursery() as nursery:

                async def copy() -> None:
                    try:
                        await copier.make(writer)
                    except Exception as error:
                        errors.append(str(error))

                nursery.start_soon(copy)
                for n in range(20):
                    await trio.sleep(0.001)
                    feed.names(1, *[file_row(os.urandom(60).hex().encode(), n) for _ in range(50)])
                    copier.grown(writer)
    assert "grew by more than 0 bytes" in errors[0]
    writer.close()


async def test_one_that_is_mostly_free_is_made_compact_and_nobody_notices(front: Path, keys: Keys) -> None:
    config = keys.config(front, copy_seconds=0)
    limits = {"copy_seconds": 0.1, "copy_reserve_bytes": 0, "compact_share": 0.5, "compact_bytes": 1 << 19}
    with agents(config, keys) as make:
        agent = make()
        async with running(config):
            begin(agent)
            store = (await agent.delivered()).store
            await churn(agent, 3)
        assert os.stat(data_file(str(front))).st_size > 1 << 19
        async with running({**config, "limits": {**config["limits"], **limits}}) as host:
            with trio.fail_after(60):
                while not host.counters.get("compactions"):
                    agent.say(Names(1, ()), rows=([file_row(b"f%d" % (agent.number % 5))],))
                    assert (await agent.delivered()).store == store
            agent.say(Names(1, ()), rows=([file_row(b"last")],))
            assert (await agent.delivered()).store == store
            assert os.stat(data_file(str(front))).st_size < 1 << 19
    assert check(str(front)) == []
    assert has(front, b"last")
    assert status(front).uuid == store
    assert agent.window.resent == 0
    assert sorted(os.listdir(front.parent)) == ["b", "copy", "front", "generation"]
