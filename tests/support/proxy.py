"""
A network between two TCP ends that can break: forwards, keeps silent, or cuts.

One thread, a selector. ``silent`` is a half-open link: both ends stay connected, and nothing arrives any more, neither
data nor the end of the connection.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from types import TracebackType

#: Bytes taken from a socket at a time, and of what waits to be written there before no more is read.
_PIECE, _MOST = 1 << 16, 1 << 20


class Proxy:
    """
    Listens on ports of its own, as a context manager.

    Args:
        ports: how many, one after the other.

    Attributes:
        port: the first of them.
        target: port on this host that connections to it are forwarded to, those to the next ones to the ports after
            that; may be set later.
    """

    def __init__(self, ports: int = 1) -> None:
        self.target = 0
        self._listeners = _listeners(ports)
        self.port: int = self._listeners[0].getsockname()[1]
        self._silent = False
        self._ended = False
        self._cut = False
        self._selector = selectors.DefaultSelector()
        for listener in self._listeners:
            self._selector.register(listener, selectors.EVENT_READ)
        self._wake, self._woken = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ)
        #: Socket → the other end, and what waits to be written to it.
        self._peer: dict[socket.socket, socket.socket] = {}
        self._waiting: dict[socket.socket, bytearray] = {}
        self._thread = threading.Thread(target=self._run, name="proxy")

    def __enter__(self) -> Proxy:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._ended = True
        self._wake.send(b"x")
        self._thread.join()
        for one in (*self._peer, *self._listeners, self._wake, self._woken):
            one.close()
        self._selector.close()

    def silence(self, silent: bool) -> None:
        """From now on nothing passes, or all does, also what was sent meanwhile."""
        self._silent = silent
        self._wake.send(b"x")

    def cut(self) -> None:
        """Every connection is reset."""
        self._cut = True
        self._wake.send(b"x")

    def _run(self) -> None:
        while not self._ended:
            for key, events in self._selector.select():
                one = key.fileobj
                assert isinstance(one, socket.socket)
                if one is self._woken:
                    one.recv(_PIECE)
                elif one in self._listeners:
                    self._accept(one)
                elif one in self._peer:
                    self._pass(one, events)
            if self._cut:
                self._cut = False
                for one in list(self._peer):
                    self._drop(one, reset=True)
            self._choose()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            client, _ = listener.accept()
            try:
                server = socket.create_connection(("127.0.0.1", self.target + self._listeners.index(listener)), 5)
            except OSError:
                client.close()
                return
            for one, other in ((client, server), (server, client)):
                one.setblocking(False)
                self._peer[one], self._waiting[one] = other, bytearray()
                self._selector.register(one, selectors.EVENT_READ)

    def _pass(self, one: socket.socket, events: int) -> None:
        if self._silent:
            return
        try:
            if events & selectors.EVENT_WRITE:
                del self._waiting[one][: one.send(self._waiting[one])]
            if events & selectors.EVENT_READ:
                data = one.recv(_PIECE)
                if not data:
                    self._drop(one)
                    return
                self._waiting[self._peer[one]] += data
        except BlockingIOError:
            return
        except OSError:
            self._drop(one)

    def _drop(self, one: socket.socket, *, reset: bool = False) -> None:
        for end in (one, self._peer.get(one)):
            if end is None or end not in self._peer:
                continue
            if reset:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            with contextlib.suppress(KeyError):
                self._selector.unregister(end)
            del self._peer[end], self._waiting[end]
            end.close()

    def _choose(self) -> None:
        """What to wait for: nothing while it is silent."""
        for one, other in self._peer.items():
            wanted = 0
            if not self._silent:
                wanted |= selectors.EVENT_WRITE if self._waiting[one] else 0
                wanted |= selectors.EVENT_READ if len(self._waiting[other]) < _MOST else 0
            known = self._selector.get_map().get(one)
            if known is None and wanted:
                self._selector.register(one, wanted)
            elif known is not None and not wanted:
                self._selector.unregister(one)
            elif known is not None and known.events != wanted:
                self._selector.modify(one, wanted)


def _listeners(count: int) -> list[socket.socket]:
    """Sockets that listen on ``count`` ports, one after the other, wherever there are so many."""
    while True:
        found = [socket.create_server(("127.0.0.1", 0), backlog=64)]
        try:
            for number in range(1, count):
                found.append(socket.create_server(("127.0.0.1", found[0].getsockname()[1] + number), backlog=64))
        except (OSError, OverflowError):  # one of them is taken, or there are no more
            for one in found:
                one.close()
            continue
        for one in found:
            one.setblocking(False)
        return found
