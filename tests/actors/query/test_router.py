"""The zmq side with CURVE and ZAP: real sockets, real keys, real stores."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import zmq

from actors.query.api import Api
from actors.query.body import BodyLimits
from actors.query.router import Router
from actors.query.service import ROLES
from actors.query.stores import Stores
from fustor.runtime.keys import AuthorizedKeys, KeyPair, load_or_create, write_public
from fustor.runtime.mesh import MeshSocket
from fustor.runtime.sockets import ClientCurve, ServerCurve, open_socket
from fustor.runtime.zap import Fence, serve_zap
from protocols.codec import decode, encode
from protocols.messages import TreeReply, TreeRequest
from tests.actors.query.model import Build, Tree, expected_node, file_row, without_extras

TREE: Tree = {b"d%03d" % d: {b"f%03d" % n: file_row(n) for n in range(100)} for d in range(60)} | {b"\xff": file_row()}

Context = zmq.Context[zmq.Socket[bytes]]


class Serving:
    def __init__(self, folder: Path, context: Context, endpoint: str, server: KeyPair) -> None:
        self.folder, self.context, self.endpoint, self.server = folder, context, endpoint, server
        self.counters: dict[str, int] = {}
        self.sockets: list[MeshSocket] = []

    def connect(self, name: str = "ada", hwm: int = 100) -> MeshSocket:
        keys = load_or_create(str(self.folder / f"{name}.key"), name, "observer")
        curve = ClientCurve(self.server.public, keys.public, keys.secret)
        self.sockets.append(
            MeshSocket(open_socket(self.context, zmq.DEALER, connect=self.endpoint, hwm=hwm, curve=curve))
        )
        return self.sockets[-1]


@asynccontextmanager
async def serving(folder: Path, **options: Any) -> AsyncIterator[Serving]:
    path = str(folder / "store")
    Build(path).write(TREE)
    authorized = folder / "authorized"
    authorized.mkdir()
    write_public(str(authorized / "ada.pub"), load_or_create(str(folder / "ada.key"), "ada", "observer"))
    keys = load_or_create(str(folder / "fusion.key"), "fusion", "fusion")
    context: Context = zmq.Context()
    raw = open_socket(context, zmq.ROUTER, bind="tcp://127.0.0.1:*", hwm=4, curve=ServerCurve(keys.secret, ROLES))
    mesh = MeshSocket(raw)
    found = Serving(folder, context, raw.getsockopt_string(zmq.LAST_ENDPOINT), keys)
    stores = Stores({"main": path}, "main", 60, found.counters, logging.getLogger("test"))
    limits = BodyLimits(whole_bytes=20_000, slice_bytes=16_384)
    fence = Fence(AuthorizedKeys(str(authorized)))
    router = Router(
        mesh,
        Api(stores, limits, 1000, 100).ask,
        found.counters,
        logging.getLogger("test"),
        admit=fence.user_of,
        slice_bytes=16_384,
        **options,
    )
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(serve_zap, context, fence.authorized, ROLES)
            nursery.start_soon(router.serve)
            yield found
            nursery.cancel_scope.cancel()
    finally:
        mesh.close()
        for socket in found.sockets:
            socket.close()
        stores.close()
        context.destroy(linger=0)


async def ask(socket: MeshSocket, **fields: Any) -> tuple[int, dict[str, str], Any, int]:
    """Status, headers, decoded body and number of parts."""
    await socket.send([encode(TreeRequest(request="r1", **fields))])
    body: list[bytes] = []
    headers: dict[str, str] = {}
    with trio.fail_after(20):
        while True:
            head, data = await socket.receive()
            reply = decode(head, TreeReply)
            assert (reply.request, reply.part) == ("r1", len(body))
            headers = headers or reply.headers
            assert len(data) <= 16_384 + 101 * 400
            body.append(data)
            if reply.last:
                whole = b"".join(body)
                return reply.status, headers, json.loads(whole) if whole else None, len(body)


async def test_the_same_answers_as_over_http(tmp_path: Path) -> None:
    async with serving(tmp_path) as running:
        socket = running.connect()
        status, headers, node, parts = await ask(socket, op="tree")
        assert (status, headers["X-Fustor-State"], headers["Content-Type"]) == (200, "live", "application/json")
        assert without_extras(node) == expected_node(b"", TREE)
        assert parts > 10
        status, _, node, parts = await ask(socket, op="tree", path=b"/\xff", params={"only_path": "true"})
        assert (status, parts) == (200, 1)
        assert without_extras(node) == expected_node(b"/\xff", file_row(), only_path=True)
        status, headers, node, parts = await ask(socket, op="tree", path=b"/d001")
        assert without_extras(node) == expected_node(b"/d001", TREE[b"d001"])
        assert parts > 1
        etag = headers["ETag"]
        status, _, node, _ = await ask(socket, op="tree", path=b"/d001", params={"if_none_match": etag})
        assert (status, node) == (304, None)
        assert (await ask(socket, op="tree", path=b"/none"))[0] == 404
        assert (await ask(socket, op="tree", path=b"none"))[2]["field"] == "path"
        assert (await ask(socket, op="tree", view="none"))[0] == 404
        assert (await ask(socket, op="delete"))[2]["field"] == "op"
        assert (await ask(socket, op="stats"))[2]["total_files"] == 6001
        assert len((await ask(socket, op="search", params={"pattern": "f001"}))[2]) == 60


async def test_malformed_requests_are_counted_and_dropped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(tmp_path) as running:
        socket = running.connect()
        for bad in (b"", b"\xff" * 100, encode(TreeReply(request="", status=1, part=0, last=True))):
            await socket.send([bad])
        assert (await ask(socket, op="stats"))[0] == 200
        with trio.fail_after(10):
            while running.counters["zmq_malformed"] < 3:  # noqa: ASYNC110 - polls from outside
                await trio.sleep(0.01)


async def test_strangers_get_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path) as running:
        stranger = running.connect("eve")
        with trio.move_on_after(0.5) as scope:
            await ask(stranger, op="stats")
        assert scope.cancelled_caught
        assert (await ask(running.connect(), op="stats"))[0] == 200
        assert running.counters["zmq_requests"] == 1


async def test_a_peer_that_does_not_read_is_given_up_and_holds_up_nobody(tmp_path: Path) -> None:
    async with serving(tmp_path, peer_seconds=0.5, requests=200) as running:
        deaf = running.connect(hwm=1)
        for _ in range(100):
            await deaf.send([encode(TreeRequest(request="x", op="tree"))])
        other = running.connect()
        assert (await ask(other, op="stats"))[0] == 200
        with trio.fail_after(30):
            while not running.counters["zmq_given_up"]:
                assert (await ask(other, op="tree", path=b"/d001"))[0] == 200
        assert running.counters["zmq_failures"] == 0


async def test_a_peer_that_is_gone_is_given_up(tmp_path: Path) -> None:
    async with serving(tmp_path, peer_seconds=20) as running:
        gone = running.connect(hwm=1)
        for _ in range(20):
            await gone.send([encode(TreeRequest(request="x", op="tree"))])
        await gone.receive()
        gone.close()
        with trio.fail_after(15):
            while not running.counters["zmq_given_up"]:  # noqa: ASYNC110 - polls from outside
                await trio.sleep(0.01)
        assert (await ask(running.connect(), op="stats"))[0] == 200
