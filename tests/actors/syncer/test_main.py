"""A real syncer process; the test plays the watcher, the view and the control actor."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import zmq

from actors.syncer.__main__ import build
from fustor.runtime.config import ConfigFaults
from fustor.runtime.handling import take
from fustor.runtime.keys import AuthorizedKeys, KeyPair, load_or_create, write_public
from fustor.runtime.mesh import MeshSocket
from fustor.runtime.sockets import ServerCurve, open_socket
from fustor.runtime.zap import serve_zap, user_of
from protocols.codec import DATA_LIMITS, decode, encode, pack
from protocols.data import Ack, Applied, Batch, Item, SyncerHello
from tests.support.actors import Actors, actors_in, check_config, until

NAME = "syncer.data"
AGENTS = frozenset({"agent"})

#: Long enough for a pipe to fill; how long exactly decides nothing.
PATIENCE_FULL = 1.0

Items = list[tuple[bytes, bytes]]


@attrs.define
class Bench:
    """A watcher's two sockets, a view's two, and what comes in."""

    actors: Actors
    server: KeyPair
    key_file: Path
    uplink: MeshSocket
    found: MeshSocket
    push: MeshSocket
    pub: MeshSocket
    data: str
    acks: str
    incarnation: str = ""
    said: list[object] = attrs.Factory(list)
    batches: list[tuple[Batch, Items]] = attrs.Factory(list)
    users: set[tuple[str, str]] = attrs.Factory(set)

    def start(self, **limits: Any) -> int:
        return self.actors.start(NAME, "actors.syncer", self.config(**limits))

    def config(self, **limits: Any) -> dict[str, Any]:
        return {
            "agent": "local",
            "source": "data",
            "data": self.data,
            "acks": self.acks,
            "server_key": self.server.public,
            "key_file": str(self.key_file),
            "limits": limits,
        }

    async def hear(self) -> None:
        """What the syncer says to the watcher."""
        while True:
            frame = (await self.found.receive())[0]
            message: object = decode(frame, SyncerHello, Applied)
            if isinstance(message, SyncerHello):
                self.incarnation = message.incarnation
            self.said.append(message)

    async def take(self) -> None:
        """What the syncer sends to the view."""
        while True:
            frames = await self.push.receive_frames()
            self.users.add(user_of(frames[0]))
            parts = [bytes(frame.buffer) for frame in frames]
            batch = decode(parts[0], Batch)
            self.batches.append((batch, list(zip(parts[1::2], parts[2::2], strict=True))))

    async def up(self, **limits: Any) -> None:
        self.start(**limits)
        await self.greeted()

    async def greeted(self) -> None:
        """Until it has said hello, again if it did before."""
        before = self.incarnation
        await until(lambda: self.incarnation != before)

    async def item(self, number: int, *, epoch: int = 1, size: int = 10, incarnation: str = "") -> None:
        head = pack((epoch, number, incarnation or self.incarnation))
        await self.uplink.send([head, b"item %d" % number, b"x" * size])

    async def items(self, first: int, last: int, **fields: Any) -> None:
        for number in range(first, last + 1):
            await self.item(number, **fields)

    async def ack(self, applied: int, *, epoch: int = 1, store: str = "store", source: str = "data") -> None:
        topic = f"local/{source}".encode()
        ack = Ack(agent="local", source=source, store=store, epoch=epoch, applied=applied)
        await self.pub.send([topic, encode(ack)])

    async def acked(self, applied: int, *, epoch: int = 1, store: str = "store") -> None:
        """Say it until the syncer has heard it: PUB loses."""
        relayed = (store, epoch, applied)
        while not any(isinstance(m, Applied) and (m.store, m.epoch, m.applied) == relayed for m in self.said[-1:]):
            await self.ack(applied, epoch=epoch, store=store)
            await trio.sleep(0.02)

    def numbers(self, epoch: int = 1) -> list[int]:
        """The numbers of all items that the view got, in the order in which they came."""
        return [
            number
            for batch, _ in self.batches
            if batch.epoch == epoch
            for number in range(batch.first, batch.first + batch.count)
        ]

    async def got(self, last: int, epoch: int = 1) -> None:
        await until(lambda: last in self.numbers(epoch))

    async def counted(self, counter: str, value: int) -> None:
        await until(lambda: NAME in self.actors.beats and self.actors.beats[NAME].counters.get(counter) == value)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    run, authorized = tmp_path / "run", tmp_path / "authorized"
    run.mkdir()
    authorized.mkdir()
    server = load_or_create(str(tmp_path / "fusion.key"), "fusion", "fusion")
    agent = load_or_create(str(tmp_path / "agent.key"), "local", "agent")
    write_public(str(authorized / "local.pub"), agent)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    curve = ServerCurve(server.secret, AGENTS)
    uplink = MeshSocket(open_socket(context, zmq.PUSH, bind=f"ipc://{run}/uplink.data", hwm=64))
    found = MeshSocket(open_socket(context, zmq.PULL, bind=f"ipc://{run}/found.data"))
    opened = [uplink, found]
    try:
        async with actors_in(run) as actors, trio.open_nursery() as nursery:
            await nursery.start(serve_zap, context, AuthorizedKeys(str(authorized)), AGENTS)
            push = open_socket(
                context, zmq.PULL, bind="tcp://127.0.0.1:0", hwm=16, max_size=DATA_LIMITS.size, curve=curve
            )
            pub = open_socket(context, zmq.PUB, bind="tcp://127.0.0.1:0", curve=curve)
            made = Bench(
                actors=actors,
                server=server,
                key_file=tmp_path / "agent.key",
                uplink=uplink,
                found=found,
                push=MeshSocket(push),
                pub=MeshSocket(pub),
                data=push.getsockopt_string(zmq.LAST_ENDPOINT),
                acks=pub.getsockopt_string(zmq.LAST_ENDPOINT),
            )
            opened += [made.push, made.pub]
            nursery.start_soon(made.hear)
            nursery.start_soon(made.take)
            yield made
            nursery.cancel_scope.cancel()
    finally:
        for each in opened:
            each.close()
        context.term()


async def test_items_arrive_in_order_and_acknowledgements_go_back(bench: Bench) -> None:
    await bench.up()
    await bench.items(1, 300)
    await bench.got(300)
    assert bench.numbers() == list(range(1, 301))
    batch, items = bench.batches[0]
    assert (batch.agent, batch.source, batch.epoch, batch.first) == ("local", "data", 1, 1)
    assert items[0] == (b"item 1", b"x" * 10)
    assert bench.users == {("agent", "local")}
    await bench.acked(300)
    assert bench.said[-1] == Applied(incarnation=bench.incarnation, store="store", epoch=1, applied=300)
    await bench.counted("items", 300)
    await until(lambda: not bench.actors.beats[NAME].outstanding)
    assert bench.actors.beats[NAME].gauges.items() >= {"waiting_items": 0, "waiting_bytes": 0}.items()


async def test_a_batch_holds_as_many_items_as_fit(bench: Bench) -> None:
    await bench.up(batch_bytes=1000, stall_seconds=3600)
    await bench.item(1, size=5000)  # so much is sent item by item after a start
    await bench.items(2, 200, size=90)
    await bench.got(200)
    assert (bench.batches[0][0].first, bench.batches[0][0].count) == (1, 1)
    sizes = [sum(len(item) + len(rows) for item, rows in items) for batch, items in bench.batches if batch.first > 1]
    assert all(size <= 1000 for size in sizes)
    assert bench.numbers() == list(range(1, 201))
    # Everything again at once, and so in full messages.
    bench.batches.clear()
    await bench.acked(1)
    await bench.acked(1, store="another")
    await until(lambda: bench.numbers()[-199:] == list(range(2, 201)))
    assert max(batch.count for batch, _ in bench.batches) > 5


async def test_what_is_quarantined_is_left_out_and_said(bench: Bench) -> None:
    bench.actors.start(NAME, "actors.syncer", {**bench.config(), "quarantined": ["1 2", "7 3"]})
    await bench.greeted()
    await bench.items(1, 3)
    await bench.got(3)
    sent = {number: (head, item) for head, items in bench.batches for number, item in numbered(head, items)}
    assert sent[3][1] == (b"item 3", b"x" * 10)
    assert decode(sent[2][1][0], Item).ops() == []
    assert {head.missing for head, _ in sent.values()} == {1}


def numbered(head: Batch, items: Items) -> list[tuple[int, tuple[bytes, bytes]]]:
    return [(head.first + at, item) for at, item in enumerate(items)]


async def test_what_was_released_is_asked_for_by_going_back(bench: Bench) -> None:
    bench.actors.start(NAME, "actors.syncer", {**bench.config(), "again": ["1 2"]})
    await bench.greeted()
    await bench.items(1, 3)
    await bench.got(3)
    assert bench.batches[0][0].missing == 1
    back = Applied(incarnation=bench.incarnation, store="store", epoch=1, applied=0)
    while back not in bench.said:
        await bench.ack(3)
        await trio.sleep(0.02)


async def test_what_it_dies_of_is_written_down(bench: Bench) -> None:
    """After a start items are sent one by one, so the note says which."""
    await bench.up()
    await bench.items(1, 50)
    await bench.got(50)
    assert {head.count for head, _ in bench.batches} == {1}
    bench.actors.kill(NAME)
    assert take(str(bench.actors.run / f"{NAME}.item")) is None, "nothing was in hand"


async def test_what_stalls_is_sent_again(bench: Bench) -> None:
    """Acknowledgements come and say nothing new: the view has lost something."""
    await bench.up(stall_seconds=0.05)
    await bench.items(1, 10)
    await bench.got(10)
    bench.batches.clear()
    while 10 not in bench.numbers():
        await bench.ack(4)
        await trio.sleep(0.02)
    assert min(bench.numbers()) == 5
    await until(lambda: bench.actors.beats[NAME].counters["resent"] >= 1)


@pytest.mark.parametrize("how", ["the acknowledgement goes back", "another store"])
async def test_a_view_that_fell_back_gets_it_again(bench: Bench, how: str) -> None:
    await bench.up(stall_seconds=3600)
    await bench.items(1, 10)
    await bench.got(10)
    await bench.acked(3)
    bench.batches.clear()
    if how == "another store":
        await bench.acked(4, store="another")
        await bench.got(10)
        assert min(bench.numbers()) == 5
    else:
        await bench.acked(5)
        bench.batches.clear()
        await bench.acked(4)
        await bench.ack(5)
        await bench.got(10)
        assert min(bench.numbers()) == 6


async def test_a_new_epoch_begins_a_new_sequence(bench: Bench) -> None:
    await bench.up()
    await bench.items(1, 5)
    await bench.got(5)
    await bench.acked(5)
    await bench.items(1, 3, epoch=2)
    await bench.got(3, epoch=2)
    assert bench.numbers(2) == [1, 2, 3]
    await bench.item(6, epoch=1)  # from before
    await bench.item(4, epoch=2)
    await bench.got(4, epoch=2)
    assert 6 not in bench.numbers(1)


async def test_a_restart_asks_for_everything_that_is_not_applied(bench: Bench) -> None:
    await bench.up()
    await bench.items(1, 20)
    await bench.got(20)
    bench.actors.kill(NAME)
    bench.start()
    await bench.greeted()
    bench.batches.clear()
    await bench.items(8, 20)
    await bench.acked(7)
    await bench.got(20)
    assert bench.numbers() == list(range(8, 21))


async def test_what_was_meant_for_a_predecessor_is_passed_over(bench: Bench) -> None:
    """Items that were on their way when it died come before those that the successor asked for."""
    await bench.up()
    await bench.items(50, 60, incarnation="somebody who died")
    await bench.items(1, 3)
    await bench.got(3)
    assert bench.numbers() == [1, 2, 3]


async def test_a_hole_is_asked_for(bench: Bench) -> None:
    """An item that went to a pipe whose end was dead: it says hello again, once, and begins anew."""
    await bench.up(stall_seconds=0.01)
    await bench.items(1, 3)
    await bench.got(3)
    old = bench.incarnation
    await bench.items(5, 9)
    await bench.greeted()
    assert bench.incarnation != old
    await bench.items(1, 9)
    await bench.got(9)
    assert sum(isinstance(message, SyncerHello) for message in bench.said) == 2
    await until(lambda: bench.actors.beats[NAME].counters["refused"] >= 1)


async def test_a_beginning_that_the_view_can_not_use_is_asked_for_again(bench: Bench) -> None:
    """The first item that came is not the one that the view wants."""
    await bench.up(stall_seconds=0.01)
    await bench.acked(2)
    await bench.item(7)
    await bench.item(8)
    await bench.greeted()
    await bench.items(3, 8)
    await bench.got(8)
    assert bench.numbers() == [3, 4, 5, 6, 7, 8]


async def test_a_full_window_takes_no_more_and_goes_on(bench: Bench) -> None:
    """Bounded while the view is away; the rest stays with the watcher."""
    await bench.up(window_bytes=2000)
    sent = 0
    with trio.move_on_after(PATIENCE_FULL):
        for number in range(1, 1000):
            await bench.item(number, size=100)
            sent = number
    assert sent < 999
    await bench.counted("items", 19)
    assert bench.actors.beats[NAME].gauges["waiting_bytes"] < 2200
    await bench.acked(19)
    await until(lambda: bench.actors.beats[NAME].counters["items"] > 19)


async def test_a_full_window_of_an_epoch_that_is_over_gives_way(bench: Bench) -> None:
    """The view's store was replaced while the window was full: the next epoch must come through."""
    await bench.up(window_bytes=2000, stall_seconds=0.05)
    await bench.items(1, 10, size=100)
    await bench.got(10)
    await bench.acked(10)
    await bench.items(11, 40, size=100)
    await bench.got(29)
    await bench.acked(0, epoch=0, store="another")
    await bench.items(1, 2, epoch=2)
    await bench.got(2, epoch=2)


