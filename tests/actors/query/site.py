"""An Api over one real store, asked without any transport."""

from __future__ import annotations

import json
import logging
from typing import Any

import trio

from actors.query.answer import Answer, Later
from actors.query.api import Api
from actors.query.body import BodyLimits
from actors.query.jobs import Jobs
from actors.query.stores import Stores
from fustor.runtime.access import ApiKeys
from tests.actors.query.model import Tree, file_row, link_row

TREE: Tree = {
    b"docs": {b"a.txt": file_row(5), b"b.log": file_row(7), b"sub": {b"c.txt": file_row(9)}},
    b"empty": {},
    b"closed": {},
    b"link": link_row(b"docs"),
    b"top.txt": file_row(1),
}


UNLISTED = frozenset([b"closed"])


class Site:
    """An Api over one store, and what it answers, read whole."""

    def __init__(
        self,
        path: str,
        limits: BodyLimits | None = None,
        cache_bytes: int = 1 << 20,
        keys: ApiKeys | None = None,
        jobs: Jobs | None = None,
    ) -> None:
        self.counters: dict[str, int] = {}
        views = {"main": path, "other": path + "-none"}
        self.stores = Stores(views, "main", 60.0, self.counters, logging.getLogger("t"), cache_bytes)
        self.api = Api(self.stores, limits or BodyLimits(), 1000, 100, keys, jobs)

    def ask(self, target: str, match: str = "", key: bytes = b"") -> tuple[Answer, Any]:
        answer = self.api.ask_target(target.encode(), match, key)
        if isinstance(answer, Later):
            answer = trio.run(answer.wait)
        if isinstance(answer.body, bytes):
            return answer, json.loads(answer.body) if answer.body else None
        pieces: list[bytes] = []

        async def main() -> None:
            async def send(data: bytes) -> None:
                pieces.append(data)
                await trio.lowlevel.checkpoint()

            assert not isinstance(answer.body, bytes)
            await answer.body.write(send)

        trio.run(main)
        answer.close()
        return answer, json.loads(b"".join(pieces))
