"""Two thousand agents and one Fusion: what they cost, and how they come back when it was killed whole."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import zmq

from benchmarks.bench import Bench, Measure
from benchmarks.chaos.lives import Lives
from benchmarks.errors import WrongAnswerError
from benchmarks.figures import percentile
from benchmarks.herd import Fleet, on_core
from benchmarks.measures.orders import ORDERS, order
from benchmarks.processes import cpu_seconds
from benchmarks.sample import Sample, latencies
from benchmarks.subjects.base import Subject
from benchmarks.subjects.fustor import Fustor
from benchmarks.web import until
from fustor.admin.client import Client
from fustor.admin.daemons import Daemon
from fustor.admin.ports import turn
from fustor.admin.prepare import make_folder, prepare
from fustor.admin.processes import stop
from fustor.admin.state import State
from fustor.runtime.keys import KeyPair, load_public, write_public, write_secret

#: Cores of the simulated agents and of Fusion; the same one where there is but one.
_AGENTS_CORE, _FUSION_CORE = min(os.sched_getaffinity(0)), max(os.sched_getaffinity(0))
#: Seconds between two looks, that a fleet may take to come, and between two orders.
_LOOK, _PATIENCE, _PAUSE = 0.1, 300.0, 0.05
#: Agents of which each view shows the sources: a view has at most 1,024.
_PER_VIEW = 1000


def run(subject: Subject, bench: Bench) -> Iterator[Sample]:
    """A Fusion without agents of its own, and a fleet that has a source each."""
    count = bench.scale.agents
    with bench.state() as folder:
        fusion = _Fusion(folder, bench.tree.root, count)
        fusion.start()
        fleet = Fleet(folder / "fleet", fusion.control, fusion.public, _AGENTS_CORE)
        try:
            with Client(State(folder), 10.0) as client:
                began = time.monotonic()
                _wait(lambda: fleet.ask(began)["online"] == count, f"{count} agents to come")
                yield Sample("first start, all there", time.monotonic() - began, "s", "less")
                yield from _steady(fusion, fleet, client, bench.scale.idle_seconds)
                logins, killed = fleet.ask(0)["logins"], time.monotonic()
                fusion.kill()
                fusion.start()
                up = time.monotonic() - killed
                yield Sample("killed → serves people", up, "s", "less", case="restart")
                yield from _coming_back(fleet, client, killed, up, count, logins)
        finally:
            fleet.end()
            fusion.stop()


def _steady(fusion: _Fusion, fleet: Fleet, client: Client, seconds: float) -> Iterator[Sample]:
    """Nothing but heartbeats."""
    case = "nothing but heartbeats"
    pid = fusion.control_pid()
    start, at = cpu_seconds(pid), time.monotonic()
    orders = []
    while time.monotonic() < at + seconds:
        orders.append(order(client, "fusion"))
        time.sleep(_PAUSE)
    spent = (cpu_seconds(pid) - start) / (time.monotonic() - at)
    yield Sample("CPU of Fusion's control actor", spent * 100, "%", "less", case)
    told = client.admin("status")
    yield Sample("dictated interval", told["heartbeat_ms"] / 1000, "s", "", case)
    yield from latencies([trip / 1e6 for trip in fleet.ask(0)["rtt_us"]], case=f"{case}: round trip")
    yield from latencies(orders, case=f"{case}: an order")


def _coming_back(fleet: Fleet, client: Client, killed: float, up: float, count: int, logins: int) -> Iterator[Sample]:
    """``logins`` were sent before the moment ``killed``; ``up`` seconds later it served people."""
    case, orders = "restart", []
    while True:
        told = fleet.ask(killed)
        if len(told["back"]) == count and told["online"] == count:
            break
        if time.monotonic() > killed + _PATIENCE:
            raise WrongAnswerError(f"{len(told['back'])} of {count} agents came back within {_PATIENCE:g} s")
        orders.append(order(client, "fusion"))
        time.sleep(_PAUSE)
    back = sorted(told["back"])
    interval = client.admin("status")["heartbeat_ms"] / 1000
    yield Sample("killed → half are back", percentile(back, 0.5), "s", "less", case)
    yield Sample("killed → all are back", back[-1], "s", "less", case)
    yield Sample("serves people → all are back, dictated intervals", (back[-1] - up) / interval, "", "less", case)
    yield Sample("logins an agent", (told["logins"] - logins) / count, "", "less", case)
    busiest = max(sum(1 for at in back if start <= at < start + 0.1) for start in back)
    yield Sample("busiest 100 ms", float(busiest), "logins", "less", case)
    yield from latencies(orders, case=f"{case}: an order meanwhile")


def _wait(condition: Callable[[], bool], what: str) -> None:
    until(condition, what, _PATIENCE, _LOOK)


class _Fusion:
    """One on a core of its own, in a state folder as ``fustor up`` makes it, and keys for a fleet in ``fleet``."""

    def __init__(self, folder: Path, root: str, count: int) -> None:
        self._state, self._root = State(folder), root
        make_folder(self._state)
        prepare(self._state, root)
        names = [f"a{number:04}" for number in range(count)]
        fleet = folder / "fleet"
        fleet.mkdir()
        for name in names:
            public, secret = (key.decode() for key in zmq.curve_keypair())
            pair = KeyPair(name=name, role="agent", public=public, secret=secret)
            write_secret(str(fleet / f"{name}.key"), pair)
            write_public(str(self._state.fusion.keys / "authorized" / f"{name}.pub"), pair)
        config = self._state.fusion.config
        lines = [config.read_text().partition("[[views]]")[0], ORDERS]
        for first in range(0, count, _PER_VIEW):
            lines.append(f'[[views]]\nname = "v{first}"\n')
            for name in names[first : first + _PER_VIEW]:
                lines.append(f'[[views.sources]]\nagent = "{name}"\nsource = "data"\nmount = "/{name}"\n')
        config.write_text("\n".join(lines))
        self.public = load_public(str(self._state.fusion.keys / "fusion.pub")).public

    @property
    def control(self) -> str:
        """Where agents are expected."""
        return str(self._state.fusion_config()["control"])

    def start(self) -> None:
        """Until it answers people."""
        with turn(_PATIENCE):
            prepare(self._state, self._root)  # ports that are free, as many as there are views
            with on_core(_FUSION_CORE):
                daemon = Daemon(self._state.fusion)
            daemon.wait_running()
        with Client(self._state, _PATIENCE) as client:
            client.admin("ping")

    def control_pid(self) -> int:
        """Of the control actor."""
        return int(self._table()["control"]["pid"])

    def kill(self) -> None:
        """Every process of it at once."""
        Lives(self._state).kill_whole("fusion", _PATIENCE)

    def stop(self) -> None:
        """In an orderly way."""
        stop(self._state.fusion, _PATIENCE)

    def _table(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self._state.fusion.run / "table.json").read_text())
        return found


MEASURE = Measure(
    "herd",
    "A fleet of agents",
    "Simulated agents, each with its own key, CURVE connection and session (the agent's own code), in one process on "
    "one core; Fusion is on the other. It is killed whole, with kill -9, and started again: how long until all of them "
    "have logged in again, how often each tried, and how long an operator's order to a payload of Fusion takes "
    "meanwhile.",
    run,
    lambda subject: isinstance(subject, Fustor),
    "own",
)