async def test_acknowledgements_of_a_namesake_are_not_ours(bench: Bench) -> None:
    """A subscription is to everything that begins with the topic: ``local/data`` hears ``local/data2``."""
    await bench.up(stall_seconds=3600)
    await bench.items(1, 3)
    await bench.got(3)
    await bench.acked(1)
    for _ in range(20):
        await bench.ack(3, source="data2")
    await bench.acked(2)
    applied = [message.applied for message in bench.said if isinstance(message, Applied)]
    assert set(applied) == {1, 2}
    assert bench.actors.beats[NAME].counters["refused"] == 0


async def test_garbage_is_counted_and_nothing_dies(bench: Bench) -> None:
    await bench.up(stall_seconds=3600)
    await bench.item(1)
    await bench.got(1)
    await bench.acked(0)
    await bench.uplink.send([b""])
    for head in (b"\xc1", pack((1, 2)), pack((1, "2", "x")), pack({})):
        await bench.uplink.send([head, b"", b""])
    await bench.counted("refused", 5)
    for payload in (b"\xc1", b"", encode(SyncerHello(incarnation="x"))):
        await bench.pub.send([b"local/data", payload])
    await bench.counted("refused", 8)
    await bench.item(2)
    await bench.got(2)


async def test_stop_is_clean(bench: Bench) -> None:
    await bench.up()
    await bench.item(1)
    await bench.got(1)
    assert bench.actors.kill(NAME, signal.SIGTERM) == 0
    assert "Traceback" not in bench.actors.log(NAME)


