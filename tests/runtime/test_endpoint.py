"""Addresses as text."""

from __future__ import annotations

import pytest

from fustor.runtime.endpoint import Address, is_loopback, parse_address, parse_endpoint


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:1", "127.0.0.1", 1),
        ("*:7700", "*", 7700),
        ("fusion.example:65535", "fusion.example", 65535),
        ("[::1]:80", "::1", 80),
    ],
)
def test_good_ones_go_there_and_back(text: str, host: str, port: int) -> None:
    assert parse_address(text) == Address(host, port)
    assert parse_address(text).text == text
    assert parse_endpoint(f"tcp://{text}").zmq == f"tcp://{text}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "8101",
        ":8101",
        "host:",
        "host:0",
        "host:65536",
        "host:-1",
        "::1:80",
        "[::1]",
        "a b:1",
        "host:1²",
        "a/b:1",
        "[a:1",
    ],
)
def test_bad_ones_say_what_is_accepted(text: str) -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        parse_address(text)
    with pytest.raises(ValueError, match="tcp://HOST:PORT"):
        parse_endpoint(f"tcp://{text}")


@pytest.mark.parametrize("text", ["host:1", "ipc://x", "tcp:/host:1", "udp://host:1"])
def test_only_tcp_is_an_endpoint(text: str) -> None:
    with pytest.raises(ValueError, match="tcp://HOST:PORT"):
        parse_endpoint(text)


def test_only_a_wildcard_is_replaced() -> None:
    for host in ("*", "0.0.0.0", "::"):
        assert Address(host, 5).reached_by("fusion") == Address("fusion", 5)
    assert Address("10.0.0.1", 5).reached_by("fusion") == Address("10.0.0.1", 5)


def test_higher_ports() -> None:
    assert Address("h", 7710).plus(3) == Address("h", 7713)


def test_loopback() -> None:
    for host in ("127.0.0.1", "127.255.0.9", "::1", "localhost"):
        assert is_loopback(host)
    for host in ("0.0.0.0", "::", "*", "192.0.2.1", "localhost.example", "127.0.0.1.example"):
        assert not is_loopback(host)
