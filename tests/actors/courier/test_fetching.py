"""Fetching a bundle over a real socket with CURVE, cut off and gone on with."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import zmq

from actors.courier.fetching import fetch
from actors.query.bundles import Bundles
from actors.query.router import Router
from fustor.runtime.keys import AuthorizedKeys, load_or_create, write_public
from fustor.runtime.mesh import MeshSocket
from fustor.runtime.sockets import ClientCurve, ServerCurve, open_socket
from fustor.runtime.zap import Fence, serve_zap
from protocols.errors import BundleError, MachineError

DIGEST = "0123456789abcdef" * 4
CONTENT = os.urandom(3_000_000)


class Stage:
    def __init__(self, folder: Path, endpoint: str, curve: ClientCurve) -> None:
        self.path = folder / "it.part"
        self.endpoint, self.curve = endpoint, curve
        self.seen: list[tuple[int, int]] = []

    async def fetch(self, most: int = 1 << 30, digest: str = DIGEST) -> None:
        await fetch(
            self.endpoint,
            self.curve,
            digest,
            str(self.path),
            most=most,
            silence_seconds=20,
            progress=lambda at, size: self.seen.append((at, size)),
        )


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Stage]:
    import logging

    (folder / f"{DIGEST}.bundle").write_bytes(CONTENT)
    (folder / "authorized").mkdir()
    agent = load_or_create(str(folder / "agent.key"), "local", "agent")
    write_public(str(folder / "authorized" / "local.pub"), agent)
    keys = load_or_create(str(folder / "fusion.key"), "fusion", "fusion")
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    roles = frozenset({"agent"})
    raw = open_socket(context, zmq.ROUTER, bind="tcp://127.0.0.1:*", hwm=4, curve=ServerCurve(keys.secret, roles))
    mesh = MeshSocket(raw)
    fence = Fence(AuthorizedKeys(str(folder / "authorized")))
    bundles = Bundles(str(folder), 1e12)
    router = Router(
        mesh, lambda op, view, params, match: bundles.ask(params), {}, logging.getLogger("t"), admit=fence.user_of
    )
    endpoint = raw.getsockopt_string(zmq.LAST_ENDPOINT)
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(serve_zap, context, fence.authorized, roles)
            nursery.start_soon(router.serve)
            yield Stage(folder, endpoint, ClientCurve(keys.public, agent.public, agent.secret))
            nursery.cancel_scope.cancel()
    finally:
        mesh.close()
        context.destroy(linger=0)


async def test_whole_and_from_where_it_was_cut(tmp_path: Path) -> None:
    async with serving(tmp_path) as stage:
        await stage.fetch()
        assert stage.path.read_bytes() == CONTENT
        assert stage.seen[-1] == (len(CONTENT), len(CONTENT))
        stage.path.write_bytes(CONTENT[:1_234_567])
        stage.seen.clear()
        await stage.fetch()
        assert stage.path.read_bytes() == CONTENT
        assert stage.seen[0][0] > 1_234_567


async def test_what_is_not_there_or_too_large(tmp_path: Path) -> None:
    async with serving(tmp_path) as stage:
        with pytest.raises(MachineError, match="no such bundle"):
            await stage.fetch(digest="f" * 64)
        with pytest.raises(BundleError, match="are accepted"):
            await stage.fetch(most=1000)
        stage.path.write_bytes(b"x" * (len(CONTENT) + 1))
        with pytest.raises(BundleError, match="are accepted"):
            await stage.fetch()
