"""The HTTP server over real sockets: an independent client (h11), raw bytes, slow and broken peers."""

from __future__ import annotations

import gzip
import json
import logging
import random
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import h11
import pytest
import trio
import trio.lowlevel

from actors.query.answer import Answer, HeaderBlock, Later, Send
from actors.query.http.request import Request
from actors.query.http.server import HttpLimits, HttpServer

BIG = [bytes([97 + n % 26]) * 50_000 for n in range(400)]


class Pieces:
    """A stream of ``pieces``, failing at the end when told to."""

    def __init__(self, pieces: list[bytes], *, fails: bool = False) -> None:
        self.pieces = pieces
        self.fails = fails
        self.written = 0
        self.closed = False

    async def write(self, send: Send) -> None:
        for piece in self.pieces:
            await send(piece)
            self.written += 1
        if self.fails:
            raise RuntimeError("on purpose")

    def close(self) -> None:
        self.closed = True


class Site:
    """What the tests ask for."""

    def __init__(self) -> None:
        self.streams: list[Pieces] = []
        self.asked = 0
        self.may_answer = trio.Event()

    async def _wait(self) -> Answer:
        self.asked += 1
        await self.may_answer.wait()
        return Answer(200, b'"now"')

    async def _wait_for_stream(self) -> Answer:
        await self.may_answer.wait()
        return self._stream(Pieces(BIG))

    def __call__(self, request: Request) -> Answer | Later:
        match request.target:
            case b"/later":
                return Later(self._wait)
            case b"/later-big":
                return Later(self._wait_for_stream)
            case b"/big":
                return self._stream(Pieces(BIG))
            case b"/fails-late":
                return self._stream(Pieces(BIG[:3], fails=True))
            case b"/fails":
                raise RuntimeError("on purpose")
            case b"/same" if request.if_none_match == b'W/"1"':
                return Answer(304, b"", etag='W/"1"')
            case b"/long":
                return Answer(200, b"a" * 5000)
        return Answer(200, b'{"you asked":"%s"}' % request.target, HeaderBlock.of({"X-Fustor-Age": "0.1"}), 'W/"1"')

    def _stream(self, stream: Pieces) -> Answer:
        self.streams.append(stream)
        return Answer(200, stream)


class Serving:
    """A running server."""

    def __init__(self, server: HttpServer, site: Site, port: int, stop: trio.Event) -> None:
        self.server, self.site, self.port, self.stop = server, site, port, stop
        self.returned = trio.Event()
        self.streams: list[trio.SocketStream] = []

    async def connect(self, receive_buffer: int = 0) -> trio.SocketStream:
        sock = trio.socket.socket()
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        await sock.connect(("127.0.0.1", self.port))
        self.streams.append(trio.SocketStream(sock))
        return self.streams[-1]

    async def until(self, name: str, least: int) -> None:
        with trio.fail_after(20):
            while self.server.counters[name] < least:  # noqa: ASYNC110 - polls from outside
                await trio.sleep(0.01)


@asynccontextmanager
async def serving(limits: HttpLimits | None = None) -> AsyncIterator[Serving]:
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    site = Site()
    server = HttpServer(
        site, limits or HttpLimits(linger_seconds=0.2, first_seconds=0.2), {}, logging.getLogger("test")
    )
    running = Serving(server, site, listener.getsockname()[1], trio.Event())

    async def serve() -> None:
        await server.serve(listener, running.stop)
        running.returned.set()

    with listener:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            try:
                yield running
            finally:
                nursery.cancel_scope.cancel()
                for stream in running.streams:
                    stream.socket.close()


