"""A view in this process, with real sockets, keys and stores."""

from __future__ import annotations

import os
import random
from pathlib import Path

import lmdb
import pytest
import trio

from actors.view.service import build
from fustor.runtime.config import ConfigFaults
from fustor.treestore.check import check
from fustor.treestore.environment import boottime_ns
from fustor.treestore.place import Place
from fustor.treestore.reader import Reader
from fustor.treestore.stamp import Stamp, boot_id, write_stamp
from fustor.treestore.writer import Writer
from protocols.data import Names, Watermark
from protocols.errors import ConfigError
from tests.actors.view.agent import Keys, agents
from tests.actors.view.live import begin, damage, running, until_true
from tests.treestore.scenario import SOURCE, directory_row, file_row


def names_in(store: Path) -> set[bytes]:
    """Names at the top of a store that nobody has open."""
    writer = Writer(str(store), [SOURCE], map_size=1 << 28)
    try:
        with writer.reader().snapshot() as snapshot:
            files = {name for name in (b"f%d" % i for i in range(1, 500)) if snapshot.row(1, name)}
            return files | {name for name, _ in snapshot.children(1)}
    finally:
        writer.close()


async def test_items_become_the_tree_and_are_acknowledged(tmp_path: Path, keys: Keys) -> None:
    config = keys.config(tmp_path / "s")
    with agents(config, keys) as make:
        async with running(config) as host:
            agent = make()
            begin(agent)
            before = boottime_ns()
            agent.say(Watermark(123, "live", True, ("why",), {"directories": 1}))
            ack = await agent.delivered()
            assert ack.store == host.facts["store"]
            assert host.counters["items"] == 3
            assert host.counters["rows"] == 3
            # Said again and again, for PUB loses.
            assert await agent.hear() == ack
            assert await agent.hear() == ack
    assert check(str(tmp_path / "s")) == []
    reader = Reader(str(tmp_path / "s"))
    with reader.snapshot() as snapshot:
        (status,) = snapshot.status().sources
        assert snapshot.row(1, b"f3") is not None
    reader.close()
    assert (status.state, status.as_of_ns, status.complete, status.reasons) == ("live", 123, True, ("why",))
    assert before < status.arrived_ns < boottime_ns()


async def test_nothing_is_live_after_a_restart_of_the_host_until_a_watermark_comes(tmp_path: Path, keys: Keys) -> None:
    config = keys.config(tmp_path / "s")
    with agents(config, keys) as make:
        async with running(config):
            agent = make()
            begin(agent)
            agent.say(Watermark(123, "live", True))
            await agent.delivered()
        write_stamp(str(tmp_path / "s"), Stamp("another".ljust(36), clean=True))
        env = lmdb.open(str(tmp_path / "s"), max_dbs=10)
        with env.begin(write=True, db=env.open_db(b"meta")) as txn:
            txn.put(b"source.0", txn.get(b"source.0", b"").replace(boot_id().encode(), b"another".ljust(36)))
        env.close()
        async with running(config):
            pass
    reader = Reader(str(tmp_path / "s"))
    with reader.snapshot() as snapshot:
        assert snapshot.status().sources[0].arrived_ns == 0
    reader.close()


async def test_a_later_epoch_takes_over(tmp_path: Path, keys: Keys) -> None:
    config = keys.config(tmp_path / "s")
    with agents(config, keys) as make:
        async with running(config):
            agent = make()
            begin(agent, 1)
            await agent.delivered()
            begin(agent, 2, files=1)
            assert (await agent.delivered()).epoch == 2
    assert names_in(tmp_path / "s") == {b"f1"}


async def test_only_agents_may_connect_and_only_as_themselves(tmp_path: Path, keys: Keys) -> None:
    config = keys.config(tmp_path / "s")
    with agents(config, keys) as make:
        async with running(config) as host:
            impostor, operator = make("other"), make("person", role="operator")
            begin(impostor)
            await impostor.send(agent="agent")
            begin(operator)
            with trio.move_on_after(0.5):
                await operator.send(agent="agent")
            await until_true(lambda: host.counters["refused"] == 1)
            agent = make()
            begin(agent, files=1)
            await agent.delivered()
            assert host.counters["refused"] == 1
            assert host.counters["items"] == 2
    assert names_in(tmp_path / "s") == {b"f1"}


async def test_two_sources_side_by_side(tmp_path: Path, keys: Keys) -> None:
    config = keys.config(
        tmp_path / "s",
        {"index": 0, "agent": "a", "source": "x", "mount": "/one"},
        {"index": 1, "agent": "b", "source": "y", "mount": "/two"},
    )
    with agents(config, keys) as make:
        async with running(config):
            first, second = make("a", "x"), make("b", "y")
            begin(first, epoch=7)
            begin(second, epoch=3, files=1)
            assert (await first.delivered()).epoch == 7
            assert (await second.delivered()).epoch == 3
    assert check(str(tmp_path / "s")) == []


