"""
A control actor for tests, run by a guardian: passes packets between its keeper channel and whoever connects to
``relay.sock`` in the run folder. Beats every ``RELAY_BEAT`` seconds (0: never). SIGTERM: writes ``drained`` and exits.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys


def listen() -> socket.socket:
    """Connectable from the moment on that the name exists."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    name = f"relay.{os.getpid()}"
    sock.bind(name)
    sock.listen(8)
    os.rename(name, "relay.sock")
    return sock


def on_term(number: int, frame: object) -> None:
    with open("../drained", "w", encoding="ascii") as file:
        file.write(os.environ["FUSTOR_TOKEN"])
    sys.exit(0)


def main() -> None:
    beat = float(os.environ.get("RELAY_BEAT", "0")) or None
    signal.signal(signal.SIGTERM, on_term)
    keeper = socket.socket(fileno=json.loads(os.environ["FUSTOR_FDS"])["keeper"])
    listener = listen()
    client: socket.socket | None = None
    while True:
        ready = select.select([keeper, client or listener], [], [], beat)[0]
        if beat:
            keeper.send(b'{"op":"beat"}')
        if keeper in ready:
            packet = keeper.recv(1 << 20)
            if not packet:
                return
            if client is not None:
                client.send(packet)
        if listener in ready:
            client = listener.accept()[0]
        elif client in ready and client is not None:
            packet = client.recv(1 << 20)
            if packet:
                keeper.send(packet)
            else:
                client.close()
                client = None


if __name__ == "__main__":
    main()
