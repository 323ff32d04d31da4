"""
The bare round trip that a heartbeat is compared with: a ROUTER that sends back what it gets, in a process of its own.

No CURVE, no codec, no trio: ``python -m benchmarks.echo`` prints its port, and ends when its input does.
"""

from __future__ import annotations

import subprocess
import sys

import zmq

from benchmarks.checkout import CHECKOUT


def start() -> tuple[subprocess.Popen[str], int]:
    """A running echo and its port; close its standard input to end it."""
    command = [sys.executable, "-m", "benchmarks.echo"]
    process = subprocess.Popen(command, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def main() -> None:
    """Serve until the input ends."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with context.socket(zmq.ROUTER) as router:
        print(router.bind_to_random_port("tcp://127.0.0.1"), flush=True)
        poller = zmq.Poller()
        poller.register(router, zmq.POLLIN)
        poller.register(sys.stdin.fileno(), zmq.POLLIN)
        while True:
            ready = dict(poller.poll())
            if sys.stdin.fileno() in ready:
                break
            router.send_multipart(router.recv_multipart())
    context.term()


if __name__ == "__main__":
    main()
