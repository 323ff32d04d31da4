"""Answers to bytes."""

from __future__ import annotations

import gzip
import json

import pytest

from actors.query.answer import Answer, HeaderBlock
from actors.query.http.request import FAULTS, Fault, Request
from actors.query.http.response import Gzip, accepts_gzip, date_line, fault, head, options, refused_method

GET = Request(b"GET", b"/", True)
OLD = Request(b"GET", b"/", True, http10=True)
DATE = date_line(0.0)


def lines(data: bytes) -> list[bytes]:
    block, end, rest = data.partition(b"\r\n\r\n")
    assert end
    assert rest == b""
    return block.split(b"\r\n")


def test_the_date_has_the_format_of_rfc_9110() -> None:
    assert DATE == b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"


@pytest.mark.parametrize(
    ("value", "accepted"),
    [
        (b"", False),
        (b"gzip", True),
        (b"GZIP", True),
        (b"deflate, gzip;q=1.0, *;q=0.5", True),
        (b"gzip;q=0", False),
        (b"gzip; q = 0.0", False),
        (b"*", True),
        (b"*;q=0", False),
        (b"br, identity", False),
        (b"gzip;q=0, *", False),
        (b"gzip;q=nonsense", False),
        (b"x-gzip", True),
    ],
)
def test_gzip_is_sent_only_where_it_is_accepted(value: bytes, accepted: bool) -> None:
    assert accepts_gzip(value) is accepted


def test_a_short_answer() -> None:
    answer = Answer(200, b"{}", HeaderBlock.of({"X-Fustor-Age": "1.5"}), 'W/"a"')
    found = lines(head(answer, GET, DATE, length=2, gzip=True))
    assert found[0] == b"HTTP/1.1 200 OK"
    assert set(found[1:]) == {
        b"Date: Thu, 01 Jan 1970 00:00:00 GMT",
        b"X-Fustor-Age: 1.5",
        b'ETag: W/"a"',
        b"Content-Type: application/json",
        b"Content-Length: 2",
        b"Content-Encoding: gzip",
        b"Vary: Accept-Encoding",
    }


def test_a_long_answer_is_chunked_but_not_for_http_1_0() -> None:
    answer = Answer(200, b"")
    assert b"Transfer-Encoding: chunked" in lines(head(answer, GET, DATE, length=None))
    old = lines(head(answer, OLD, DATE, length=None, close=True))
    assert b"Transfer-Encoding: chunked" not in old
    assert b"Connection: close" in old
    assert b"Connection: keep-alive" in lines(head(answer, OLD, DATE, length=1))


def test_304_has_no_content_headers_but_its_tag_and_freshness() -> None:
    found = lines(head(Answer(304, b"", HeaderBlock.of({"X-Fustor-Age": "1"}), 'W/"a"'), GET, DATE, length=0))
    assert found[0] == b"HTTP/1.1 304 Not Modified"
    assert b'ETag: W/"a"' in found
    assert b"X-Fustor-Age: 1" in found
    assert not [line for line in found if line.startswith(b"Content-")]


def test_allow_is_named() -> None:
    assert b"\r\nAllow: GET, HEAD, OPTIONS\r\n" in options(DATE, close=False)
    assert b"\r\nAllow: GET, HEAD, OPTIONS\r\n" in refused_method(Request(b"PUT", b"/", True), DATE, close=True)
    assert b"HTTP/1.1 405 " in refused_method(Request(b"PUT", b"/", True), DATE, close=True)


@pytest.mark.parametrize("status", sorted(FAULTS))
def test_a_fault_closes_and_its_body_is_json(status: int) -> None:
    block, _, body = fault(Fault(status, 'a "quoted" \\ reason'), DATE).partition(b"\r\n\r\n")
    assert b"Connection: close" in block.split(b"\r\n")
    assert b"Content-Length: %d" % len(body) in block.split(b"\r\n")
    assert json.loads(body) == {"error": 'a "quoted" \\ reason'}


def test_gzip_in_pieces_is_one_gzip_file() -> None:
    coder = Gzip()
    data = [b"abc" * 50_000, b"", b"x", bytes(range(256)) * 1000]
    coded = b"".join(coder.feed(piece) for piece in data) + coder.end()
    assert gzip.decompress(coded) == b"".join(data)
