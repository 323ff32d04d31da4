"""
Who may connect to the CURVE sockets of this process: the ZAP handler (https://rfc.zeromq.org/spec/27/).

libzmq asks it during each handshake. A connection is let in when its key is in the allow-list and the owner's role is
accepted, by this process and by the socket; it then carries the user id ``role:name``, which :func:`user_of` reads from
each frame. The handler lives in the process that binds the sockets, and before they are bound.

What this module does not do: end connections whose key is withdrawn later (ZeroMQ has no call for that): whoever serves
them compares the user with the allow-list.
"""

from __future__ import annotations

import logging

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
    """

    accepted: int = 0
    refused: int = 0
    malformed: int = 0


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
            if user is None:
                counts.refused += 1
                address = frames[4].decode("utf-8", "replace")
                _log.warning("connection refused", extra={"address": address, "reason": reason})
                answer = [b"400", reason.encode(), b"", b""]
            else:
                counts.accepted += 1
                answer = [b"200", b"OK", ":".join(user).encode(), b""]
            try:
                socket.send_nowait([peer, b"", VERSION, frames[2], *answer])
            except (PeerGone, trio.WouldBlock):
                # The handshake was given up meanwhile; the client tries again.
                _log.info("a handshake was given up before it was answered")
    finally:
        socket.close()


def user_of(frame: zmq.Frame) -> tuple[str, str]:
    """
    (role, name) of whoever sent a frame that came through a CURVE socket.

    Raises:
        ProtocolError: the connection was not authenticated.
    """
    try:
        user = frame.get("User-Id")
    except zmq.ZMQError:
        user = ""
    role, colon, name = str(user).partition(":")
    if not colon:
        raise ProtocolError("a message from a connection that is not authenticated")
    return role, name
