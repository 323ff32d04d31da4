"""
When Fusion hears its agent: a thread that asks again and again, for the longest silence during a fault.

What this module does not do: hear a heartbeat that is followed by another one within a look, or stand in for the
agent's own account of its round trips.
"""

from __future__ import annotations

import itertools
import threading
import time
from types import TracebackType
from typing import Any

from fustor.admin.client import Client
from fustor.admin.state import State
from protocols.errors import FustorError

#: Seconds between two questions, and that an answer may take before another connection is tried.
_LOOK, _ANSWER = 0.02, 0.25


class Beats:
    """
    The moments at which the one agent of a Fusion was heard, from its answers to ``agents``. A context manager.

    Args:
        state: of the Fusion; its control actor may go and come back.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._lock = threading.Lock()
        self._heard: list[float] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="beats", daemon=True)

    def __enter__(self) -> Beats:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._stopped.set()
        self._thread.join()

    def longest(self, since: float) -> float:
        """Seconds of the longest time without a heartbeat, of those that ended after ``since`` or have not ended."""
        with self._lock:
            heard = [*self._heard, time.monotonic()]
        gaps = (after - before for before, after in itertools.pairwise(heard) if after > since)
        return max(gaps, default=0.0)

    def _run(self) -> None:
        client: Client | None = None
        last: tuple[int, int] | None = None
        while not self._stopped.wait(_LOOK):
            try:
                client = client or Client(self._state, _ANSWER)
                asked = time.monotonic()
                agents: list[dict[str, Any]] = client.admin("agents")["agents"]
            except FustorError:
                if client is not None:
                    client.close()
                client = None
                continue
            if agents and agents[0]["beats"] and (agents[0]["epoch"], agents[0]["seq"]) != last:
                last = agents[0]["epoch"], agents[0]["seq"]
                with self._lock:
                    self._heard.append(asked - agents[0]["heard"])
        if client is not None:
            client.close()
