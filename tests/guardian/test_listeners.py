"""Listening on real addresses."""

from __future__ import annotations

import os
import socket

import pytest

from fustor.guardian.errors import StartError
from fustor.guardian.listeners import is_at, listen, restore


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "::", "localhost"])
def test_connections_are_taken_without_accept(host: str) -> None:
    with listen("http", host, 0) as sock:
        assert not os.get_inheritable(sock.fileno())
        assert not sock.getblocking()
        address = sock.getsockname()[:2]
        with socket.create_connection(address, 30):
            pass


def test_any_address_takes_both_families() -> None:
    with listen("http", "::", 0) as sock:
        port = sock.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port), 30), socket.create_connection(("::1", port), 30):
            pass


def test_a_port_in_use() -> None:
    with listen("http", "127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(StartError, match=rf"listen\.http: 127\.0\.0\.1 port {port} is in use") as caught:
            listen("http", "127.0.0.1", port)
    assert caught.value.code == 98


def test_a_port_just_left_can_be_taken_again() -> None:
    with listen("http", "127.0.0.1", 0) as first:
        address = first.getsockname()
        with socket.create_connection(address, 30) as client:
            first.setblocking(True)
            server = first.accept()[0]
            server.close()  # first to close: TIME_WAIT on this side
            assert client.recv(1) == b""
    with listen("http", *address) as again:
        assert again.getsockname() == address


@pytest.mark.parametrize("host", ["192.0.2.1", "nowhere.invalid", "300.1.1.1"])
def test_an_address_that_is_not_ours(host: str) -> None:
    with pytest.raises(StartError, match=r"listen\.http: ") as caught:
        listen("http", host, 0)
    assert caught.value.code == 2


def test_where_a_socket_listens() -> None:
    with listen("http", "127.0.0.1", 0) as sock:
        port = sock.getsockname()[1]
        assert is_at(sock, "127.0.0.1", port)
        assert is_at(sock, "127.0.0.1", 0)
        assert not is_at(sock, "127.0.0.1", port % 65535 + 1)
        assert not is_at(sock, "127.0.0.2", port)
        assert not is_at(sock, "::1", port)
        assert not is_at(sock, "no.such.host.invalid", port)
        with restore(os.dup(sock.fileno())) as again:
            assert is_at(again, "localhost", port)
            assert not os.get_blocking(again.fileno())
    with socket.socket() as deaf:
        assert not is_at(deaf, "0.0.0.0", 0)
