"""
Who may connect to the CURVE sockets of this process: the ZAP handler (https://rfc.zeromq.org/spec/27/).

libzmq asks it during each handshake. A connection is let in when its key is in the allow-list and the owner's role is
accepted, by this process and by the socket; it then carries the user id ``role:name:key``, which :func:`user_of` reads
from each frame. The handler lives in the process that binds the sockets, and before they are bound.

A key may be withdrawn while it is in use, and ZeroMQ has no call that ends one peer's connection. So whoever serves a
socket asks a :class:`Fence` who sent each message: it compares with the allow-list again, and ends the connection of a
key that is not in it any more by shutting its TCP connection down, which libzmq takes for a peer that left.

What this module does not do: look for withdrawn keys by itself. A connection that sends nothing gets nothing either,
except from a publisher (:mod:`fustor.runtime.audience`).
"""

from __future__ import annotations

import logging
import os
import socket as sockets
from typing import Any

import attrs
import trio
import zmq
from zmq.utils import z85

from fustor.runtime.keys import AuthorizedKeys
from fustor.runtime.mesh import MeshSocket, PeerGone
from fustor.runtime.sockets import open_socket, roles_of
from protocols.errors import ProtocolError

_log = logging.getLogger(__name__)

#: Fixed by the specification.
ENDPOINT = "inproc://zeromq.zap.01"
VERSION = b"1.0"

#: Frames of a request from its version on: version, request id, domain, address, identity, mechanism.
_FIXED = 6


@attrs.define
class ZapCounts:
    """
    Attributes:
        accepted: handshakes let in.
        refused: handshakes turned away.
        malformed: requests that libzmq should never make.
        fenced: messages of connections whose key has been withdrawn.
    """

    accepted: int = 0
    refused: int = 0
    malformed: int = 0
    fenced: int = 0


def judge(frames: list[bytes], authorized: AuthorizedKeys, roles: frozenset[str]) -> tuple[tuple[str, str] | None, str]:
    """
    The decision on one request.

    Args:
        frames: the request from its version on.
        authorized: the allow-list.
        roles: accepted by this process.

    Returns:
        (role, name) or None for a refusal, and the reason of it.
    """
    domain, mechanism, credentials = frames[2], frames[5], frames[_FIXED:]
    if mechanism != b"CURVE" or len(credentials) != 1 or len(credentials[0]) != 32:
        return None, "not a CURVE key"
    found = authorized.lookup(z85.encode(credentials[0]).decode())
    if found is None:
        return None, "unknown key"
    name, role = found
    if role not in roles or role not in roles_of(domain.decode("utf-8", "replace")):
        return None, f"role {role} of {name} is not accepted here"
    return (role, name), ""


async def serve_zap(
    context: zmq.Context[zmq.Socket[bytes]],
    authorized: AuthorizedKeys,
    roles: frozenset[str],
    *,
    counts: ZapCounts | None = None,
    task_status: trio.TaskStatus[ZapCounts] = trio.TASK_STATUS_IGNORED,
) -> None:
    """
    Answer the handshakes of ``context`` until cancelled. ``task_status.started`` brings the live counts.

    Args:
        context: whose sockets it guards; one handler per context.
        authorized: the allow-list.
        roles: accepted by any socket of this context.
        counts: to count in; made when not given.

    Raises:
        MachineError: the context has a handler already.
    """
    counts = ZapCounts() if counts is None else counts
    socket = MeshSocket(open_socket(context, zmq.ROUTER, bind=ENDPOINT))
    try:
        task_status.started(counts)
        while True:
            peer, *frames = await socket.receive()
            if len(frames) < 1 + _FIXED or frames[1] != VERSION:
                counts.malformed += 1
                _log.error("malformed ZAP request", extra={"frames": len(frames)})
                continue
            user, reason = judge(frames[1:], authorized, roles)
            key = z85.encode(frames[1 + _FIXED]).decode() if user else ""
            if user is None:
                counts.refused += 1
                address = frames[4].decode("utf-8", "replace")
                _log.warning("connection refused", extra={"address": address, "reason": reason})
                answer = [b"400", reason.encode(), b"", b""]
            else:
                counts.accepted += 1
                answer = [b"200", b"OK", ":".join((*user, key)).encode(), b""]
            try:
                socket.send_nowait([peer, b"", VERSION, frames[2], *answer])
            except (PeerGone, trio.WouldBlock):
                # The handshake was given up meanwhile; the client tries again.
                _log.info("a handshake was given up before it was answered")
    finally:
        socket.close()


