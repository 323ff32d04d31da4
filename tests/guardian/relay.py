"""
A control actor for tests, run by a guardian: passes packets between its keeper channel and whoever connects to
``relay.sock`` in the run folder. Beats every ``RELAY_BEAT`` seconds (0: never). SIGTERM: writes ``drained`` and exits.
With ``RELAY_REJOIN`` it goes on with the successor of a guardian that was killed; else it ends with its guardian.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
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
    successors: queue.SimpleQueue[socket.socket] = queue.SimpleQueue()
    rejoins = "RELAY_REJOIN" in os.environ
    if rejoins:
        from fustor.runtime.parent import watch_guardian

        watch_guardian(on_joined=successors.put)
    listener = listen()
    client: socket.socket | None = None
    while True:
        ready = select.select([keeper, client or listener], [], [], beat)[0]
        try:
            if beat:
                keeper.send(b'{"op":"beat"}')
            packet = keeper.recv(1 << 20) if keeper in ready else b"nothing"
        except ConnectionError:
            packet = b""
        if not packet:
            if not rejoins:
                return
            keeper.close()
            keeper = successors.get()
            # Nobody answers what was asked before: it is to be asked again.
            if client is not None:
                client.close()
                client = None
            continue
        if keeper in ready and client is not None:
            client.send(packet)
        if listener in ready:
            client = listener.accept()[0]
        elif client in ready and client is not None:
            try:
                packet = client.recv(1 << 20)
            except ConnectionResetError:  # it went without reading all
                packet = b""
            if packet:
                with contextlib.suppress(BrokenPipeError):  # the end of the channel is seen next
                    keeper.send(packet)
            else:
                client.close()
                client = None


if __name__ == "__main__":
    main()
