"""Orders from afar: from the moment they are given until their outcome is seen, idle and during the walk."""

from __future__ import annotations

import os
import secrets
import signal
import time
from collections.abc import Callable, Iterator

from benchmarks.bench import Bench, Measure
from benchmarks.errors import WrongAnswerError
from benchmarks.sample import Sample, latencies
from benchmarks.subjects.base import Subject
from benchmarks.subjects.fustor import Fustor
from benchmarks.web import until
from fustor.admin.client import Client
from fustor.admin.state import State

#: Who is ordered: one payload of the agent, one of Fusion itself.
_TARGETS = {"agent": ("local", "watcher.data"), "fusion": ("fusion", "query.0")}
#: Lines of fusion.toml: the budget of one person is far below what is given here.
ORDERS = "[limits.orders]\nper_second = 10000.0\nburst = 10000\n"
#: What is done to the view meanwhile, and seconds that are looked at: until it is seen, ended and another one works.
_TROUBLE = {"killed": signal.SIGKILL, "frozen": signal.SIGSTOP}
_TROUBLE_SECONDS = 5.0
#: Seconds between two questions how far an order is; between two orders; and that one may take.
_LOOK, _PAUSE, _PATIENCE = 0.001, 0.02, 60.0


def run(subject: Subject, bench: Bench) -> Iterator[Sample]:
    """``release`` of a payload that nothing holds: everything an order is, and then nothing to be done."""
    assert isinstance(subject, Fustor)
    try:
        with bench.state() as folder:
            subject.start_with(bench.tree, folder, fusion=ORDERS)
            assert subject.cluster is not None
            assert subject.web is not None
            with Client(State(subject.cluster.state)) as client, subject.web.connect() as connection:
                root = subject.web.target("", max_depth=0)
                until(lambda: _link(client) == "online", "the agent", _PATIENCE, 0.01)
                found: dict[str, list[float]] = {name: [] for name in _TARGETS}
                while not connection.node(root)["complete"]:
                    for name in _TARGETS:
                        found[name].append(order(client, name))
                for name, seconds in found.items():
                    if seconds:
                        yield from latencies(seconds, case=f"{name}, during the walk")
                        yield Sample("orders", float(len(seconds)), "", case=f"{name}, during the walk")
                subject.wait_complete(bench.tree)
                for name in _TARGETS:
                    yield from latencies(_paced(bench.scale.looks, lambda: order(client, name)), case=f"{name}, idle")  # noqa: B023
                for word, number in _TROUBLE.items():
                    view = subject.pids()["view.main"]
                    os.kill(view, number)
                    seconds = []
                    end = time.monotonic() + _TROUBLE_SECONDS
                    while time.monotonic() < end:
                        seconds.append(order(client, "fusion"))
                        time.sleep(_PAUSE)
                    yield from latencies(seconds, case=f"fusion, its view {word}")
                    until(lambda: subject.pids().get("view.main", view) != view, "another view", _PATIENCE, 0.05)  # noqa: B023
                    subject.wait_complete(bench.tree)
            subject.stop()
    finally:
        subject.stop()


def _link(client: Client) -> str:
    agents = client.every("agents", "agents")
    # Orders go to who has been heard since the login.
    return str(agents[0]["link"]) if agents and agents[0]["heartbeats"] else ""


def _paced(count: int, act: Callable[[], float]) -> list[float]:
    found = []
    for _ in range(count):
        found.append(act())
        time.sleep(_PAUSE)
    return found


def order(client: Client, name: str) -> float:
    """Seconds from giving an order until its outcome is seen."""
    target, payload = _TARGETS[name]
    order_id = secrets.token_hex(8)
    start = time.perf_counter()
    order = client.admin("order", id=order_id, target=target, kind="release", payload=payload)
    while not order["final"]:
        if time.perf_counter() - start > _PATIENCE:
            raise WrongAnswerError(f"an order is {order['state']} after {_PATIENCE:g} s")
        time.sleep(_LOOK)
        order = client.admin("order-state", id=order_id)
    seconds = time.perf_counter() - start
    if order["state"] != "done":
        raise WrongAnswerError(f"an order ended as {order['state']}: {order['text']}")
    return seconds


MEASURE = Measure(
    "orders",
    "Orders from afar",
    "An order (`release` of a payload that nothing holds) from being given over the admin socket until its outcome is "
    "seen there, looked for every millisecond. In between it is checked, written durably into Fusion's log, sent to "
    "the agent, written into its log before and after it is performed, answered, and written down again. The same for "
    "a payload of Fusion's own. While the first walk loads everything, while nothing happens, and while the view of "
    "that Fusion is killed, or frozen, found and replaced.",
    run,
    lambda subject: isinstance(subject, Fustor),
    "own",
)
