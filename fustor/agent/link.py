"""
The ring around an agent's session: its DEALER to Fusion.

What this module does not do: decide when to log in, beat or give up a connection (:mod:`protocols.session` does), or
what follows from an answer (:mod:`fustor.agent.control` does).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any

import trio
import zmq

from fustor.runtime.mesh import MeshSocket
from fustor.runtime.sockets import ClientCurve, open_socket
from protocols.codec import decode, encode
from protocols.errors import ProtocolError, VersionError
from protocols.looks import Look, Looked
from protocols.messages import (
    Chunk,
    Document,
    Fetch,
    Happenings,
    HeartbeatReply,
    Login,
    LoginReply,
    Order,
    OrderResult,
    PayloadStatus,
    WantDocument,
)
from protocols.session import (
    Accepted,
    AgentEffect,
    AgentSession,
    AgentState,
    Reconnect,
    Refused,
    Send,
    Superseded,
)

#: Milliseconds that the last words may take to leave this host.
GOODBYE_MS = 500
#: Milliseconds between two pings of libzmq. Heartbeats tell who is gone, and Fusion has thousands of these links.
PING_MS = 10_000


class Link:
    """
    Keeps a session with Fusion.

    Args:
        context: for the socket.
        endpoint: Fusion's control endpoint.
        curve: gives the keys; asked for every connection, so that a key that comes later is found.
        session: not started yet.
        statuses: of the payloads, for heartbeats.
        on_outcome: told of Accepted, Superseded and Refused.
        on_request: told of an order, a fetch, a document or a look for this session; answers with :meth:`send`.
        on_reply: told of each answered heartbeat.
        log: for transitions.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        endpoint: str,
        curve: Callable[[], ClientCurve],
        session: AgentSession,
        *,
        statuses: Callable[[], tuple[PayloadStatus, ...]],
        on_outcome: Callable[[Accepted | Superseded | Refused], None],
        log: logging.Logger,
        on_request: Callable[[Order | Fetch | Document | Look], None] = lambda message: None,
        on_reply: Callable[[HeartbeatReply], None] = lambda message: None,
    ) -> None:
        self.session = session
        self.counters = dict.fromkeys(("connections", "bad_messages", "unsent", "strays"), 0)
        self._on_request = on_request
        self._on_reply = on_reply
        self._context = context
        self._endpoint = endpoint
        self._curve = curve
        self._statuses = statuses
        self._on_outcome = on_outcome
        self._log = log
        self._socket: MeshSocket | None = None
        self._pause = trio.CancelScope()
        #: Fusion speaks another version of the protocol, and that was said.
        self._foreign = False

    async def run(self) -> None:
        """
        Until cancelled.

        Raises:
            ConfigError, ConfigFaults: Fusion's key can't be read.
        """
        while True:
            curve = self._curve()
            raw = open_socket(self._context, zmq.DEALER, connect=self._endpoint, curve=curve, ping=PING_MS)
            self._socket = MeshSocket(raw)
            self.counters["connections"] += 1
            try:
                await self._converse(self._socket)
            finally:
                self._close()

    def send(self, message: Happenings | OrderResult | Chunk | WantDocument | Looked) -> bool:
        """Send it now if Fusion is there and takes it; whoever needs it asks again."""
        if self._socket is None or self.session.state is not AgentState.ONLINE:
            return False
        return self._send_nowait(self._socket, message)

    def hurry(self) -> None:
        """What heartbeats carry has changed: see :meth:`protocols.session.AgentSession.hurry`."""
        self.session.hurry(trio.current_time())
        self._pause.deadline = math.inf if self.session.wake_at is None else self.session.wake_at

    def goodbye(self, reason: str) -> None:
        """Last words; they leave while the link is being cancelled."""
        for effect in self.session.stop(reason, trio.current_time()):
            if isinstance(effect, Send) and self._socket is not None:
                self._send_nowait(self._socket, effect.message)

    async def _converse(self, socket: MeshSocket) -> None:
        """Until the session wants another connection."""
        session = self.session
        if session.state is AgentState.IDLE and not await self._carry_out(session.start(trio.current_time()), socket):
            return
        while True:
            effects: list[AgentEffect] = []
            with trio.move_on_at(math.inf if session.wake_at is None else session.wake_at) as self._pause:
                effects = self._hear(await socket.receive())
            effects += session.tick(trio.current_time(), self._statuses)
            if not await self._carry_out(effects, socket):
                return

    def _hear(self, frames: list[bytes]) -> list[AgentEffect]:
        try:
            message: Any = decode(frames[-1], LoginReply, HeartbeatReply, Order, Fetch, Document, Look)
        except ProtocolError as error:
            self.counters["bad_messages"] += 1
            level = logging.DEBUG
            if isinstance(error, VersionError) and not self._foreign:
                self._foreign, level = True, logging.ERROR  # once: it will be said again and again
            self._log.log(level, "Fusion is not understood", extra={"error": str(error)})
            return []
        if isinstance(message, Order | Fetch | Document | Look):
            if message.epoch != self.session.epoch or self.session.state is not AgentState.ONLINE:
                self.counters["strays"] += 1  # meant for another session
            else:
                self._on_request(message)
            return []
        self._foreign = False
        effects = self.session.receive(message, trio.current_time())
        if isinstance(message, HeartbeatReply) and self.session.state is AgentState.ONLINE:
            self._on_reply(message)
        return effects

    async def _carry_out(self, effects: list[AgentEffect], socket: MeshSocket) -> bool:
        """False when the connection is given up."""
        keep = True
        for effect in effects:
            match effect:
                case Send(Login() as login):
                    # Nothing else to do until there is a connection; the session's own deadline ends it.
                    with trio.move_on_at(math.inf if self.session.wake_at is None else self.session.wake_at):
                        await socket.send([encode(login)])
                case Send(message):
                    self._send_nowait(socket, message)
                case Reconnect():
                    self._log.info("Fusion does not answer", extra={"endpoint": self._endpoint})
                    keep = False
                case Accepted() | Superseded() | Refused():
                    self._on_outcome(effect)
        return keep

    def _send_nowait(self, socket: MeshSocket, message: Any) -> bool:
        try:
            socket.send_nowait([encode(message)])
        except trio.WouldBlock:
            self.counters["unsent"] += 1
            return False
        return True

    def _close(self) -> None:
        socket, self._socket = self._socket, None
        if socket is not None and self.session.state is AgentState.CLOSED and not socket.socket.closed:
            # Only this task waits on it, and it is here: what was said last may leave.
            socket.socket.close(linger=GOODBYE_MS)
        elif socket is not None:
            socket.close()
