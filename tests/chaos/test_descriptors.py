"""Control actors that can have no more descriptors: who is there already is served on, and who comes waits."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import zmq

from fustor.runtime.sockets import ClientCurve, open_socket
from protocols.codec import decode, encode
from protocols.messages import AdminReply, AdminRequest
from tests.support.sides import Sides, running, until


@contextmanager
def none_left(*pids: int) -> Iterator[None]:
    """Whatever would open another descriptor fails with EMFILE (getrlimit(2))."""
    before = {pid: resource.prlimit(pid, resource.RLIMIT_NOFILE) for pid in pids}
    for pid, (_, hard) in before.items():
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, hard))
    yield
    for pid, limits in before.items():
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)


class Line:
    """A connection of an operator that stays."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], sides: Sides, curve: ClientCurve) -> None:
        self.socket = open_socket(context, zmq.DEALER, connect=sides.admin_endpoint, curve=curve)
        self.socket.sndtimeo = self.socket.rcvtimeo = 3_000
        self.asked = 0

    def say(self, op: str, **args: Any) -> None:
        self.asked += 1
        self.socket.send(encode(AdminRequest(request=str(self.asked), op=op, args=args)))

    def hear(self) -> Any:
        while (reply := decode(self.socket.recv(), AdminReply)).request != str(self.asked):
            pass
        assert reply.ok, reply.error
        return reply.data

    def ask(self, op: str, **args: Any) -> Any:
        """Ask until there is an answer."""
        for _ in range(20):
            with contextlib.suppress(zmq.Again):
                self.say(op, **args)
                return self.hear()
        raise AssertionError(f"no answer to {op}")

    def order(self, name: str, **args: Any) -> str:
        """Give an order; what became of it."""
        order_id = name.ljust(16, "0")
        self.ask("order", id=order_id, **args)
        until(lambda: self.ask("order-state", id=order_id)["final"], f"the outcome of {name}")
        done = self.ask("order-state", id=order_id)
        return f"{done['state']} {done['text']}".strip()

    def agent(self) -> Any:
        return self.ask("agents")["agents"][0]


@pytest.fixture
def both(tmp_path: Path) -> Iterator[Sides]:
    with running(tmp_path) as both:
        yield both


@pytest.fixture
def make_line(both: Sides) -> Iterator[Callable[[], Line]]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    curve = both.curve(both.person("operator"))
    lines: list[Line] = []

    def make() -> Line:
        lines.append(Line(context, both, curve))
        return lines[-1]

    yield make
    for line in lines:
        line.socket.close()
    context.destroy(linger=0)


def test_heartbeats_and_orders_go_on_and_who_comes_waits(both: Sides, make_line: Callable[[], Line]) -> None:
    controls = both.fusion.control(), both.agent.control()
    line = make_line()
    before = line.agent()
    with none_left(*controls):
        beats = line.agent()["heartbeats"]
        until(lambda: line.agent()["heartbeats"] > beats + 5, "heartbeats")
        for side, name in (("fusion", "view.main"), ("local", "watcher.data")):
            # It has to read how the process is: that can't be done, and is said.
            assert line.order(side, target=side, kind="pause", payload=name).endswith("Too many open files")
        late = make_line()
        until(lambda: line.agent()["heartbeats"] > beats + 15, "more of them")
    assert late.agent()["agent"] == "local"
    after = line.agent()
    assert (after["epoch"], after["logins"], after["losses"]) == (before["epoch"], 1, 0)
    assert (both.fusion.control(), both.agent.control()) == controls


@pytest.mark.parametrize(("side", "payload"), [("fusion", "view.main"), ("local", "watcher.data")])
def test_what_needs_a_descriptor_is_done_in_the_end_and_disturbs_nobody_else(
    both: Sides, make_line: Callable[[], Line], side: str, payload: str
) -> None:
    """libzmq ends a process that can't accept a local connection (4.3.5, ipc_listener.cpp): the next one adopts all."""
    line = make_line()
    line.agent()
    pids = {**both.fusion.pids(), **both.agent.pids()}
    with none_left(both.fusion.control() if side == "fusion" else both.agent.control()):
        assert line.order("restart", target=side, kind="restart", payload=payload).startswith("done")
    until(both.all_running, "everything")
    now = {**both.fusion.pids(), **both.agent.pids()}
    assert {name for name in pids if now[name] != pids[name]} == {payload}