class Client:
    """An HTTP client by h11."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.http = h11.Connection(h11.CLIENT)

    async def ask(self, target: str, method: str = "GET", **headers: str) -> tuple[h11.Response, bytes]:
        fields = [("Host", "test"), *((name.replace("_", "-"), value) for name, value in headers.items())]
        data = self.http.send(h11.Request(method=method, target=target, headers=fields)) or b""
        await self.stream.send_all(data + (self.http.send(h11.EndOfMessage()) or b""))
        response: h11.Response | None = None
        body: list[bytes] = []
        while True:
            event = self.http.next_event()
            if event is h11.NEED_DATA:
                self.http.receive_data(await self.stream.receive_some())
            elif isinstance(event, h11.Response):
                response = event
            elif isinstance(event, h11.Data):
                body.append(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                assert response is not None
                if self.http.our_state is h11.DONE and self.http.their_state is h11.DONE:
                    self.http.start_next_cycle()
                return response, b"".join(body)
            else:
                raise AssertionError(f"unexpected {event}")


async def drain(stream: trio.SocketStream) -> bytes:
    """Everything until the end of the connection."""
    data = bytearray()
    with trio.fail_after(20):
        while True:
            try:
                more = await stream.receive_some()
            except trio.BrokenResourceError:
                return bytes(data)
            if not more:
                return bytes(data)
            data += more


async def test_h11_asks_many_things_on_one_connection() -> None:
    async with serving() as running:
        client = Client(await running.connect())
        for number in range(50):
            response, body = await client.ask(f"/{number}")
            assert response.status_code == 200
            assert json.loads(body) == {"you asked": f"/{number}"}
            headers = dict(response.headers)
            assert headers[b"x-fustor-age"] == b"0.1"
            assert headers[b"content-length"] == b"%d" % len(body)
            assert b"date" in headers
        response, body = await client.ask("/big")
        assert dict(response.headers)[b"transfer-encoding"] == b"chunked"
        assert body == b"".join(BIG)
        response, body = await client.ask("/same", if_none_match='W/"1"')
        assert (response.status_code, body) == (304, b"")
        assert running.server.counters["http_connections"] == 1
        assert all(stream.closed for stream in running.site.streams)


async def test_head_is_the_head_of_get_without_a_body() -> None:
    async with serving() as running:
        client = Client(await running.connect())
        for target in ("/x", "/big"):
            got, _ = await client.ask(target)
            head, body = await client.ask(target, "HEAD")
            assert body == b""
            assert [h for h in head.headers if h[0] != b"date"] == [h for h in got.headers if h[0] != b"date"]
        unread = running.site.streams[-1]
        with trio.fail_after(20):
            while not unread.closed:  # noqa: ASYNC110 - the head arrives before that
                await trio.sleep(0.01)
        assert unread.written == 0


async def test_options_and_methods_that_change_things() -> None:
    async with serving() as running:
        client = Client(await running.connect())
        response, _ = await client.ask("*", "OPTIONS")
        assert response.status_code == 204
        assert (b"allow", b"GET, HEAD, OPTIONS") in list(response.headers)
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            response, body = await client.ask("/x", method)
            assert response.status_code == 405
            assert (b"allow", b"GET, HEAD, OPTIONS") in list(response.headers)
            assert json.loads(body)["field"] == "method"
        assert (await client.ask("/x"))[0].status_code == 200


@pytest.mark.parametrize("target", ["/long", "/big"])
async def test_gzip(target: str) -> None:
    async with serving() as running:
        client = Client(await running.connect())
        _, plain = await client.ask(target)
        response, coded = await client.ask(target, accept_encoding="gzip")
        assert dict(response.headers)[b"content-encoding"] == b"gzip"
        assert len(coded) < len(plain)
        assert gzip.decompress(coded) == plain
        response, _ = await client.ask("/short", accept_encoding="gzip")
        assert b"content-encoding" not in dict(response.headers)


async def test_pipelined_requests_are_answered_in_order_however_they_are_split() -> None:
    asked = b"".join(b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n" % n for n in range(200))
    asked += b"GET /last HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
    chance = random.Random(1)
    async with serving() as running:
        for _ in range(5):
            stream = await running.connect()
            async with trio.open_nursery() as nursery:

                async def send(stream: trio.SocketStream = stream) -> None:
                    at = 0
                    while at < len(asked):
                        size = chance.randrange(1, 400)
                        await stream.send_all(asked[at : at + size])
                        at += size

                nursery.start_soon(send)
                answers = await drain(stream)
            expected = [*(f'"/{n}"' for n in range(200)), '"/last"']
            places = [answers.find(b'{"you asked":' + text.encode() + b"}") for text in expected]
            assert -1 not in places
            assert places == sorted(places)
            assert answers.count(b"HTTP/1.1 200 OK") == 201
            assert b"Connection: close" in answers[places[-2] : places[-1]]


async def test_a_long_pipeline_holds_up_nobody_else() -> None:
    count = 5_000
    async with serving() as running:
        greedy, modest = await running.connect(), Client(await running.connect())

        async def read() -> None:
            while await greedy.receive_some(1 << 20):
                pass

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            nursery.start_soon(greedy.send_all, b"GET /x HTTP/1.1\r\nHost: t\r\n\r\n" * count)
            await running.until("http_requests", 1)
            await modest.ask("/y")
            assert running.server.counters["http_requests"] < count
            nursery.cancel_scope.cancel()


async def test_bodies_on_get_are_skipped_and_the_connection_goes_on() -> None:
    async with serving() as running:
        stream = await running.connect()
        evil = b"GET /evil HTTP/1.1\r\nHost: h\r\n\r\n"
        await stream.send_all(
            b"GET /a HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s"
            % (len(evil), evil)
            + b"GET /b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nGET /\r\n0\r\n\r\n"
            b"GET /c HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
        )
        answers = await drain(stream)
        assert answers.count(b"HTTP/1.1 200 OK") == 3
        assert b"evil" not in answers


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\0\1\2\3 nonsense", 400),
        (b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET /" + b"u" * 9000 + b" HTTP/1.1\r\n", 414),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 200_000, 431),
        (b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n" + b"b" * 100_000, 413),
    ],
)
async def test_what_cannot_be_read_is_answered_and_closed(data: bytes, status: int) -> None:
    async with serving() as running:
        stream = await running.connect()
        await stream.send_all(b"GET /first HTTP/1.1\r\nHost: h\r\n\r\n" + data)
        answers = await drain(stream)
        assert b'{"you asked":"/first"}' in answers
        assert answers.count(b"HTTP/1.1 %d " % status) == 1
        assert answers.index(b"/first") < answers.index(b"HTTP/1.1 %d " % status)
        assert b"Connection: close" in answers
        assert running.server.counters["http_faults"] == 1


async def test_http_1_0_gets_a_plain_body_that_ends_with_the_connection() -> None:
    async with serving() as running:
        stream = await running.connect()
        await stream.send_all(b"GET /big HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        block, _, body = (await drain(stream)).partition(b"\r\n\r\n")
        assert b"Transfer-Encoding" not in block
        assert b"Connection: close" in block
        assert body == b"".join(BIG)
        stream = await running.connect()
        await stream.send_all(b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /b HTTP/1.0\r\n\r\n")
        answers = await drain(stream)
        assert answers.count(b"HTTP/1.1 200 OK") == 2
        assert answers.count(b"Connection: keep-alive") == 1


async def test_an_answer_that_fails_ends_the_connection_before_any_byte(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as running:
        stream = await running.connect()
        await stream.send_all(b"GET /fails HTTP/1.1\r\nHost: h\r\n\r\n")
        assert await drain(stream) == b""
        assert running.server.counters["http_failures"] == 1
        assert "on purpose" in caplog.text
        assert (await Client(await running.connect()).ask("/x"))[0].status_code == 200


async def test_an_answer_that_fails_late_never_gets_its_last_chunk(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as running:
        client = Client(await running.connect())
        with pytest.raises((h11.RemoteProtocolError, trio.BrokenResourceError)):
            await client.ask("/fails-late")
        assert running.server.counters["http_failures"] == 1
        assert running.site.streams[0].closed
        assert "on purpose" in caplog.text


async def test_a_reader_that_takes_nothing_is_dropped_without_the_last_chunk() -> None:
    async with serving(HttpLimits(stall_seconds=0.4)) as running:
        stream = await running.connect(receive_buffer=4096)
        await stream.send_all(b"GET /big HTTP/1.1\r\nHost: h\r\n\r\n")
        await running.until("http_stalled", 1)
        body = running.site.streams[0]
        with trio.fail_after(10):
            while running.server.connections:  # noqa: ASYNC110 - polls from outside
                await trio.sleep(0.01)
        assert body.closed
        assert body.written < len(body.pieces)
        assert not (await drain(stream)).endswith(b"0\r\n\r\n")


async def test_small_requests_are_answered_while_a_slow_reader_has_a_long_answer() -> None:
    async with serving() as running:
        slow = await running.connect(receive_buffer=4096)
        await slow.send_all(b"GET /big HTTP/1.1\r\nHost: h\r\n\r\n")
        client = Client(await running.connect())
        for _ in range(100):
            assert (await client.ask("/x"))[0].status_code == 200
        assert running.site.streams[0].written < len(BIG)


async def test_a_request_that_does_not_end_in_time_gets_408() -> None:
    async with serving(HttpLimits(header_seconds=0.3)) as running:
        stream = await running.connect()
        await stream.send_all(b"GET / HTTP/1.1\r\n")
        assert (await drain(stream)).startswith(b"HTTP/1.1 408 ")


async def test_an_idle_connection_is_closed_without_a_word() -> None:
    async with serving(HttpLimits(idle_seconds=0.3)) as running:
        stream = await running.connect()
        await stream.send_all(b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n")
        assert (await drain(stream)).count(b"HTTP/1.1") == 1
        assert await drain(await running.connect()) == b""


async def test_over_the_limit_the_connection_idle_for_longest_is_closed() -> None:
    async with serving(HttpLimits(connections=3)) as running:
        clients = []
        for _ in range(3):
            clients.append(Client(await running.connect()))
            await clients[-1].ask("/x")
        await clients[0].ask("/again")  # so the second one has been idle for longest
        newcomer = Client(await running.connect())
        assert (await newcomer.ask("/x"))[0].status_code == 200
        assert await drain(clients[1].stream) == b""
        for client in (clients[0], clients[2], newcomer):
            assert (await client.ask("/x"))[0].status_code == 200
        assert running.server.counters["http_shed"] == 1
        assert running.server.connections == 3


async def test_an_answer_that_is_waited_for_holds_up_nobody_else() -> None:
    async with serving() as running:
        replies: list[bytes] = []

        async def ask(target: str) -> None:
            _, body = await Client(await running.connect()).ask(target)
            replies.append(body)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, "/later")
            nursery.start_soon(ask, "/later-big")
            await running.until("http_requests", 2)
            assert (await Client(await running.connect()).ask("/x"))[1] == b'{"you asked":"/x"}'
            assert replies == []
            running.site.may_answer.set()
        assert sorted(replies, key=len) == [b'"now"', b"".join(BIG)]


async def test_pipelined_behind_one_that_is_waited_for() -> None:
    async with serving() as running:
        stream = await running.connect()
        await stream.send_all(b"GET /later HTTP/1.1\r\nHost: t\r\n\r\nGET /x HTTP/1.1\r\nHost: t\r\n\r\n")
        await running.until("http_requests", 1)
        running.site.may_answer.set()
        got = b""
        while b'{"you asked":"/x"}' not in got:
            got += await stream.receive_some()
        assert got.index(b'"now"') < got.index(b"you asked")


async def test_who_leaves_while_waiting_leaves_nothing_behind() -> None:
    async with serving() as running:
        stream = await running.connect()
        await stream.send_all(b"GET /later HTTP/1.1\r\nHost: t\r\n\r\n")
        await running.until("http_requests", 1)
        await stream.aclose()
        running.site.may_answer.set()
        with trio.fail_after(20):
            while running.server.connections:  # noqa: ASYNC110 - polls from outside
                await trio.sleep(0.01)


async def test_when_all_are_busy_a_newcomer_waits_and_is_not_refused() -> None:
    async with serving(HttpLimits(connections=1)) as running:
        first = await running.connect()
        await first.send_all(b"GET /big HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        await running.until("http_requests", 1)
        second = Client(await running.connect())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(drain, first)
            assert (await second.ask("/x"))[0].status_code == 200


async def test_stop_finishes_what_is_under_way_and_takes_nothing_new() -> None:
    async with serving() as running:
        idle = await running.connect()
        busy = await running.connect()
        await busy.send_all(b"GET /big HTTP/1.1\r\nHost: h\r\n\r\n")
        await running.until("http_requests", 1)
        running.stop.set()
        assert await drain(idle) == b""
        assert (await drain(busy)).endswith(b"0\r\n\r\n")
        with trio.fail_after(10):
            await running.returned.wait()
        assert running.server.connections == 0


async def test_who_had_connected_before_the_stop_is_answered() -> None:
    """Nobody else can: the connection was taken from the queue that all workers share."""
    async with serving(HttpLimits(first_seconds=20)) as running:
        late, asking, kept = [Client(await running.connect()) for _ in range(3)]
        await running.until("http_connections", 3)
        assert (await kept.ask("/x"))[0].status_code == 200
        await asking.stream.send_all(b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n")
        running.stop.set()
        assert await drain(kept.stream) == b""
        assert (await drain(asking.stream)).startswith(b"HTTP/1.1 200 ")
        assert not running.returned.is_set()
        response, _ = await late.ask("/x")
        assert (response.status_code, dict(response.headers)[b"connection"]) == (200, b"close")
        await late.stream.aclose()
        with trio.fail_after(10):
            await running.returned.wait()


async def test_a_server_that_was_held_up_while_it_stops_answers_what_has_come() -> None:
    for _ in range(10):  # two tasks become due at once, in any order
        async with serving(HttpLimits(first_seconds=0.05)) as running:
            stream = await running.connect()
            await running.until("http_connections", 1)
            running.stop.set()
            with trio.fail_after(20):
                while not running.server.closing:
                    await trio.lowlevel.checkpoint()
            await stream.send_all(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
            time.sleep(0.1)  # noqa: ASYNC251 - holds up the server, which is in this thread
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 200")


async def test_peers_that_vanish_leave_nothing_behind() -> None:
    async with serving() as running:
        for number in range(60):
            stream = await running.connect()
            await stream.send_all((b"GET /big HTTP/1.1\r\nHost: h\r\n\r\n" * 3)[: number * 2 + 1])
            if number % 2:
                stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            await stream.aclose()
        await running.until("http_connections", 60)
        with trio.fail_after(20):
            while running.server.connections:  # noqa: ASYNC110 - polls from outside
                await trio.sleep(0.01)
        assert running.server.idle == {}
        assert running.server.counters["http_failures"] == 0
        assert all(stream.closed for stream in running.site.streams)
