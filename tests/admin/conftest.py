"""A stand-in for a running Fusion: a prepared state folder, a process like the guardian, and real CURVE sockets."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import zmq

from fustor.admin.ports import turn
from fustor.admin.prepare import prepare
from fustor.admin.state import State
from fustor.runtime.keys import load_secret
from protocols.codec import decode, encode
from protocols.messages import AdminReply, AdminRequest, TreeReply, TreeRequest

#: What a tree question is answered with: status, headers, parts of the body.
TreeResult = tuple[int, dict[str, str], list[bytes]]


@attrs.define
class FakeFusion:
    """
    Answers as it is told.

    Attributes:
        state: the state folder; ``fusion.toml`` in it names the sockets.
        admin: op → data, a function that makes them of the arguments, or an Exception whose text is the refusal; an op
            that is missing gets no answer.
        tree: what a tree question is answered with; None for no answer.
        asked: every question so far.
        stray: send an answer to somebody else's question first.
        lose: number of a part that is left out.
        lost: how many of the next admin questions get no answer.
    """

    state: State
    admin: dict[str, Any] = attrs.Factory(dict)
    tree: Callable[[TreeRequest], TreeResult] | None = None
    asked: list[Any] = attrs.Factory(list)
    stray: bool = False
    lose: int | None = None
    lost: int = 0
    silent_workers: set[int] = attrs.Factory(set)

    def answer_admin(self, frames: list[bytes]) -> list[list[bytes]]:
        request = decode(frames[-1], AdminRequest)
        self.asked.append(request)
        if self.lost:
            self.lost -= 1
            return []
        answers = [[encode(AdminReply(request="stray", ok=True, data="wrong"))]] if self.stray else []
        if request.op in self.admin:
            value = self.admin[request.op]
            value = value(**request.args) if callable(value) else value
            refused = isinstance(value, Exception)
            data, error = (None, str(value)) if refused else (value, "")
            answers.append([encode(AdminReply(request=request.request, ok=not refused, data=data, error=error))])
        return answers

    def answer_tree(self, frames: list[bytes]) -> list[list[bytes]]:
        request = decode(frames[-1], TreeRequest)
        self.asked.append(request)
        if self.tree is None:
            return []
        status, headers, parts = self.tree(request)
        answers = []
        for number, part in enumerate(parts):
            head = TreeReply(
                request=request.request, status=status, part=number, last=number == len(parts) - 1, headers=headers
            )
            if number != self.lose:
                answers.append([encode(head), part])
        return answers

    def serve(self, stop: zmq.Socket[bytes], sockets: list[zmq.Socket[bytes]]) -> None:
        poller = zmq.Poller()
        for one in (stop, *sockets):
            poller.register(one, zmq.POLLIN)
        while True:
            for one, _ in poller.poll():
                if one is stop:
                    return
                peer, *frames = one.recv_multipart()
                worker = sockets.index(one) - 1
                if worker in self.silent_workers:
                    continue
                for answer in self.answer_admin(frames) if worker < 0 else self.answer_tree(frames):
                    one.send_multipart([peer, *answer])


@pytest.fixture
def data(tmp_path: Path) -> str:
    """The directory that is indexed."""
    folder = tmp_path / "data"
    folder.mkdir()
    return str(folder)


@pytest.fixture
def ports() -> Iterator[None]:
    """Nobody else takes the ports that are chosen by this test, while other tests run beside it."""
    with turn(100):
        yield


@pytest.fixture
def fusion(tmp_path: Path, data: str, ports: None) -> Iterator[FakeFusion]:
    """A Fusion that seems to run."""
    state = State(tmp_path / "state")
    fake = FakeFusion(state)
    with contextlib.ExitStack() as resources:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        resources.callback(context.destroy, linger=0)
        stop, stopper = context.socket(zmq.PULL), context.socket(zmq.PUSH)
        stop.bind("inproc://stop")
        stopper.connect("inproc://stop")
        prepare(state, data)
        sockets = _bound(context, state)
        guardian = subprocess.Popen(
            [sys.executable, "-c", "import signal; print(flush=True); signal.pause()", "fustor/guardian/main.py"],
            cwd=state.fusion.run,
            stdout=subprocess.PIPE,
        )
        resources.enter_context(guardian)
        resources.callback(guardian.kill)
        assert guardian.stdout is not None
        guardian.stdout.readline()
        (state.fusion.run / "guardian.pid").write_text(str(guardian.pid))
        thread = threading.Thread(target=fake.serve, args=(stop, sockets))
        thread.start()
        resources.callback(thread.join)
        resources.callback(stopper.send, b"")
        yield fake


def _bound(context: zmq.Context[zmq.Socket[bytes]], state: State) -> list[zmq.Socket[bytes]]:
    """The admin socket, and one for each query worker."""
    config = state.fusion_config()
    secret = load_secret(str(state.fusion.keys / "fusion.key")).secret.encode()
    host, _, port = str(config["query"]).rpartition(":")
    sockets = []
    for endpoint in (str(config["admin"]), f"{host}:{port}", f"{host}:{int(port) + 1}"):
        router = context.socket(zmq.ROUTER)
        router.curve_server = True
        router.curve_secretkey = secret
        router.bind(endpoint)
        sockets.append(router)
    return sockets


@pytest.fixture
def run_fustor(monkeypatch: pytest.MonkeyPatch) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command line in a process of its own."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-P", "-m", "fustor.admin", *arguments],
            env={**os.environ, "COLUMNS": "200", **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )

    return run
