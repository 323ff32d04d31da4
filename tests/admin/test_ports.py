"""Free and taken ports, with real listeners."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from fustor.admin.ports import choose, holder, is_free, split, turn
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


def test_choose_passes_over_what_is_taken_already() -> None:
    # Below the range that the kernel gives to others meanwhile.
    port = choose("127.0.0.1", 21_000, 2)
    found = choose("127.0.0.1", port, 2, frozenset({port + 1}))
    assert found > port
    assert (found - port) % 10 == 0
    assert is_free("127.0.0.1", found + 1)


def test_one_at_a_time() -> None:
    """Who waits goes on when the one before ends, be it by kill -9; who has waited long enough goes on without."""
    script = """
import sys
from fustor.admin.ports import turn
with turn(60) as mine:
    print(mine, flush=True)
    sys.stdin.read()
"""
    command = [sys.executable, "-P", "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"True\n"
        with turn(0.0) as mine:
            assert not mine
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as second:
            first.kill()
            assert second.communicate(b"")[0] == b"True\n"


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
