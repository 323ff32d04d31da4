"""Round trips on the control plane while the first walk loads everything."""

from __future__ import annotations

import time
from collections.abc import Iterator

import zmq

from benchmarks import echo
from benchmarks.bench import Bench, Measure
from benchmarks.errors import WrongAnswerError
from benchmarks.sample import Sample, latencies
from benchmarks.subjects.base import Subject, Web
from benchmarks.subjects.fustor import Fustor
from fustor.admin.client import Client
from fustor.admin.state import State

#: Seconds between two pings, and that one may take.
_PAUSE, _PATIENCE = 0.01, 10.0


def run(subject: Subject, bench: Bench) -> Iterator[Sample]:
    """While the tree is read, then while nothing happens; a bare echo in turn with every ping."""
    assert isinstance(subject, Fustor)
    process, port = echo.start()
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        with bench.state() as folder, context.socket(zmq.DEALER) as bare:
            bare.linger = 0
            bare.connect(f"tcp://127.0.0.1:{port}")
            _echo(bare)  # the connection is made by the first
            subject.start(bench.tree, folder)
            assert subject.web is not None
            assert subject.cluster is not None
            with Client(State(subject.cluster.state), _PATIENCE) as client:
                client.admin("ping")
                loading, beside = _round_trips(client, bare, subject.web, bench.scale.looks, while_loading=True)
                if loading:
                    yield from latencies(loading, case="during the walk")
                    yield from latencies(beside, case="during the walk", subject="bare zmq echo")
                    agents = client.every("agents", "agents")
                    trips = [agent["rtt_us"] / 1e6 for agent in agents if agent["rtt_us"]]
                    if trips:
                        yield Sample("agent's last", max(trips) * 1e3, "ms", "less", case="during the walk")
                subject.wait_complete(bench.tree)
                quiet, beside = _round_trips(client, bare, subject.web, bench.scale.looks, while_loading=False)
                yield from latencies(quiet, case="idle")
                yield from latencies(beside, case="idle", subject="bare zmq echo")
            subject.stop()
    finally:
        subject.stop()
        context.term()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        process.stdout.close()
        process.wait()


def _round_trips(
    client: Client, bare: zmq.Socket[bytes], web: Web, most: int, *, while_loading: bool
) -> tuple[list[float], list[float]]:
    """Seconds of pings, and of echoes between them; ends with the walk, or after ``most``."""
    pings: list[float] = []
    echoes: list[float] = []
    with web.connect() as connection:
        root = web.target("", max_depth=0)
        while len(pings) < most or while_loading:
            if while_loading and len(pings) % 10 == 0 and connection.node(root)["complete"]:
                break
            start = time.perf_counter()
            client.admin("ping")
            pings.append(time.perf_counter() - start)
            start = time.perf_counter()
            _echo(bare)
            echoes.append(time.perf_counter() - start)
            time.sleep(_PAUSE)
    return pings, echoes


def _echo(bare: zmq.Socket[bytes]) -> None:
    bare.send(b"ping")
    if not bare.poll(round(_PATIENCE * 1000)) or bare.recv() != b"ping":
        raise WrongAnswerError("the bare echo did not answer")


MEASURE = Measure(
    "heartbeat",
    "Control plane during the walk",
    "The admin operation `ping` of Fusion's control actor, sent 100 times a second by a client of our own (CURVE, "
    "msgpack, trio), while the first walk loads the tree; then while nothing happens. In turn with each ping a "
    "round trip over a bare ROUTER without CURVE, in blocking Python. Agent's last: the last round trip of a "
    "heartbeat that the agent measured itself by the end of the walk (it sends one a second).",
    run,
    lambda subject: isinstance(subject, Fustor),
    "own",
)
