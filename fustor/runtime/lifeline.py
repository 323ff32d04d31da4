"""
The lifeline: the DEALER by which an actor hears from its control actor and tells how it is.

A control actor that dies and comes back is met by the socket's own reconnection; the socket monitor tells of the new
connection, and Hello goes out at once. While no control actor is there nothing is queued, and nothing fails.

What this module does not do: decide anything about configurations, or end the process (see ``fustor.runtime.actor``).
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable

import trio
import zmq

from fustor.runtime.mesh import MeshSocket
from fustor.runtime.pace import moment_after
from fustor.runtime.sockets import open_socket
from protocols.codec import encode
from protocols.errors import ProtocolError
from protocols.lifeline import ActorLifeline
from protocols.looks import Enquiry, Findings, Look, Looked
from protocols.messages import Beat, Configure, Stop, Welcome

_log = logging.getLogger(__name__)

#: Relative to the working directory, which is the run folder of the side.
ENDPOINT = "ipc://lifeline"

#: Seconds between two Beats at least, however often the actor asks for one.
MIN_GAP_SECONDS = 0.01


class Lifeline:
    """
    Args:
        line: what we say.
        beat: the Beat of this moment.
        on_configure: called for each Configure.
        on_stop: called with the seconds that a Stop leaves.
        on_look: called for what is said of looks.
        endpoint: of the control actor's ROUTER.
    """

    def __init__(
        self,
        line: ActorLifeline,
        *,
        beat: Callable[[], Beat],
        on_configure: Callable[[Configure], None],
        on_stop: Callable[[float], None],
        on_look: Callable[[Look | Looked | Findings], None] = lambda message: None,
        endpoint: str = ENDPOINT,
    ) -> None:
        self._line = line
        self._beat = beat
        self._on_configure = on_configure
        self._on_stop = on_stop
        self._on_look = on_look
        self._endpoint = endpoint
        self._nudged = trio.Event()
        #: Messages that were none.
        self.refused_messages = 0
        #: How late this loop was when it last woke by the clock.
        self.lag_seconds = 0.0
        self._socket: MeshSocket | None = None

    def nudge(self) -> None:
        """Send a Beat now. To be called in the thread of :meth:`run`."""
        self._nudged.set()

    def tell_nowait(self) -> None:
        """Send a Beat before anything else is done. To be called in the thread of :meth:`run`."""
        # Nobody there, or slow: the next Beat says all that this one would have.
        with contextlib.suppress(trio.WouldBlock):
            if self._socket is not None:
                self._socket.send_nowait([encode(self._beat())])

    def send_nowait(self, message: Look | Looked | Enquiry) -> bool:
        """Say it now if the control actor takes it. To be called in the thread of :meth:`run`."""
        try:
            if self._socket is not None:
                self._socket.send_nowait([encode(message)])
        except trio.WouldBlock:
            return False
        return self._socket is not None

    async def run(self) -> None:
        """Keep the lifeline until cancelled."""
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        try:
            raw = open_socket(context, zmq.DEALER, connect=self._endpoint)
            socket = self._socket = MeshSocket(raw)
            monitor = MeshSocket(raw.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED))
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._greet, socket, monitor)
                    nursery.start_soon(self._listen, socket)
                    nursery.start_soon(self._tell)
            finally:
                self._socket = None
                raw.disable_monitor()
                monitor.close()
                socket.close()
        finally:
            context.term()

    async def _greet(self, socket: MeshSocket, monitor: MeshSocket) -> None:
        """Hello, on each new connection, and at the start: the first one may be older than the monitor."""
        while True:
            # The connection may be gone again: the next one gets its own Hello.
            with trio.move_on_after(self._line.beat_ms / 1000):
                await socket.send([encode(self._line.hello())])
            await monitor.receive()

    async def _listen(self, socket: MeshSocket) -> None:
        while True:
            frames = await socket.receive()
            before = self._line.incarnation
            try:
                message = self._line.receive(frames[0])
            except ProtocolError as error:
                self.refused_messages += 1
                _log.warning("message on the lifeline refused", extra={"error": str(error)})
                continue
            if isinstance(message, Welcome):
                if message.incarnation != before:
                    _log.info("control actor met", extra={"incarnation": message.incarnation})
                    self.nudge()
            elif isinstance(message, Configure):
                self._on_configure(message)
            elif isinstance(message, Stop):
                self._on_stop(max(0.0, message.deadline_ms / 1000))
            else:
                self._on_look(message)

    async def _tell(self) -> None:
        """A Beat in each interval and on each nudge."""
        while True:
            self._nudged = trio.Event()
            self.tell_nowait()
            said, due = trio.current_time(), moment_after(self._line.beat_ms / 1000)
            with trio.move_on_at(due) as pause:
                await self._nudged.wait()
            if pause.cancelled_caught:
                self.lag_seconds = trio.current_time() - due
            await trio.sleep_until(said + MIN_GAP_SECONDS)
