"""
``session.json``: what an agent remembers from one life to the next, so that it starts without Fusion.

The session epoch grows with every start: one above the highest that was used or told. Without a file (or with a damaged
one) it begins at the seconds since 1970, so that an agent whose state was lost is not taken for an older one.

Only :meth:`Memory.begin` writes in the caller's thread; later writes never hold up a control actor's loop. What this
module does not do: speak to Fusion (see ``fustor.agent.link``).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from typing import Any

import attrs
import trio

from fustor.runtime.durable import read_json, write_json
from protocols.errors import MachineError
from protocols.messages import Endpoints


@attrs.define(eq=False)
class Memory:
    """
    Attributes:
        path: of the file.
        log: for what could not be read or written.
        epoch: of this life.
        seen: the highest epoch told by Fusion.
        endpoints: the last ones told.
    """

    path: str
    log: logging.Logger
    epoch: int = 0
    seen: int = 0
    endpoints: tuple[Endpoints, ...] = ()
    _changed: trio.Event = attrs.field(factory=trio.Event)

    def begin(self, wall_seconds: float | None = None) -> None:
        """Read what was kept and claim the next epoch, durably."""
        try:
            kept = read_json(self.path)
            if kept is not None:
                self.epoch, self.seen, self.endpoints = _parse(kept)
        except (ValueError, MachineError) as error:
            self.log.error("session state is lost", extra={"file": self.path, "error": str(error)})
        floor = int(time.time() if wall_seconds is None else wall_seconds) if self.epoch == 0 else 0
        self.epoch = max(self.epoch + 1, self.seen + 1, floor)
        self._write(self._content())

    async def keep(self) -> None:
        """Write whatever changes, until cancelled."""
        while True:
            await self._changed.wait()
            self._changed = trio.Event()
            await trio.to_thread.run_sync(self._write, self._content())

    def told_epoch(self, epoch: int) -> None:
        """Fusion holds this epoch; the next life must be above it."""
        if epoch > self.seen:
            self.seen = epoch
            self._changed.set()

    def told_endpoints(self, endpoints: Iterable[Endpoints]) -> None:
        """Fusion says where to send."""
        endpoints = tuple(endpoints)
        if endpoints != self.endpoints:
            self.endpoints = endpoints
            self._changed.set()

    def _content(self) -> dict[str, Any]:
        endpoints = [[e.source, e.data, e.acks, e.server_key] for e in self.endpoints]
        return {"epoch": self.epoch, "seen": self.seen, "endpoints": endpoints}

    def _write(self, content: dict[str, Any]) -> None:
        try:
            write_json(self.path, content)
        except MachineError as error:
            # The agent works on without: only its next life may be taken for this one.
            self.log.error("session state can't be kept", extra={"error": str(error)})


def _parse(kept: Any) -> tuple[int, int, tuple[Endpoints, ...]]:
    """
    Raises:
        ValueError: not what we wrote.
    """
    try:
        epoch, seen = kept["epoch"], kept["seen"]
        endpoints = tuple([Endpoints(*map(_text, entry[:4])) for entry in kept["endpoints"]])
    except (TypeError, KeyError) as error:
        raise ValueError(f"not a session state: {error}") from None
    if type(epoch) is not int or type(seen) is not int or epoch < 0 or seen < 0:
        raise ValueError("not a session state: epoch and seen are whole numbers")
    return epoch, seen, endpoints


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("an endpoint is text")
    return value
