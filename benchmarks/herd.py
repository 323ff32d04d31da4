"""
A fleet of simulated agents in one process: the real link and session of each, with a key and a connection of its own.

``python -m benchmarks.herd FOLDER ENDPOINT SERVER`` takes the private keys ``FOLDER/*.key`` and keeps a session for
each with the Fusion there, whose public key is SERVER. It answers each line on its input, a time T of the monotonic
clock in seconds, with one of JSON:

``online``
    agents whose session holds now.
``back``
    seconds from T until Fusion had accepted the first login after T, of each agent that has one.
``logins``
    sent by all since the start.
``rtt_us``
    the last round trip of a heartbeat of each that is online, microseconds.

It ends when its input does. It has no payloads, so its heartbeats carry none.
"""

from __future__ import annotations

import glob
import json
import logging
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import trio
import zmq

from benchmarks.checkout import CHECKOUT
from fustor.agent.link import Link
from fustor.runtime.keys import KeyPair, load_secret
from fustor.runtime.rlimits import raise_descriptor_limit
from fustor.runtime.sockets import ClientCurve
from protocols.session import Accepted, AgentEffect, AgentSession, AgentState

#: ZMQ_MAX_SOCKETS is 1023; each agent needs one, and libzmq some of its own.
_SPARE_SOCKETS = 100


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """What is started here runs on one core only, and so does all that it starts."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Fleet:
    """
    Args:
        folder: of the keys.
        endpoint: of Fusion's control actor.
        server: its public key.
        core: the only one that it runs on.
    """

    def __init__(self, folder: Path, endpoint: str, server: str, core: int) -> None:
        command = [sys.executable, "-m", "benchmarks.herd", str(folder), endpoint, server]
        pipe = subprocess.PIPE
        with on_core(core):
            self._process = subprocess.Popen(command, cwd=CHECKOUT, stdin=pipe, stdout=pipe, text=True)

    def ask(self, since: float) -> dict[str, Any]:
        """What it says; ``since`` is T."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(since, file=self._process.stdin, flush=True)
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        return found

    def end(self) -> None:
        """Everybody goes, without a goodbye."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


class Herd:
    """
    Args:
        pairs: a key pair for each agent.
        endpoint: of Fusion's control actor.
        server: its public key.
    """

    def __init__(self, pairs: Sequence[KeyPair], endpoint: str, server: str) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._context.set(zmq.MAX_SOCKETS, len(pairs) + _SPARE_SOCKETS)
        self._accepted: list[list[float]] = []
        self._links = [self._link(pair, endpoint, server) for pair in pairs]

    def _link(self, pair: KeyPair, endpoint: str, server: str) -> Link:
        curve = ClientCurve(server, pair.public, pair.secret)
        accepted: list[float] = []
        self._accepted.append(accepted)

        def heed(outcome: AgentEffect) -> None:
            if isinstance(outcome, Accepted):
                accepted.append(time.monotonic())

        session = AgentSession(
            agent=pair.name,
            epoch=int(time.time()),
            instance=pair.public[:16],
            software="herd",
            sources=("data",),
            rng=random.Random(pair.public),
        )
        log = logging.getLogger(__name__)
        return Link(self._context, endpoint, lambda: curve, session, statuses=tuple, on_outcome=heed, log=log)

    async def run(self) -> None:
        """Until the input ends."""
        async with trio.open_nursery() as nursery:
            for link in self._links:
                nursery.start_soon(link.run)
            buffer = b""
            while True:
                await trio.lowlevel.wait_readable(0)
                data = os.read(0, 65536)
                if not data:
                    break
                *lines, buffer = (buffer + data).split(b"\n")
                for line in lines:
                    print(json.dumps(self.tell(float(line))), flush=True)
            nursery.cancel_scope.cancel()
        self._context.destroy(linger=0)

    def tell(self, since: float) -> dict[str, Any]:
        """The answer to a line."""
        sessions = [link.session for link in self._links]
        online = [session for session in sessions if session.state is AgentState.ONLINE]
        firsts = (next((at for at in accepted if at > since), None) for accepted in self._accepted)
        return {
            "online": len(online),
            "back": [round(at - since, 4) for at in firsts if at is not None],
            "logins": sum(session.logins for session in sessions),
            "rtt_us": [session.rtt_us for session in online],
        }


def main() -> None:
    """The process."""
    folder, endpoint, server = sys.argv[1:]
    raise_descriptor_limit()
    pairs = [load_secret(path) for path in sorted(glob.glob(f"{folder}/*.key"))]
    trio.run(Herd(pairs, endpoint, server).run)


if __name__ == "__main__":
    main()
