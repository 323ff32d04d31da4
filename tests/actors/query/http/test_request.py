"""Bytes to requests: however they are split, and whatever they are."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.query.http.request import Fault, Request, RequestLimits, RequestParser

THREE = (
    b"GET /a?x=1 HTTP/1.1\r\nHost: h\r\nAccept-Encoding: br\r\nAccept-Encoding: gzip\r\n\r\n"
    b'HEAD /b HTTP/1.1\r\nhost: h\r\nContent-Length: 5\r\nIf-None-Match: W/"1"\r\n\r\nGET /'
    b"OPTIONS * HTTP/1.1\r\nHOST: h\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    b"3\r\nabc\r\n0\r\nX: y\r\n\r\n"
)
REQUESTS = [
    Request(b"GET", b"/a?x=1", True, False, b"br,gzip"),
    Request(b"HEAD", b"/b", True, False, b"", b'W/"1"'),
    Request(b"OPTIONS", b"*", False),
]


def parse(data: bytes, size: int = 1 << 20, limits: RequestLimits | None = None) -> tuple[RequestParser, list[Request]]:
    parser = RequestParser(limits or RequestLimits())
    requests: list[Request] = []
    for at in range(0, len(data), size):
        requests += parser.feed(data[at : at + size])
    return parser, requests


@settings(max_examples=300)
@given(st.lists(st.integers(1, len(THREE) - 1), max_size=12))
def test_any_split_gives_the_same_requests(cuts: list[int]) -> None:
    edges = [0, *sorted(set(cuts)), len(THREE)]
    parser = RequestParser(RequestLimits())
    found: list[Request] = []
    for start, end in itertools.pairwise(edges):
        found += parser.feed(THREE[start:end])
    assert found == REQUESTS
    assert parser.fault is None
    assert parser.ended


@settings(max_examples=300)
@given(st.binary(min_size=1, max_size=300), st.integers(1, 64))
def test_any_bytes_give_requests_or_a_fault_and_never_an_exception(data: bytes, size: int) -> None:
    parser, _ = parse(data, size)
    assert parser.fault is None or parser.fault.status in (400, 413, 414, 431)


@settings(max_examples=300)
@given(st.integers(0, len(THREE) - 1), st.integers(0, 255), st.integers(1, 64))
def test_one_wrong_byte_never_escapes_as_an_exception(place: int, byte: int, size: int) -> None:
    data = THREE[:place] + bytes([byte]) + THREE[place + 1 :]
    parser, requests = parse(data, size)
    assert len(requests) <= 4
    assert parser.fault is None or parser.fault.status in (400, 413, 414, 431)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999999999999999999\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 65537\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nHost: a\n\n", 400),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"NONSENSE / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01", 400),
        (b"GET /" + b"u" * 8192 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 16384 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 3000 + b"\r\n", 431),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_faults(data: bytes, status: int, size: int) -> None:
    parser, requests = parse(data, size)
    assert requests == []
    assert parser.fault is not None
    assert parser.fault.status == status
    assert parser.feed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n") == []


def test_the_longest_accepted_target_is_accepted() -> None:
    target = b"/" + b"u" * 8191
    parser, requests = parse(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n", 100)
    assert parser.fault is None
    assert [request.target for request in requests] == [target]


@pytest.mark.parametrize(
    ("start", "status"),
    [
        (b"GET / HTTP/1.1\r\nX: ", 431),
        (b"GET / HTTP/1.1\r\n", 431),
        (b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;", 413),
        (b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nTrailer: ", 413),
    ],
)
def test_a_request_that_never_ends_is_cut_off_within_bounds(start: bytes, status: int) -> None:
    parser = RequestParser(RequestLimits())
    parser.feed(start)
    fed = 0
    while parser.fault is None:
        parser.feed(b"x" * 1000)
        fed += 1000
        assert fed < 300_000
    assert parser.fault.status == status


def test_a_request_before_a_malformed_one_is_still_there() -> None:
    parser, requests = parse(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n\0\0\0")
    assert [request.target for request in requests] == [b"/a"]
    assert isinstance(parser.fault, Fault)


def test_an_upgrade_is_declined_and_the_connection_goes_on() -> None:
    parser, requests = parse(
        b"GET /1 HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n"
        b"GET /2 HTTP/1.1\r\nHost: a\r\n\r\n"
    )
    assert [request.target for request in requests] == [b"/1", b"/2"]
    assert all(request.keep_alive for request in requests)
    assert not parser.ended


def test_connect_ends_the_connection() -> None:
    parser, requests = parse(b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n\x16\x03")
    assert [request.keep_alive for request in requests] == [False]
    assert parser.ended
    assert parser.fault is None


def test_a_client_that_waits_for_100_continue_is_answered_at_once() -> None:
    parser, requests = parse(b"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 30\r\n\r\n")
    assert [request.keep_alive for request in requests] == [False]
    assert parser.ended


@pytest.mark.parametrize(
    ("line", "keep_alive"), [(b"", False), (b"Connection: keep-alive\r\n", True), (b"Connection: close\r\n", False)]
)
def test_http_1_0_closes_unless_told_otherwise(line: bytes, keep_alive: bool) -> None:
    _, requests = parse(b"GET / HTTP/1.0\r\n" + line + b"\r\n")
    assert [(request.keep_alive, request.http10) for request in requests] == [(keep_alive, True)]


def test_a_request_seen_before_means_the_same_and_disturbs_nothing() -> None:
    data = b"GET /again HTTP/1.1\r\nHost: h\r\nAccept-Encoding: gzip\r\n\r\n"
    parser = RequestParser(RequestLimits())
    first = parser.feed(data)
    assert parser.feed(data) == first
    assert parser.feed(b"GET /other HTTP/1.1\r\nHo") == []
    assert parser.feed(data) == []  # within a request these bytes are no request
    assert parser.fault is not None
    fresh = RequestParser(RequestLimits())
    assert fresh.feed(data) == first
    assert fresh.feed(data[:20]) == []
    assert fresh.feed(data[20:]) == first
    small = RequestParser(RequestLimits(url=3))
    assert small.feed(data) == []
    assert small.fault is not None
    assert small.fault.status == 414


TAIL = b' HTTP/1.1\r\nHost: a\r\nIf-None-Match: "x"\r\n\r\n'


@pytest.mark.parametrize("byte", range(256))
def test_a_known_tail_behind_another_target_is_what_a_parser_makes_of_it(byte: int) -> None:
    limits = RequestLimits(headers=1000 + byte)  # so that nothing of this is known yet
    targets = [b"/" + bytes([byte]), bytes([byte]), b"/a?" + bytes([byte]) * 3, b"/a#" + bytes([byte])]
    fresh = [parse(b"GET " + target + TAIL, 7, limits) for target in targets]
    parse(b"GET /first" + TAIL, limits=limits)
    for target, (apart, expected) in zip(targets, fresh, strict=True):
        parser, requests = parse(b"GET " + target + TAIL, limits=limits)
        assert requests == expected
        assert (parser.fault is None, parser.ended, parser.busy) == (apart.fault is None, apart.ended, apart.busy)


@settings(max_examples=300)
@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=40))
def test_the_same_for_any_printable_target(text: str) -> None:
    data = b"GET /" + text.encode() + TAIL
    parse(b"GET /first" + TAIL)
    parser, requests = parse(data)
    apart, expected = parse(data, 7)
    assert requests == expected
    assert (parser.fault is None) == (apart.fault is None)


def test_limits_hold_for_known_tails() -> None:
    limits = RequestLimits(url=300)
    parse(b"GET /first" + TAIL, limits=limits)
    parser, requests = parse(b"GET /" + b"u" * 299 + TAIL, limits=limits)
    assert (len(requests), parser.fault) == (1, None)
    parser, requests = parse(b"GET /" + b"u" * 300 + TAIL, limits=limits)
    assert requests == []
    assert parser.fault is not None
    assert parser.fault.status == 414


@pytest.mark.parametrize("tail", [b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", b" HTTP/1.0\r\n\r\n"])
def test_what_ends_the_connection_ends_it_each_time(tail: bytes) -> None:
    for target in (b"/a", b"/b", b"/b"):
        parser, requests = parse(b"GET " + target + tail)
        assert [(request.target, request.keep_alive) for request in requests] == [(target, False)]
        assert parser.ended


def test_a_second_request_behind_a_known_one_is_seen() -> None:
    data = b"GET /a" + TAIL
    for _ in range(2):
        _, requests = parse(data + data)
        assert [request.target for request in requests] == [b"/a", b"/a"]
        assert parse(data)[1] == requests[:1]


def test_an_api_key_is_of_its_own_request_alone() -> None:
    """Also where the parser recognises what follows the target."""
    one = b"GET /a HTTP/1.1\r\nHost: h\r\nX-API-Key: key-1\r\n\r\n"
    two, none = one.replace(b"key-1", b"key-2").replace(b"X-API", b"x-api"), b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n"
    for _ in range(3):
        parser = RequestParser(RequestLimits())
        found = [parser.feed(data)[0].api_key for data in (one, two, none, one.replace(b"/a", b"/b"))]
        assert found == [b"key-1", b"key-2", b"", b"key-1"]
    doubled = parse(one.replace(b"Host: h", b"Host: h\r\nX-API-Key: key-2"))[1]
    assert [request.api_key for request in doubled] == [b"key-2,key-1"]
    assert "key-1" not in repr(parse(one)[1])
