"""
Bytes to HTTP requests, within limits. No I/O, no clock, no routing.

llhttp (through httptools) does the parsing, in its strict mode: it refuses Transfer-Encoding beside Content-Length,
bare line feeds, folded headers and the other ways to smuggle one request inside another.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import attrs
import httptools

#: Statuses a fault may carry, with their reason phrases (RFC 9110 section 15.5, RFC 6585 for 431).
FAULTS = {
    400: "Bad Request",
    408: "Request Timeout",
    413: "Content Too Large",
    414: "URI Too Long",
    431: "Request Header Fields Too Large",
}


@attrs.frozen(cache_hash=True)
class RequestLimits:
    """
    Attributes:
        url: bytes of the request target.
        headers: bytes of all header lines together.
        body: bytes of a body that is read and thrown away; a longer one is refused.
    """

    url: int = 8 << 10
    headers: int = 16 << 10
    body: int = 64 << 10


@attrs.define
class Request:
    """
    One request. It is not changed.

    Attributes:
        method: as sent (methods are case-sensitive).
        target: path and query, still percent-encoded; ``*`` for ``OPTIONS *``.
        keep_alive: whether the connection may stay open after the answer.
        http10: the client speaks HTTP/1.0: no chunked coding in the answer.
        accept_encoding, if_none_match, api_key: values of these headers (the last is X-API-Key); repeated ones joined
            by a comma; empty when absent.
    """

    method: bytes
    target: bytes
    keep_alive: bool
    http10: bool = False
    accept_encoding: bytes = b""
    if_none_match: bytes = b""
    api_key: bytes = attrs.field(default=b"", repr=False)


@attrs.frozen
class Fault:
    """Why nothing more will be read from this connection: the status to answer with, and the reason for people."""

    status: int
    reason: str


class _StopParsing(Exception):  # noqa: N818 - control flow
    """Leaves llhttp from within a callback; what there is to say is in the parser object."""


#: Clients repeat themselves: what followed the target of a GET, in bytes that were one whole request, and that request.
#: What the same bytes mean behind another target is the same, and does not depend on what came before on a connection.
_KNOWN: dict[RequestLimits, dict[bytes, Request]] = {}
_KNOWN_TAILS = 4096
_KNOWN_BYTES = 1024
_GET = b"GET "
#: Targets that llhttp takes whatever their order: a slash and printable ASCII without what means something to it.
_plain_target = re.compile(rb"/[!-\"$-~]*").fullmatch


class RequestParser:
    """
    The requests in the bytes of one connection, in order.

    After :meth:`feed` look at ``fault`` (answer the returned requests first, then the fault, then close) and ``ended``
    (no request will follow the returned ones). ``busy`` tells that a request has begun and is not complete.
    """

    def __init__(self, limits: RequestLimits) -> None:
        self._limits = limits
        self._known = _KNOWN.setdefault(limits, {})
        self.fault: Fault | None = None
        self.ended = False
        self.busy = False
        self._ready: list[Request] = []
        self._pending = 0  # bytes fed for the message in progress, not counting the feed in which it began
        self._began_here = False
        self._reset()
        parser: Callable[[RequestParser], httptools.HttpRequestParser] = httptools.HttpRequestParser
        self._parser = parser(self)

    def _reset(self) -> None:
        self._url = b""
        self._header_bytes = 0
        self._hosts = 0
        self._accept = b""
        self._match = b""
        self._key = b""
        self._expects = False
        self._body = 0
        self._in_body = False

    def feed(self, data: bytes) -> list[Request]:
        """Requests completed by ``data``, which must not be empty. Never raises; after a fault nothing is parsed."""
        if self.fault is not None or self.ended:
            return []
        first = not self.busy
        if first and data.startswith(_GET):
            end = data.find(b" ", len(_GET))
            known = self._known.get(data[end:])
            if known is not None:
                target = data[len(_GET) : end]
                if len(target) <= self._limits.url and _plain_target(target):
                    return [
                        Request(
                            _GET[:-1],
                            target,
                            True,
                            known.http10,
                            known.accept_encoding,
                            known.if_none_match,
                            known.api_key,
                        )
                    ]
        ready = self._parse(data)
        if first and len(ready) == 1 and not self.busy and not self.ended and self.fault is None:
            self._remember(data, ready[0])
        return ready

    def _remember(self, data: bytes, request: Request) -> None:
        """``data`` was this request and nothing else, and the connection goes on."""
        start = _GET + request.target
        tail = data[len(start) :]
        if data.startswith(start) and tail.startswith(b" ") and len(tail) <= _KNOWN_BYTES:
            if len(self._known) >= _KNOWN_TAILS:
                self._known.clear()
            self._known[tail] = request

    def _parse(self, data: bytes) -> list[Request]:
        self._began_here = False
        view = memoryview(data)
        while True:
            try:
                self._parser.feed_data(view)
            except httptools.HttpParserUpgrade as upgrade:
                # Upgrades are not taken, so the connection goes on as HTTP/1.1 (RFC 9110 section 7.8); CONNECT cannot.
                if self._ready and self._ready[-1].method == b"CONNECT":
                    self._ready[-1] = attrs.evolve(self._ready[-1], keep_alive=False)
                    self.ended = True
                    break
                view = view[upgrade.args[0] :]
                if len(view):
                    continue
            except httptools.HttpParserError as error:
                if self.fault is None and not self.ended:
                    self.fault = Fault(400, f"malformed request: {error}")
            break
        if self.busy and self.fault is None and not self.ended:
            if not self._began_here:
                self._pending += len(data)
            self._check_pending()
        ready, self._ready = self._ready, []
        return ready

    def _check_pending(self) -> None:
        # A header that never ends is not shown to us until it is complete, so the raw bytes are counted as well.
        limits = self._limits
        if not self._in_body and self._pending > limits.url + limits.headers:
            self.fault = Fault(431, f"request headers longer than {limits.headers} bytes")
        elif self._in_body and self._pending > limits.url + limits.headers + 2 * limits.body:
            self.fault = Fault(413, f"a request body of more than {limits.body} bytes is not accepted")

    def _stop(self, status: int, reason: str) -> None:
        self.fault = Fault(status, reason)
        raise _StopParsing

    # -- callbacks of httptools ---------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A request begins."""
        if self.ended:
            raise _StopParsing
        self.busy = True
        self._began_here = True
        self._pending = 0
        self._reset()

    def on_url(self, part: bytes) -> None:
        """A piece of the request target."""
        self._url += part
        if len(self._url) > self._limits.url:
            self._stop(414, f"request target longer than {self._limits.url} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        """One complete header line, or a trailer."""
        self._header_bytes += len(name) + len(value) + 4
        if self._header_bytes > self._limits.headers:
            self._stop(431, f"request headers longer than {self._limits.headers} bytes")
        if self._in_body:
            return
        name = name.lower()
        if name == b"host":
            self._hosts += 1
        elif name == b"accept-encoding":
            self._accept = self._accept + b"," + value if self._accept else value
        elif name == b"if-none-match":
            self._match = self._match + b"," + value if self._match else value
        elif name == b"x-api-key":
            self._key = self._key + b"," + value if self._key else value
        elif name == b"expect":
            self._expects = True
        elif name == b"content-length" and int(value or b"0") > self._limits.body:
            self._stop(413, f"a request body of more than {self._limits.body} bytes is not accepted")

    def on_headers_complete(self) -> None:
        """All headers are there; the body, if any, follows."""
        version = self._parser.get_http_version()
        if version not in ("1.1", "1.0"):
            self._stop(400, f"HTTP version {version}; 1.0 and 1.1 are accepted")
        if version == "1.1" and self._hosts != 1:
            self._stop(400, f"{self._hosts} Host headers; exactly one is accepted")
        self._in_body = True
        if self._expects:
            # The client waits with its body, which nobody wants: the final answer at once, and no body follows.
            self._complete(keep_alive=False)
            raise _StopParsing

    def on_body(self, part: bytes) -> None:
        """A piece of a body: counted and thrown away."""
        self._body += len(part)
        if self._body > self._limits.body:
            self._stop(413, f"a request body of more than {self._limits.body} bytes is not accepted")

    def on_message_complete(self) -> None:
        """The request is complete."""
        self._complete(keep_alive=self._parser.should_keep_alive())

    def _complete(self, *, keep_alive: bool) -> None:
        self.busy = False
        self.ended = not keep_alive
        self._ready.append(
            Request(
                self._parser.get_method(),
                self._url,
                keep_alive,
                self._parser.get_http_version() == "1.0",
                self._accept,
                self._match,
                self._key,
            )
        )
