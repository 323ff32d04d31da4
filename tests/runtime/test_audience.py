"""Those who only listen, over real CURVE connections: they are known, and cut off with their key."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import attrs
import pytest
import trio
import zmq

from fustor.runtime.audience import Audience
from fustor.runtime.keys import AuthorizedKeys, KeyPair, write_public
from fustor.runtime.mesh import MeshSocket
from fustor.runtime.sockets import ClientCurve, ServerCurve, open_socket
from fustor.runtime.zap import Fence, KeyWithdrawn, serve_zap

ZmqContext = zmq.Context[zmq.Socket[bytes]]
ROLES = frozenset({"agent"})


def pair_of(name: str) -> KeyPair:
    public, secret = zmq.curve_keypair()
    return KeyPair(name=name, role="agent", public=public.decode(), secret=secret.decode())


SERVER = pair_of("fusion")


@pytest.fixture
def context() -> Iterator[ZmqContext]:
    made: ZmqContext = zmq.Context()
    yield made
    made.destroy(linger=0)


@attrs.define
class Hall:
    context: ZmqContext
    folder: Path
    publisher: MeshSocket
    endpoint: str
    audience: Audience

    def listener(self, name: str) -> MeshSocket:
        """Somebody whose key is let in."""
        pair = pair_of(name)
        write_public(str(self.folder / f"{name}.pub"), pair)
        curve = ClientCurve(SERVER.public, pair.public, pair.secret)
        return MeshSocket(open_socket(self.context, zmq.SUB, connect=self.endpoint, curve=curve, subscribe=[b"t"]))

    async def takes_in(self) -> None:
        (frame,) = await self.publisher.receive_frames()
        assert frame.bytes == b"\x01t"
        self.audience.joined(frame)

    async def hears(self, listener: MeshSocket) -> None:
        await self.publisher.send([b"t", b"news"])
        assert await listener.receive() == [b"t", b"news"]


@pytest.fixture
async def hall(context: ZmqContext, tmp_path: Path) -> AsyncIterator[Hall]:
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            fence = Fence(AuthorizedKeys(str(tmp_path)))
            await nursery.start(serve_zap, context, fence.authorized, ROLES)
            raw = open_socket(context, zmq.XPUB, bind="tcp://127.0.0.1:0", curve=ServerCurve(SERVER.secret, ROLES))
            publisher = MeshSocket(raw)
            yield Hall(context, tmp_path, publisher, raw.getsockopt_string(zmq.LAST_ENDPOINT), Audience(fence))
            publisher.close()
            nursery.cancel_scope.cancel()


async def test_each_listener_is_known_also_to_what_another_one_hears(hall: Hall) -> None:
    one, other = hall.listener("one"), hall.listener("other")
    for _ in range(2):
        await hall.takes_in()
    assert len(hall.audience) == 2
    hall.audience.look()
    assert len(hall.audience) == 2
    await hall.hears(one)
    assert await other.receive() == [b"t", b"news"]
    one.close()
    other.close()


async def test_a_withdrawn_key_hears_nothing_more(hall: Hall) -> None:
    one, other = hall.listener("one"), hall.listener("other")
    for _ in range(2):
        await hall.takes_in()
    await hall.hears(one)
    await other.receive()
    (hall.folder / "one.pub").unlink()
    hall.audience.look()
    assert (len(hall.audience), hall.audience.fence.counts.fenced) == (1, 1)
    await hall.hears(other)
    with trio.move_on_after(0.2):
        raise AssertionError(await one.receive())
    one.close()
    other.close()


async def test_who_subscribes_with_a_withdrawn_key_is_cut_off_at_once(hall: Hall) -> None:
    one = hall.listener("one")
    (frame,) = await hall.publisher.receive_frames()
    (hall.folder / "one.pub").unlink()
    with pytest.raises(KeyWithdrawn):
        hall.audience.joined(frame)
    assert len(hall.audience) == 0
    one.close()


async def test_who_has_gone_is_forgotten(hall: Hall) -> None:
    one = hall.listener("one")
    await hall.takes_in()
    one.close()
    while len(hall.audience):
        hall.audience.look()
        await trio.sleep(0.01)
