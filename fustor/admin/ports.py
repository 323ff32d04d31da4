"""
Free TCP ports on this host.

A port found free may be taken a moment later by somebody else: who binds it in earnest still has to handle that.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fustor.runtime.endpoint import parse_address
from protocols.errors import ConfigError, MachineError

#: How many steps above a default are tried.
ATTEMPTS = 200
#: Abstract address (unix(7)) of whoever is choosing ports: valid, as ports are, within one network namespace.
TURN = b"\0fustor-chooses-ports"


def split(endpoint: str, field: str) -> tuple[str, int]:
    """
    Host and port of ``tcp://HOST:PORT`` or ``HOST:PORT``; brackets of IPv6 addresses are removed.

    Raises:
        ConfigError: it is neither; ``field`` is named.
    """
    try:
        address = parse_address(endpoint.removeprefix("tcp://"))
    except ValueError as error:
        raise ConfigError(field, endpoint, str(error)) from None
    return address.host, address.port


def is_free(host: str, port: int) -> bool:
    """
    Whether a listener could be opened.

    Raises:
        MachineError: never, whatever the port: the address is not one of this host, or the port needs privileges.
    """
    wildcard = "0.0.0.0" if host == "*" else host
    family = socket.AF_INET6 if ":" in wildcard else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((wildcard, port))
            probe.listen(1)
        except PermissionError:
            raise MachineError(f"{host}:{port}: this user may not listen there; take a port above 1023") from None
        except socket.gaierror as error:
            raise MachineError(f"{host}:{port}: {error.strerror}; use an address of this host") from None
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise MachineError(f"{host}:{port}: {error.strerror}; use an address of this host") from None
    return True


def choose(host: str, first: int, count: int = 1, taken: frozenset[int] = frozenset()) -> int:
    """
    The lowest port ≥ ``first`` (in steps of 10 above the first) that begins ``count`` free ones outside of ``taken``.

    Raises:
        MachineError: none within :data:`ATTEMPTS` steps.
    """
    for start in _candidates(first):
        wanted = range(start, start + count)
        if not taken.intersection(wanted) and all(is_free(host, port) for port in wanted):
            return start
    raise MachineError(f"no free port found on {host} from {first} on; free one, or name one that is")


def _candidates(first: int) -> Iterator[int]:
    for step in range(ATTEMPTS):
        port = first + 10 * step
        if port <= 65_000:
            yield port


def holder(port: int) -> str:
    """Who listens on ``port``, in words; for people, best effort: other users' processes can't be seen."""
    inodes = set()
    for name in ("tcp", "tcp6"):
        try:
            lines = Path("/proc/net", name).read_text().splitlines()[1:]
        except FileNotFoundError:  # IPv6 switched off
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            if any(os.readlink(process / "fd" / name) in inodes for name in os.listdir(process / "fd")):
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip()
                return f"process {process.name} ({command[:120]})"
        except OSError:  # gone meanwhile, or another user's
            continue
    return "a process of another user" if inodes else "nobody any more"


@contextmanager
def turn(patience: float) -> Iterator[bool]:
    """
    One at a time from choosing ports until they are bound, for all users of this network namespace.

    The turn ends with the process and leaves no file. Whoever waits longer than ``patience`` seconds goes on without
    it (yields False): another user must not be able to keep us from starting.
    """
    deadline = time.monotonic() + patience
    with socket.socket(socket.AF_UNIX) as mine:
        yield _wait_turn(mine, deadline)


def _wait_turn(mine: socket.socket, deadline: float) -> bool:
    while True:
        try:
            mine.bind(TURN)
            mine.listen(128)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            return True
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        with socket.socket(socket.AF_UNIX) as other:
            other.settimeout(left)
            try:
                other.connect(TURN)
                other.recv(1)  # returns when the other's socket is closed
            except OSError:  # ended between our two calls, does not listen yet, or time is up: look again
                continue
