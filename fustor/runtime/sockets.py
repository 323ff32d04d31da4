"""
ZeroMQ sockets with every default changed that does harm here.

What each option is for stands beside it; all of them are described in zmq_setsockopt(3). The functions here only
create sockets: waiting on them is :mod:`fustor.runtime.mesh`, deciding who may connect is :mod:`fustor.runtime.zap`.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable

import attrs
import zmq

from fustor.runtime.keys import ROLES
from protocols.codec import CONTROL_LIMITS
from protocols.errors import ConfigError, MachineError

#: Messages queued in each direction per connection.
HWM = 128

#: Milliseconds; of pings, also how many may be missing.
TCP_RECONNECT, TCP_RECONNECT_MAX = 100, 10_000
IPC_RECONNECT = 20
HANDSHAKE = 5_000
PING, PINGS = 2_000, 3

#: Seconds until the kernel probes an idle connection, between probes, and how many may stay unanswered.
KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_COUNT = 30, 10, 3

#: ZAP domains begin with this; the accepted roles follow. Never empty: an empty domain means no authentication at all.
DOMAIN = "fustor"


@attrs.frozen
class ServerCurve:
    """
    The bound side of an encrypted socket.

    Attributes:
        secret: our secret key, Z85.
        roles: whom this socket accepts; enforced by :func:`fustor.runtime.zap.serve_zap` of the same context.
    """

    secret: str = attrs.field(repr=False)
    roles: frozenset[str] = ROLES

    @property
    def domain(self) -> str:
        """ZAP domain: names the accepted roles, so that one handler serves sockets for different people."""
        return f"{DOMAIN}:{','.join(sorted(self.roles))}"


@attrs.frozen
class ClientCurve:
    """
    The connecting side; all keys are Z85.

    Attributes:
        server: the public key of which the server must prove that it has the secret.
        public, secret: our own.
    """

    server: str
    public: str
    secret: str = attrs.field(repr=False)


def roles_of(domain: str) -> frozenset[str]:
    """The roles in a ZAP domain made by :class:`ServerCurve`; none when it is not one."""
    head, _, roles = domain.partition(":")
    return frozenset(roles.split(",")) if head == DOMAIN and roles else frozenset()


def _set_curve(socket: zmq.Socket[bytes], curve: ServerCurve | ClientCurve) -> None:
    if isinstance(curve, ServerCurve):
        socket.curve_server = True
        socket.curve_secretkey = curve.secret.encode()
        socket.zap_domain = curve.domain.encode()
        # Without it a missing ZAP handler or domain lets everybody in.
        socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
    else:
        socket.curve_serverkey = curve.server.encode()
        socket.curve_publickey = curve.public.encode()
        socket.curve_secretkey = curve.secret.encode()


def _set_options(socket: zmq.Socket[bytes], endpoint: str, hwm: int, max_size: int, ping: int) -> None:
    socket.linger = 0  # close never waits for a peer
    socket.sndhwm = hwm
    socket.rcvhwm = hwm
    socket.maxmsgsize = max_size  # a longer frame ends the connection
    socket.handshake_ivl = HANDSHAKE
    if socket.type == zmq.ROUTER:
        socket.router_mandatory = True  # else a message that can't be routed is dropped without a word
    if socket.type == zmq.XPUB:
        socket.setsockopt(zmq.XPUB_VERBOSE, 1)  # each subscriber is told of, also to what another one has already
    if socket.type in (zmq.DEALER, zmq.PUSH):
        socket.immediate = True  # else messages queue up for a peer that is not there
    if endpoint.startswith("tcp://"):
        socket.ipv6 = True
        socket.reconnect_ivl = TCP_RECONNECT
        socket.reconnect_ivl_max = TCP_RECONNECT_MAX
        if ping:
            # Whoever connects pings, and says how long the other end may wait for the next one: so both know when the
            # other is gone, and a socket with thousands of connections has half of the work.
            socket.heartbeat_ivl = ping
            socket.heartbeat_timeout = ping * PINGS
            socket.heartbeat_ttl = ping * PINGS
        socket.tcp_keepalive = 1
        socket.tcp_keepalive_idle = KEEPALIVE_IDLE
        socket.tcp_keepalive_intvl = KEEPALIVE_INTERVAL
        socket.tcp_keepalive_cnt = KEEPALIVE_COUNT
    else:
        socket.reconnect_ivl = IPC_RECONNECT
        socket.reconnect_ivl_max = 0


def _explain(error: zmq.ZMQError, verb: str, endpoint: str) -> Exception:
    """What the operator, or whoever wrote the endpoint, can do about it."""
    if error.errno in (errno.EINVAL, errno.EPROTONOSUPPORT, errno.ENAMETOOLONG, zmq.ENOCOMPATPROTO):
        return ConfigError("endpoint", endpoint, "tcp://host:port or ipc://path of at most 107 bytes is accepted")
    advice = {
        errno.EADDRINUSE: "address in use; stop the process that has it, or choose another port",
        errno.EADDRNOTAVAIL: "this host has no such address; use one of its own, or 0.0.0.0 or [::]",
        errno.ENODEV: "this host has no such address or interface; use one of its own, or 0.0.0.0 or [::]",
        errno.EACCES: "permission denied; choose a port above 1023, or a folder you may write",
    }.get(error.errno or 0, error.strerror)
    return MachineError(f"can't {verb} {endpoint}: {advice}")


def open_socket(
    context: zmq.Context[zmq.Socket[bytes]],
    kind: int,
    *,
    bind: str = "",
    connect: str = "",
    hwm: int = HWM,
    max_size: int = CONTROL_LIMITS.size,
    curve: ServerCurve | ClientCurve | None = None,
    held: int | None = None,
    subscribe: Iterable[bytes] = (),
    ping: int = PING,
) -> zmq.Socket[bytes]:
    """
    A socket of ``kind`` (``zmq.DEALER``, …) with all options set, bound or connected.

    Args:
        context: becomes non-blocking: its termination never waits.
        bind, connect: exactly one endpoint.
        hwm: high-water mark of both directions, in messages per connection.
        max_size: bytes of one received frame; a peer that sends more is disconnected.
        curve: encryption and authentication; None for ipc and inproc.
        held: descriptor of a socket that listens at ``bind`` already, kept by the guardian so that nobody can take the
            port while we are gone and who connects meanwhile waits; it stays open (ZMQ_USE_FD). None: bind now.
        subscribe: topics of a SUB socket.
        ping: milliseconds between two pings of a connecting tcp socket; a connection ends when :data:`PINGS` are not
            answered, or do not come.

    Raises:
        MachineError: the endpoint can't be had on this host; says why and what to do.
        ConfigError: the endpoint is malformed.
    """
    if bool(bind) == bool(connect):
        raise ValueError("exactly one of bind and connect")
    endpoint = bind or connect
    context.setsockopt(zmq.BLOCKY, 0)
    socket = context.socket(kind)
    try:
        _set_options(socket, endpoint, hwm, max_size, ping if connect else 0)
        if curve is not None:
            _set_curve(socket, curve)
        for topic in subscribe:
            socket.setsockopt(zmq.SUBSCRIBE, topic)
        try:
            if bind:
                if held is not None:
                    socket.setsockopt(zmq.USE_FD, os.dup(held))  # closed together with the zmq socket
                socket.bind(bind)
            else:
                socket.connect(connect)
        except zmq.ZMQError as error:
            raise _explain(error, "bind" if bind else "connect to", endpoint) from None
    except BaseException:
        socket.close(linger=0)
        raise
    return socket