async def test_a_full_store_is_declared_and_the_view_goes_on(tmp_path: Path, keys: Keys) -> None:
    config = keys.config(tmp_path / "s", map_bytes=1 << 20, retry_seconds=0.05)
    with agents(config, keys) as make:
        async with running(config) as host:
            agent = make()
            begin(agent)
            await agent.delivered()
            chance = random.Random(1)
            # One item that does not fit: what is left free then does not depend on who was faster.
            rows = [file_row(b"big%d" % i, i, chance.getrandbits(60)) for i in range(40_000)]
            agent.say(Names(1, ()), rows=(rows,))
            await agent.until(lambda _: "error" in host.facts)
            assert "no room" in host.facts["error"]
            stuck = await agent.hear()
            assert stuck.applied < agent.number
            # It is full until something has been written; that nothing had to be written does not count.
            refused = host.counters["refused"]
            await agent.push.send([b"rubbish"])
            with trio.fail_after(60):
                while host.counters["refused"] == refused:
                    await agent.hear()
            await agent.hear()
            assert "no room" in host.facts["error"]
            begin(agent, 2)
            await agent.delivered()
            assert "error" not in host.facts
            assert host.counters["failures"] >= 1
    assert check(str(tmp_path / "s")) == []


async def test_a_damaged_store_is_set_aside_and_begun_anew(tmp_path: Path, keys: Keys) -> None:
    config = keys.config(tmp_path / "s")
    with agents(config, keys) as make:
        async with running(config):
            agent = make()
            begin(agent)
            agent.say(Names(1, (), (2,)), rows=([directory_row(b"d")],))
            await agent.delivered()
        damage(str(tmp_path / "s"))
        async with running(config) as host:
            store = host.facts["store"]
            agent.say(Names(2, ()), rows=([file_row(b"f1")],))
            ack = await agent.until(lambda ack: ack.store != store)
            assert (ack.epoch, ack.applied) == (0, 0)
            assert "replaced" in host.facts
            assert agent.window.behind
            begin(agent, 2)
            await agent.delivered()
    assert check(str(tmp_path / "s")) == []
    assert names_in(tmp_path / "s") == {b"f1", b"f2", b"f3"}
    assert (tmp_path / "aside" / "data.mdb").exists()


def test_a_bad_configuration_is_refused(tmp_path: Path, keys: Keys) -> None:
    with pytest.raises(ConfigFaults):
        build({})
    (tmp_path / "keys" / "fusion.key").chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        build(keys.config(tmp_path / "s"))


async def test_a_new_store_is_filled_behind_the_one_that_is_answered_from(tmp_path: Path, keys: Keys) -> None:
    config = keys.config(
        tmp_path / "s",
        {"index": 0, "agent": "a", "source": "x", "mount": "/one"},
        {"index": 1, "agent": "b", "source": "y", "mount": "/two"},
    )
    place = Place(config["store"])
    with agents(config, keys) as make:
        first, second = make("a", "x"), make("b", "y")
        async with running(config):
            begin(first, 1)
            begin(second, 1)
            await first.delivered()
            old = (await second.delivered()).store
        place.note_reset("")
        async with running(config) as host:
            before = place.current()
            ack = await first.until(lambda ack: ack.store != old)
            assert (ack.epoch, ack.applied) == (0, 0)
            assert "a/x is empty, b/y is empty" in host.facts["reset"]
            begin(first, 2, files=1)
            first.say(Watermark(123, "live", True))
            await first.delivered()
            await until_true(lambda: host.facts["reset"].endswith(": b/y is empty"))
            begin(second, 2, files=1)
            second.say(Watermark(123, "building", False))
            await second.delivered()
        async with running(config) as host:  # goes on where it was
            await until_true(lambda: host.facts["reset"].endswith(": b/y is building"))
            assert (await first.until(lambda heard: heard.epoch == 2)).applied == first.number
            assert place.current() == before
            second.say(Watermark(124, "degraded", False, ("why",)))
            await second.delivered()
            await until_true(lambda: "reset" not in host.facts)
            assert place.current() != before
            first.say(Names(1, ()), rows=([file_row(b"later")],))
            assert (await first.delivered()).store not in (old, "")
    assert check(str(tmp_path / "s")) == []
    assert place.resetting() is None
    assert sorted(os.listdir(place.folder)) == sorted(
        [os.path.basename(place.current()), *(["generation", "keys", "run", "s"])]
    )


async def test_a_new_store_that_is_damaged_is_begun_again(tmp_path: Path, keys: Keys) -> None:
    config = keys.config(tmp_path / "s")
    place = Place(config["store"])
    with agents(config, keys) as make:
        agent = make()
        async with running(config):
            begin(agent, 1)
            await agent.delivered()
        before = place.current()
        place.note_reset("")
        async with running(config):
            begin(agent, 2)
            agent.say(Names(1, (), (2,)), rows=([directory_row(b"d")],))
            await agent.delivered()
        damage(place.other())
        async with running(config) as host:
            store = host.facts["store"]
            agent.say(Names(2, ()), rows=([file_row(b"f1")],))
            await agent.until(lambda ack: ack.store != store)
            assert place.current() == before
            begin(agent, 3)
            agent.say(Watermark(123, "live", True))
            await agent.delivered()
            await until_true(lambda: place.current() != before)
    assert check(str(tmp_path / "s")) == []
