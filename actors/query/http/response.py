"""
Answers to bytes: status line, headers, content coding. No I/O, no clock.
"""

from __future__ import annotations

from email.utils import formatdate
from functools import lru_cache

from isal import isal_zlib

from actors.query.answer import Answer
from actors.query.http.request import FAULTS, Fault, Request

#: What may be asked with; in the Allow header of 204 and 405.
ALLOW = b"GET, HEAD, OPTIONS"

_STATUS_LINES = {
    status: b"HTTP/1.1 %d %s\r\n" % (status, phrase.encode())
    for status, phrase in {
        200: "OK",
        204: "No Content",
        304: "Not Modified",
        401: "Unauthorized",
        403: "Forbidden",
        404: "Not Found",
        405: "Method Not Allowed",
        **FAULTS,
    }.items()
}
_CLOSE = b"Connection: close\r\n"
_STAY = b"Connection: keep-alive\r\n"  # HTTP/1.0 closes unless it is told otherwise
_GZIP = b"Content-Encoding: gzip\r\n"
_VARY = b"Vary: Accept-Encoding\r\n"


def date_line(now: float) -> bytes:
    """The Date header for ``now`` (seconds since 1970), with its line end."""
    return b"Date: %s\r\n" % formatdate(now, usegmt=True).encode()


@lru_cache(maxsize=256)
def accepts_gzip(accept_encoding: bytes) -> bool:
    """
    Whether gzip may be sent (RFC 9110 section 12.5.3): named, or covered by ``*``, with a weight above 0.
    """
    weights: dict[bytes, float] = {}
    for item in accept_encoding.lower().split(b","):
        coding, _, parameters = item.partition(b";")
        name, _, value = parameters.strip().partition(b"=")
        try:
            weight = float(value) if name.strip() == b"q" else 1.0
        except ValueError:
            weight = 0.0
        weights[coding.strip()] = weight
    return weights.get(b"gzip", weights.get(b"x-gzip", weights.get(b"*", 0.0))) > 0


def head(
    answer: Answer, request: Request, date: bytes, *, length: int | None, gzip: bool = False, close: bool = False
) -> bytes:
    """
    Status line and headers, with the empty line.

    Args:
        length: bytes of the body as sent; None: it comes in chunks, or ends with the connection for HTTP/1.0.
        gzip: the body is coded so.
        close: the connection ends after this answer.
    """
    status = answer.status
    parts = [_STATUS_LINES[status], date, answer.headers.lines]
    if answer.etag:
        parts.append(b"ETag: %s\r\n" % answer.etag.encode("ascii"))
    if status != 304:
        parts.append(b"Content-Type: %s\r\n" % answer.content_type.encode("ascii"))
        if length is not None:
            parts.append(b"Content-Length: %d\r\n" % length)
        elif not request.http10:
            parts.append(b"Transfer-Encoding: chunked\r\n")
        if gzip:
            parts.append(_GZIP)
    parts.append(_VARY)
    if close:
        parts.append(_CLOSE)
    elif request.http10:
        parts.append(_STAY)
    parts.append(b"\r\n")
    return b"".join(parts)


def options(date: bytes, *, close: bool) -> bytes:
    """The answer to OPTIONS."""
    return b"".join((_STATUS_LINES[204], date, b"Allow: ", ALLOW, b"\r\n", _CLOSE if close else b"", b"\r\n"))


def refused_method(request: Request, date: bytes, *, close: bool) -> bytes:
    """405 for any method that changes things: this side only reads."""
    body = b'{"error":"this service only reads","field":"method","value":"%s","accepted":"%s"}\n' % (
        request.method,
        ALLOW,
    )
    return _whole(405, body, date, b"Allow: " + ALLOW + b"\r\n" + (_CLOSE if close else b""))


def fault(what: Fault, date: bytes) -> bytes:
    """The last answer on a connection whose bytes can't be read on."""
    reason = what.reason.replace("\\", "\\\\").replace('"', '\\"')
    return _whole(what.status, b'{"error":"%s"}\n' % reason.encode("ascii", "replace"), date, _CLOSE)


def _whole(status: int, body: bytes, date: bytes, more: bytes) -> bytes:
    return b"".join(
        (
            _STATUS_LINES[status],
            date,
            b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(body),
            more,
            b"\r\n",
            body,
        )
    )


class Gzip:
    """A gzip stream (RFC 1952) of one body."""

    def __init__(self) -> None:
        self._coder = isal_zlib.compressobj(1, isal_zlib.DEFLATED, 31)

    def feed(self, data: bytes) -> bytes:
        """Coded bytes that are ready, possibly none."""
        return self._coder.compress(data)

    def end(self) -> bytes:
        """The rest, with the checksum."""
        return self._coder.flush()
