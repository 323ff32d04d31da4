"""
Fusion as its operator sees it, asked again and again, whichever control actor is there.

What this module does not do: give orders, or read the trees of views.
"""

from __future__ import annotations

import time
from typing import Any

import attrs

from benchmarks.web import until
from fustor.admin.client import Client
from fustor.admin.state import State
from protocols.errors import FustorError, RequestError

#: Every payload of a Fusion and an agent as `fustor up` makes them. In a measure of repairs each is killed once: a
#: second death in a row is answered by a longer delay, on purpose.
PAYLOADS = {
    "fusion": ("view.main", "query.0", "query.1"),
    "local": ("watcher.data", "scanner.data.0", "scanner.data.1", "syncer.data"),
}
#: Seconds between two questions, that an answer may take before it is asked for again, and that all may take.
_LOOK, _ANSWER, _PATIENCE = 0.005, 0.25, 60.0


@attrs.define
class Eye:
    """
    Fusion, asked again and again.

    Attributes:
        state: its state folder.
        after: number of the last event that was seen.
    """

    state: State
    after: int = 0
    _client: Client | None = None

    def ask(self, op: str, **args: str) -> Any:
        """
        An answer, from whichever control actor is there.

        Raises:
            RequestError: it refused, with its reason.
            FustorError: nobody answered for a long time.
        """
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                if self._client is None:
                    self._client = Client(self.state, _ANSWER)
                return self._client.admin(op, **args)
            except RequestError:
                raise
            except FustorError:
                self.close()
                if time.monotonic() > deadline:
                    raise

    def close(self) -> None:
        """Close the connection; another one is made when it is needed."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def events(self) -> list[dict[str, Any]]:
        """What has happened since the last call."""
        found: list[dict[str, Any]] = []
        while True:
            answer = self.ask("events", after=str(self.after))
            found += answer["events"]
            if answer["next"] == self.after:
                return found
            self.after = answer["next"]

    def pids(self, side: str) -> dict[str, int]:
        """Payloads of a side that run, as Fusion knows it."""
        for one in self.ask("payloads", agent=side)["sides"]:
            return {status["name"]: status["pid"] for status in one["payloads"] if status["state"] == "running"}
        return {}

    def looked(self) -> dict[tuple[str, int], int]:
        """How many entries each scanner process has looked at."""
        (side,) = self.ask("payloads", agent="local")["sides"]
        scanners = [status for status in side["payloads"] if status["name"].startswith("scanner.")]
        return {(status["name"], status["pid"]): status["counters"].get("entries", 0) for status in scanners}

    def link(self) -> dict[str, Any]:
        """The agent."""
        agents: list[dict[str, Any]] = self.ask("agents")["agents"]
        return agents[0] if agents else {"link": "", "epoch": 0, "heartbeats": 0}

    def wait_all(self) -> None:
        """Until everything runs and the agent has been heard since its login."""
        self.wait_payloads("fusion")
        self.wait_agent()
        self.wait_payloads("local")

    def wait_payloads(self, side: str) -> None:
        """Until all of one side run, by their own word."""
        until(lambda: self.pids(side).keys() == set(PAYLOADS[side]), f"the payloads of {side}", _PATIENCE, _LOOK)

    def wait_agent(self) -> None:
        """Until the agent is in session."""
        until(lambda: self.link()["link"] == "online" and self.link()["heartbeats"], "the agent", _PATIENCE, _LOOK)
