"""Free and taken ports, with real listeners."""

from __future__ import annotations

import os
import socket

import pytest

from fustor.admin.ports import choose, holder, is_free, split
from protocols.errors import ConfigError, MachineError


@pytest.fixture
def listener() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def test_a_port_is_taken_while_somebody_listens(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    with listener:
        assert not is_free("127.0.0.1", port)
        assert f"process {os.getpid()} " in holder(port)
        assert choose("127.0.0.1", port) > port
    assert is_free("127.0.0.1", port)
    assert holder(port) == "nobody any more"


def test_choose_passes_over_what_is_taken_already(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    listener.close()
    if port + 11 > 65_000:
        pytest.skip("no room above this port")
    assert choose("127.0.0.1", port, 2, frozenset({port + 1})) == port + 10


def test_an_address_of_somebody_else_is_said_so() -> None:
    with pytest.raises(MachineError, match="use an address of this host"):
        is_free("192.0.2.1", 8101)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("tcp://127.0.0.1:7700", ("127.0.0.1", 7700)), ("[::1]:8101", ("::1", 8101)), ("host:1", ("host", 1))],
)
def test_split(text: str, expected: tuple[str, int]) -> None:
    assert split(text, "x") == expected


@pytest.mark.parametrize("text", ["", "8101", "host:", "host:0", "host:65536", "host:http", ":80", "::1:80"])
def test_split_names_the_field(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^--http = .*HOST:PORT"):
        split(text, "--http")
