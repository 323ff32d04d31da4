"""
HTTP/1.1 on raw non-blocking sockets under trio: connections, deadlines, back-pressure.

Connections wait for requests in a lobby, where most are answered without waking their task, and sends are tried first
and waited for on EAGAIN only, which is what makes it fast; long bodies go out in slices with a checkpoint each, and
TCP_NOTSENT_LOWAT keeps what waits in the kernel small, which is what makes it fair. Deadlines are kept by one sweep a
second over all connections, for a timer per read costs as much as a small answer.

It never answers 5xx: an answer that fails is logged, counted, and the connection broken off, so that the client asks
again. What it does not know: what is asked for.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import struct
import time
from collections.abc import Callable

import attrs
import trio

from actors.query.answer import Answer, Later, Stream
from actors.query.http.lobby import Lobby
from actors.query.http.request import Fault, Request, RequestLimits, RequestParser
from actors.query.http.response import Gzip, accepts_gzip, date_line, fault, head, options, refused_method
from fustor.runtime.pace import next_multiple

#: Bytes taken from a socket at once.
_RECEIVE = 64 << 10
#: Answers to pipelined requests before others get their turn.
_PIPELINED = 2
#: Linux, tcp(7): the socket is writable only while less than this is unsent; absent from the socket module.
_TCP_NOTSENT_LOWAT = 25
#: accept(2): out of descriptors or memory, which passes when a connection ends.
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
#: struct linger: on, 0 s: close(2) resets the connection and frees what waits in the kernel.
_RESET = struct.pack("ii", 1, 0)


@attrs.frozen
class HttpLimits:
    """
    Attributes:
        url_bytes, header_bytes, body_bytes: of a request, see RequestLimits.
        header_seconds: from the first byte of a request to its last.
        idle_seconds: between requests.
        stall_seconds: a reader that takes nothing for so long is dropped.
        linger_seconds: how long what a client still sends is thrown away after the last answer, so that it can read it.
        first_seconds: when we stop, how long the first request of a new connection is waited for, from its beginning.
        connections: at once; above it the one that has been idle for longest is closed.
        gzip_bytes: bodies longer than this are coded when the client accepts it.
        unsent_bytes: what may wait in the kernel unsent before a connection counts as not writable.
    """

    url_bytes: int = 8 << 10
    header_bytes: int = 16 << 10
    body_bytes: int = 64 << 10
    header_seconds: float = 10.0
    idle_seconds: float = 75.0
    stall_seconds: float = 30.0
    linger_seconds: float = 1.0
    first_seconds: float = 3.0
    connections: int = 10_000
    gzip_bytes: int = 1 << 10
    unsent_bytes: int = 128 << 10

    def request_limits(self) -> RequestLimits:
        """The part that concerns parsing."""
        return RequestLimits(self.url_bytes, self.header_bytes, self.body_bytes)


_IDLE, _RECEIVING, _ANSWERING, _SENDING = range(4)


class HttpServer:
    """
    Serves one listening socket.

    Args:
        answer: the answer to a GET or HEAD, or one that has to be waited for; called on the loop, so it must be quick
            (long bodies are streams).
        limits: bounds of everything a client may do.
        counters: ``http_requests``, ``http_connections``, ``http_faults`` (malformed or oversized requests),
            ``http_failures`` (answers that failed), ``http_stalled``, ``http_shed`` are counted here.
        log: for answers that failed.
    """

    def __init__(
        self,
        answer: Callable[[Request], Answer | Later],
        limits: HttpLimits,
        counters: dict[str, int],
        log: logging.Logger,
    ) -> None:
        self.answer = answer
        self.limits = limits
        self.request_limits = limits.request_limits()
        self.counters = counters
        self.log = log
        self.closing = False
        for name in ("requests", "connections", "faults", "failures", "stalled", "shed"):
            counters.setdefault(f"http_{name}", 0)
        self.idle: dict[_Connection, None] = {}  # in order: the first has been idle for longest
        self.lobby: Lobby[_Work] = Lobby()
        self._all: set[_Connection] = set()
        self._room = trio.Event()
        self.tick = trio.current_time()
        self.date = date_line(time.time())

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._all)

    async def serve(self, listener: socket.socket, stop: trio.Event) -> None:
        """
        Serve until ``stop``, then answer what is under way, and return. Cancelling breaks off what is under way.

        ``listener`` is listening, is set non-blocking, and stays open: others may accept from it as well.
        """
        listener.setblocking(False)
        with self.lobby:
            await self._serve(listener, stop)

    async def _serve(self, listener: socket.socket, stop: trio.Event) -> None:
        async with trio.open_nursery() as everything:
            everything.start_soon(self._sweep)
            everything.start_soon(self.lobby.run)
            async with trio.open_nursery() as connections:
                with trio.CancelScope() as accepting:
                    connections.start_soon(self._stop_when, stop, accepting)
                    await self._accept(listener, connections)
                self.closing = True
                await self._dismiss()
            everything.cancel_scope.cancel()

    async def _dismiss(self) -> None:
        """
        End the connections that wait for a request. One that has come already is answered, and who has only just
        connected is about to ask: both were taken from whoever else accepts.
        """
        while self.idle:
            now = trio.current_time()
            for connection in list(self.idle):
                # Of what has come it was perhaps only not told yet: we may have been held up for all that time.
                late = connection.used or now - connection.since >= self.limits.first_seconds
                if late and not connection.has_input():
                    connection.scope.cancel()
            self._room = trio.Event()
            with trio.move_on_at(max(now + 0.01, min(one.since for one in self.idle) + self.limits.first_seconds)):
                await self._room.wait()

    async def _stop_when(self, stop: trio.Event, accepting: trio.CancelScope) -> None:
        await stop.wait()
        accepting.cancel()

    async def _accept(self, listener: socket.socket, nursery: trio.Nursery) -> None:
        while True:
            await trio.lowlevel.wait_readable(listener)
            if len(self._all) >= self.limits.connections:
                await self._make_room()
            while len(self._all) < self.limits.connections:
                try:
                    sock, _ = listener.accept()
                except BlockingIOError:
                    break
                except OSError as error:
                    if error.errno in _EXHAUSTED:
                        await self._make_room()
                    # Else the connection was gone before we took it (accept(2), "Error handling").
                    continue
                connection = _Connection(self, sock)
                self._all.add(connection)
                self.counters["http_connections"] += 1
                nursery.start_soon(self._run, connection)

    async def _make_room(self) -> None:
        """Close the connection that has been idle for longest, and wait until one has ended."""
        if self.idle:
            oldest = next(iter(self.idle))
            del self.idle[oldest]
            oldest.scope.cancel()
            self.counters["http_shed"] += 1
        if self._all:
            self._room = trio.Event()
            await self._room.wait()
        else:
            # Somebody else holds what the machine lacks; nothing tells when it is there again.
            await trio.sleep(0.05)

    async def _run(self, connection: _Connection) -> None:
        """The guard of one connection: whatever goes wrong in it ends it and nothing else."""
        try:
            await connection.run()
        except OSError:
            connection.reset()  # the peer is gone, or the network is
        except Exception:
            self.counters["http_failures"] += 1
            self.log.exception("an answer failed; the connection is broken off so that the client asks again")
            connection.reset()
        finally:
            self.idle.pop(connection, None)
            self._all.discard(connection)
            connection.close()
            self._room.set()

    async def _sweep(self) -> None:
        """Keep the coarse clock, and end what has waited for too long."""
        limits = self.limits
        patience = {_IDLE: limits.idle_seconds, _RECEIVING: limits.header_seconds, _SENDING: limits.stall_seconds}
        period = min(1.0, *(seconds / 4 for seconds in patience.values()))
        while True:
            self.tick = trio.current_time()
            self.date = date_line(time.time())
            for connection in list(self._all):
                seconds = patience.get(connection.state)
                if seconds is not None and self.tick - connection.since > seconds:
                    connection.expire()
            await next_multiple(period)


@attrs.define(eq=False)
class _Work:
    """
    What a connection has to do that may take time.

    Attributes:
        requests: to be answered.
        begun: a request whose answer has begun; before those.
        unsent: what is left of what could be sent of it at once.
        answer: the rest of that answer, when it is a long one, or has to be waited for.
        ended: the peer sends nothing more.
    """

    requests: list[Request] = attrs.field(factory=list)
    begun: Request | None = None
    unsent: memoryview | bytes = b""
    answer: Answer | Later | None = None
    ended: bool = False


class _Connection:
    """One client: reads requests, answers them in order."""

    __slots__ = ("_parser", "_server", "_sock", "scope", "since", "state", "used")

    def __init__(self, server: HttpServer, sock: socket.socket) -> None:
        self._server = server
        self._sock = sock
        self._parser = RequestParser(server.request_limits)
        self.scope = trio.CancelScope()
        self.state = _IDLE
        self.since = server.tick
        self.used = False
        server.idle[self] = None

    def has_input(self) -> bool:
        """Something has come, or the end of it: whoever waits for it is about to see it."""
        try:
            self._sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True

    async def run(self) -> None:
        """Serve the connection to its end. Raises OSError when the peer or the network ends it."""
        server, sock, parser = self._server, self._sock, self._parser
        sock.setblocking(False)
        with contextlib.suppress(OSError):  # not a tcp socket: nothing to tune
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, server.limits.unsent_bytes)
        idle = server.idle
        with self.scope:
            while True:
                work = await server.lobby.wait(sock.fileno(), self)
                if work.ended:
                    return
                if work.begun is not None:
                    self.state = _ANSWERING
                    await self._finish(work.begun, work.unsent, work.answer, close=False)
                for number, request in enumerate(work.requests, 1):
                    self.state = _ANSWERING
                    last = not request.keep_alive or (server.closing and number == len(work.requests))
                    if not await self._answer(request, close=last):
                        await self._linger()
                        return
                    if not number % _PIPELINED:
                        await trio.lowlevel.checkpoint()
                if parser.fault is not None:
                    server.counters["http_faults"] += 1
                    await self._send(fault(parser.fault, server.date))
                    await self._linger()
                    return
                if self.state != _RECEIVING:
                    self.since = server.tick
                if parser.busy:
                    self.state = _RECEIVING
                elif server.closing:
                    return
                else:
                    self.state = _IDLE
                    idle[self] = None

    def serve_now(self) -> _Work | None:
        """Read, and answer at once what can be; see :class:`~actors.query.http.lobby.Guest`."""
        server, parser = self._server, self._parser
        try:
            data = self._sock.recv(_RECEIVE)
        except BlockingIOError:
            return None
        if not data:
            return _Work(ended=True)
        self.used = True
        requests = parser.feed(data)
        # What is under way is neither idle nor late, from now on and not only when the task gets its turn.
        server.idle.pop(self, None)
        if requests or parser.fault is not None or self.state != _RECEIVING:
            self.state = _ANSWERING
        if len(requests) != 1 or parser.busy or parser.fault is not None or server.closing:
            return _Work(requests)
        (request,) = requests
        if not request.keep_alive or request.http10:
            return _Work(requests)
        text, answer = self._begin(request, close=False)
        try:
            try:
                sent = self._sock.send(text)
            except BlockingIOError:
                sent = 0
        except BaseException:
            if isinstance(answer, Answer):
                answer.close()
            raise
        if sent < len(text) or answer is not None:
            return _Work(begun=request, unsent=memoryview(text)[sent:], answer=answer)
        self.state, self.since = _IDLE, server.tick
        server.idle[self] = None
        return None

    def _begin(self, request: Request, *, close: bool) -> tuple[bytes, Answer | Later | None]:
        """What can be sent at once of the answer, and the answer if there is more to it, or none yet."""
        server = self._server
        server.counters["http_requests"] += 1
        method = request.method
        if method == b"OPTIONS":
            return options(server.date, close=close), None
        if method not in (b"GET", b"HEAD"):
            return refused_method(request, server.date, close=close), None
        answer = server.answer(request)
        if isinstance(answer, Later):
            return b"", answer
        return self._compose(request, answer, close=close)

    def _compose(self, request: Request, answer: Answer, *, close: bool) -> tuple[bytes, Answer | None]:
        """The beginning of an answer that is there, and the answer if there is more to it."""
        server, method, body = self._server, request.method, answer.body
        if not isinstance(body, bytes):
            gzip = accepts_gzip(request.accept_encoding)
            try:
                if method == b"HEAD":
                    answer.close()
                    return head(answer, request, server.date, length=None, gzip=gzip, close=close), None
                # HTTP/1.0 has no chunks: its body ends with the connection.
                close = close or request.http10
                return head(answer, request, server.date, length=None, gzip=gzip, close=close), answer
            except BaseException:
                answer.close()
                raise
        gzip = len(body) > server.limits.gzip_bytes and accepts_gzip(request.accept_encoding)
        if gzip:
            coder = Gzip()
            body = coder.feed(body) + coder.end()
        text = head(answer, request, server.date, length=len(body), gzip=gzip, close=close)
        return text if method == b"HEAD" or answer.status == 304 else text + body, None

    async def _answer(self, request: Request, *, close: bool) -> bool:
        """Answer one request; whether the connection may go on after it."""
        text, answer = self._begin(request, close=close)
        return await self._finish(request, text, answer, close=close)

    async def _finish(
        self, request: Request, unsent: memoryview | bytes, answer: Answer | Later | None, *, close: bool
    ) -> bool:
        """Send what is left of an answer that has begun; whether the connection may go on after it."""
        if isinstance(answer, Later):
            unsent, answer = self._compose(request, await answer.wait(), close=close)
        if answer is None:
            await self._send(unsent)
            return not close
        try:
            await self._send(unsent)
            assert not isinstance(answer.body, bytes)
            await self._send_long(answer.body, request)
        except BaseException:
            self.reset()  # also when cancelled: to HTTP/1.0 a plain close would say that the body is whole
            raise
        finally:
            answer.close()
        return not (close or request.http10)

    async def _send_long(self, body: Stream, request: Request) -> None:
        framed = self._send if request.http10 else self._send_chunk
        gzip = accepts_gzip(request.accept_encoding)
        coder = Gzip() if gzip else None

        async def coded(data: bytes) -> None:
            if coder is not None:
                data = coder.feed(data)
            if data:  # an empty chunk would be the last one
                await framed(data)
            await trio.lowlevel.checkpoint()

        await body.write(coded)
        if coder is not None:
            await framed(coder.end())
        if not request.http10:
            await self._send(b"0\r\n\r\n")

    async def _send_chunk(self, data: bytes) -> None:
        size = b"%x\r\n" % len(data)
        try:
            sent = self._sock.sendmsg((size, data, b"\r\n"))
        except BlockingIOError:
            sent = 0
        # Piece by piece, for a copy of the whole would be held for as long as the peer is slow.
        for piece in (size, data, b"\r\n"):
            if sent < len(piece):
                await self._send_rest(memoryview(piece)[sent:])
                sent = 0
            else:
                sent -= len(piece)

    async def _send(self, data: bytes | memoryview) -> None:
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            await self._send_rest(memoryview(data)[sent:])

    async def _send_rest(self, rest: memoryview) -> None:
        server, sock = self._server, self._sock
        self.state, self.since = _SENDING, server.tick
        while rest:
            await trio.lowlevel.wait_writable(sock)
            try:
                sent = sock.send(rest)
            except BlockingIOError:
                continue
            rest = rest[sent:]
            self.since = server.tick
        self.state = _ANSWERING

    async def _linger(self) -> None:
        """
        After the last answer: throw away what still comes, for a while. Closing with unread bytes would reset the
        connection, and the reset may overtake the answer (RFC 9112 section 9.6).
        """
        self.state = _ANSWERING
        self._sock.shutdown(socket.SHUT_WR)
        with trio.move_on_after(self._server.limits.linger_seconds):
            while True:
                await trio.lowlevel.wait_readable(self._sock)
                try:
                    if not self._sock.recv(_RECEIVE):
                        return
                except BlockingIOError:
                    continue

    def expire(self) -> None:
        """Its time is over: say so where that helps, and end it."""
        if self.state == _RECEIVING:
            self._server.counters["http_faults"] += 1
            what = Fault(408, f"the request was not complete within {self._server.limits.header_seconds:g} seconds")
            with contextlib.suppress(OSError):
                self._sock.send(fault(what, self._server.date))
        elif self.state == _SENDING:
            self._server.counters["http_stalled"] += 1
            self.reset()
        self.scope.cancel()

    def reset(self) -> None:
        """Let the coming close be a reset: what was sent is not whole, and nothing shall wait in the kernel."""
        with contextlib.suppress(OSError):
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)

    def close(self) -> None:
        """Close the socket."""
        trio.lowlevel.notify_closing(self._sock)
        self._sock.close()
