"""An agent's end of the pipe for tests of the view: real sockets, a real send window."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import trio
import zmq

from fustor.runtime.keys import KeyPair, load_or_create, write_public
from fustor.runtime.mesh import MeshSocket
from fustor.runtime.sockets import ClientCurve, open_socket
from protocols.codec import decode, encode, pack
from protocols.data import Ack, Batch, Item, Operation, Row
from protocols.sequencing import SendWindow


def free_endpoints(count: int) -> list[str]:
    """Loopback endpoints that were free a moment ago."""
    found = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    endpoints = [f"tcp://127.0.0.1:{s.getsockname()[1]}" for s in found]
    for s in found:
        s.close()
    return endpoints


class Keys:
    """Keys of a Fusion and of whoever is made; all authorised."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "authorized").mkdir(parents=True)
        self.fusion = load_or_create(str(folder / "fusion.key"), "fusion", "fusion")

    def person(self, name: str, role: str = "agent") -> KeyPair:
        pair = load_or_create(str(self.folder / f"{name}.key"), name, role)
        write_public(str(self.folder / "authorized" / f"{name}.pub"), pair)
        return pair

    def config(self, store: Path, *sources: dict[str, Any], **limits: float) -> dict[str, Any]:
        data, acks = free_endpoints(2)
        return {
            "view": "main",
            "store": str(store),
            "sources": list(sources) or [{"index": 0, "agent": "agent", "source": "data", "mount": "/"}],
            "data": data,
            "acks": acks,
            "key_file": str(self.folder / "fusion.key"),
            "authorized": str(self.folder / "authorized"),
            "limits": {"map_bytes": 1 << 28, **limits},
        }


class Agent:
    """Sends items of one source, again and again until they are acknowledged."""

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], config: dict[str, Any], keys: Keys, pair: KeyPair, source: str
    ) -> None:
        curve = ClientCurve(server=keys.fusion.public, public=pair.public, secret=pair.secret)
        self.name, self.source = pair.name, source
        self.push = MeshSocket(open_socket(context, zmq.PUSH, connect=config["data"], curve=curve))
        topic = f"{self.name}/{source}".encode()
        self.sub = MeshSocket(open_socket(context, zmq.SUB, connect=config["acks"], curve=curve, subscribe=[topic]))
        self.window = SendWindow(0)
        self.number = 0
        self.acks: list[Ack] = []

    def epoch(self, epoch: int) -> None:
        self.window = SendWindow(epoch, stall_seconds=0.3)
        self.number = 0

    def say(self, *ops: Operation, rows: tuple[list[Row], ...] = ()) -> None:
        """Put an item into the window."""
        self.number += 1
        item = Item.of(self.window.epoch, self.number, list(ops))
        self.window.add(self.number, (encode(item), pack(rows)))

    async def send(self, agent: str = "") -> None:
        """Everything that may be sent now."""
        while batch := self.window.next_batch(trio.current_time(), 64 << 10):
            head = Batch(
                agent=agent or self.name,
                source=self.source,
                epoch=self.window.epoch,
                first=batch[0].number,
                count=len(batch),
            )
            await self.push.send([encode(head), *[frame for item in batch for frame in item.frames]])

    async def hear(self) -> Ack:
        """The next acknowledgement."""
        _, data = await self.sub.receive()
        ack = decode(data, Ack)
        self.acks.append(ack)
        self.window.on_ack(ack.store, ack.epoch, ack.applied, trio.current_time())
        return ack

    async def until(self, reached: Callable[[Ack], bool], seconds: float = 60.0) -> Ack:
        """Send and hear until an acknowledgement is as wanted."""
        with trio.fail_after(seconds):
            while True:
                # A peer that is away takes nothing; what it says is heard meanwhile.
                with trio.move_on_after(0.2):
                    await self.send()
                with trio.move_on_after(0.5):
                    ack = await self.hear()
                    if reached(ack):
                        return ack

    async def delivered(self) -> Ack:
        """Everything said so far is applied."""
        return await self.until(lambda ack: (ack.epoch, ack.applied) == (self.window.epoch, self.number))


@contextmanager
def agents(config: dict[str, Any], keys: Keys) -> Iterator[Callable[..., Agent]]:
    """Makes agents; closes them."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    made: list[Agent] = []

    def make(name: str = "agent", source: str = "data", role: str = "agent") -> Agent:
        made.append(Agent(context, config, keys, keys.person(name, role), source))
        return made[-1]

    try:
        yield make
    finally:
        for agent in made:
            agent.push.close()
            agent.sub.close()
        context.term()