class KeyWithdrawn(ProtocolError):  # noqa: N818 - says what is the case
    """A message of a key that was let in and is not in the allow-list any more."""


def credentials_of(frame: zmq.Frame) -> tuple[str, str, str]:
    """
    (role, name, public key) of whoever sent a frame that came through a CURVE socket.

    Raises:
        ProtocolError: the connection was not authenticated.
    """
    try:
        user = frame.get("User-Id")
    except zmq.ZMQError:
        user = ""
    # Roles and names hold no colon; keys may.
    parts = str(user).split(":", 2)
    if len(parts) != 3:
        raise ProtocolError("a message from a connection that is not authenticated")
    return parts[0], parts[1], parts[2]


def user_of(frame: zmq.Frame) -> tuple[str, str]:
    """
    (role, name) of whoever sent a frame that came through a CURVE socket, as it was when the connection was made.

    Raises:
        ProtocolError: the connection was not authenticated.
    """
    return credentials_of(frame)[:2]


@attrs.frozen
class Connection:
    """
    A TCP connection of libzmq's.

    Attributes:
        fd: its descriptor, in this process.
        peer: address of the other end: tells it from a later connection with the same descriptor.
    """

    fd: int
    peer: Any

    @classmethod
    def of(cls, frame: zmq.Frame) -> Connection:
        """The one that a frame came by."""
        fd = int(frame.get(zmq.SRCFD))
        try:
            with _duplicate(fd) as own:
                return cls(fd, own.getpeername())
        except OSError:
            return cls(-1, None)  # it is gone already

    def is_open(self) -> bool:
        """Whether it is there, and not another one that got its descriptor."""
        try:
            with _duplicate(self.fd) as own:
                return bool(own.getpeername() == self.peer)
        except OSError:
            return False

    def end(self) -> bool:
        """Shut it down; False when it is gone already."""
        try:
            with _duplicate(self.fd) as own:
                if own.getpeername() != self.peer:
                    return False
                own.shutdown(sockets.SHUT_RDWR)
        except OSError:
            return False
        return True


def _duplicate(fd: int) -> sockets.socket:
    duplicate = os.dup(fd)
    try:
        return sockets.socket(fileno=duplicate)
    except OSError:
        os.close(duplicate)
        raise


@attrs.frozen
class Fence:
    """
    Attributes:
        authorized: the allow-list.
        counts: ``fenced`` is counted here.
    """

    authorized: AuthorizedKeys
    counts: ZapCounts = attrs.field(factory=ZapCounts)

    def user_of(self, frame: zmq.Frame) -> tuple[str, str]:
        """
        As :func:`user_of`, for a key that still is what it was.

        Raises:
            KeyWithdrawn: it is not; its connection is ended.
            ProtocolError: the connection was not authenticated.
        """
        role, name, key = credentials_of(frame)
        if not self.holds(role, name, key):
            self.counts.fenced += 1
            Connection.of(frame).end()
            _log.warning("a key was withdrawn, its connection is ended", extra={"role": role, "owner": name})
            raise KeyWithdrawn(f"the key of {role} {name} has been withdrawn")
        return role, name

    def holds(self, role: str, name: str, key: str) -> bool:
        """Whether a key is in the allow-list, for this name and role."""
        return self.authorized.lookup(key) == (name, role)
