"""
The listening sockets. The guardian keeps them open but never accepts, so nobody is refused while payloads come and go.

They are non-blocking, a property of the socket itself that all who inherit it share.
"""

from __future__ import annotations

import errno
import socket

from fustor.guardian.errors import StartError

#: Connections that may wait while no payload accepts; the kernel lowers it to net.core.somaxconn.
BACKLOG = 4096


def listen(name: str, host: str, port: int) -> socket.socket:
    """
    Listen on ``host`` (an address, or a name of which the first address is taken).

    Raises:
        StartError: with exit code 98 when the port is in use, 2 when the address can't be used.
    """
    try:
        family, kind, address = _resolve(host, port)
        sock = socket.socket(family, kind)
    except OSError as error:
        raise StartError(f"listen.{name}: {host}: {error.strerror}; name an address of this host", 2) from None
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(address)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        what = f"listen.{name}: {host} port {port}"
        if error.errno == errno.EADDRINUSE:
            raise StartError(f"{what} is in use; stop who listens there, or take another", 98) from None
        raise StartError(f"{what}: {error.strerror}; take another address or port", 2) from None
    return sock


def restore(fd: int) -> socket.socket:
    """One that listens already, from its descriptor."""
    return socket.socket(fileno=fd)


def is_at(sock: socket.socket, host: str, port: int) -> bool:
    """``sock`` listens on this address; port 0 means any."""
    try:
        if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return False
        family, _, address = _resolve(host, port)
        own = sock.getsockname()
    except OSError:
        return False
    return sock.family == family and own[0] == address[0] and port in (0, own[1])


def _resolve(host: str, port: int) -> tuple[int, int, tuple[str, int]]:
    """Family, type and address. As bytes: for text, Python loads a megabyte of tables for international names."""
    found = socket.getaddrinfo(host.encode("ascii"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    return found[0], found[1], found[4]  # type: ignore[return-value]  # no other family than the two of IP
