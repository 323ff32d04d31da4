"""
Network addresses as text: ``HOST:PORT`` and ``tcp://HOST:PORT``.

What this module does not do: resolve names, open sockets, or accept anything but tcp.
"""

from __future__ import annotations

import ipaddress

import attrs

#: Hosts that mean "every interface": good to bind, never to connect.
WILDCARDS = frozenset({"*", "0.0.0.0", "::"})


@attrs.frozen
class Address:
    """
    A host and a tcp port.

    Attributes:
        host: name or number, without brackets; ``*`` for every interface.
        port: 1 to 65535.
    """

    host: str
    port: int

    @property
    def text(self) -> str:
        """``HOST:PORT``, an IPv6 number in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def zmq(self) -> str:
        """The zmq endpoint."""
        return f"tcp://{self.text}"

    def plus(self, offset: int) -> Address:
        """The address ``offset`` ports higher."""
        return Address(self.host, self.port + offset)

    def reached_by(self, host: str) -> Address:
        """This address for somebody who reaches the machine as ``host``: replaces a wildcard, and nothing else."""
        return Address(host, self.port) if self.host in WILDCARDS else self


def parse_address(text: str) -> Address:
    """
    The address in ``HOST:PORT`` or ``[IPV6]:PORT``.

    Raises:
        ValueError: anything else; the message says what is accepted.
    """
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if bracketed:
        host = host[1:-1]
    if (
        not colon
        or not host
        or (":" in host and not bracketed)
        or any(c.isspace() or c in "/[]" for c in host)
        or not (port.isascii() and port.isdigit())
        or not 1 <= int(port) <= 65535
    ):
        raise ValueError("HOST:PORT is accepted, with a port from 1 to 65535 and IPv6 numbers in brackets")
    return Address(host, int(port))


def parse_endpoint(text: str) -> Address:
    """
    The address in ``tcp://HOST:PORT``.

    Raises:
        ValueError: anything else; the message says what is accepted.
    """
    scheme, separator, rest = text.partition("://")
    if scheme != "tcp" or not separator:
        raise ValueError("tcp://HOST:PORT is accepted")
    try:
        return parse_address(rest)
    except ValueError as error:
        raise ValueError(f"tcp://{error}") from None


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a listener that is bound to ``host``. A name counts only if it is localhost."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