async def test_a_view_that_does_not_know_the_key_gets_nothing(bench: Bench, tmp_path: Path) -> None:
    bench.key_file = tmp_path / "stranger.key"
    load_or_create(str(bench.key_file), "stranger", "agent")
    await bench.up()
    await bench.item(1)
    await bench.counted("items", 1)
    await until(lambda: bench.actors.beats[NAME].outstanding)
    assert bench.batches == []
    assert bench.actors.is_alive(NAME)


GOOD = {"agent": "a", "source": "s", "data": "tcp://x:1", "acks": "tcp://x:2", "server_key": "k", "key_file": "f"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"limits": {"stall_seconds": 0}}, "limits.stall_seconds = 0"),
        ({"limits": {"batch_bytes": "big"}}, "limits.batch_bytes = 'big'"),
        ({"agent": 5}, "agent = 5"),
        ({"nonsense": 1}, "nonsense = 1: unknown key"),
        ({"quarantined": ("1 2", "x")}, "quarantined[1] = 'x'"),
        ({"again": ("1",)}, "again[0] = '1'"),
    ],
)
def test_a_fault_is_named(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigFaults) as caught:
        build({**GOOD, **change})
    assert said in str(caught.value)


def test_check() -> None:
    assert check_config("actors.syncer", GOOD).returncode == 0
    assert check_config("actors.syncer", {**GOOD, "agent": 5}).returncode == 2
