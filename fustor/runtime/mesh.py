"""
A ZeroMQ socket for trio tasks.

``ZMQ_FD`` is edge-triggered, one descriptor for both directions, and almost every call on the socket may swallow an
edge that another task waits for (zmq_getsockopt(3), ``ZMQ_FD``). Hence the rules here:

1. Try the operation first, without blocking; wait only after ``EAGAIN``.
2. After ``EAGAIN`` read ``ZMQ_EVENTS``, which also processes pending commands; if the wanted bit is there, try again.
3. One waiting task, the *poller*, sits in ``wait_readable`` (trio allows one per descriptor); the others are parked.
4. Every operation and every read of ``ZMQ_EVENTS`` made while somebody waits is followed by waking one waiter per bit
   seen.
5. A poller that leaves, for whatever reason (edge, cancellation, close), lets the first parked task of each direction
   try again, and so take its place.
6. On a ROUTER ``POLLOUT`` means nothing; whoever waits to send tries again after each operation, each edge, and 10 ms.
7. A woken task tries its operation before anything else, so a wake-up is never lost to a cancellation.

A message is sent or received in one synchronous call, with no checkpoint after it: a cancelled :meth:`MeshSocket.send`
has not sent, and a cancelled :meth:`MeshSocket.receive` has not taken anything from the socket.

What this module does not do: create or configure sockets (see :mod:`fustor.runtime.sockets`), encode, or reconnect.
"""

from __future__ import annotations

import errno
import math
import select
from collections.abc import Callable, Sequence
from typing import TypeVar

import attrs
import trio
import zmq

from fustor.runtime.pace import moment_after
from protocols.errors import FustorError

T = TypeVar("T")

#: Immediate successes after which a checkpoint is made, so that a busy socket can't starve the other tasks.
BURST = 32
#: The poller looks at ``ZMQ_EVENTS`` without an edge at common moments so many seconds apart. What it finds is a fault
#: of this module.
SAFETY_SECONDS = 2.0
#: Seconds between two tries to send to a peer of a ROUTER whose queue is full, if nothing happens meanwhile.
FULL_PEER_SECONDS = 0.01


class PeerGone(FustorError):  # noqa: N818 - a state of the peer, not an error of ours
    """
    A ROUTER was to send to a peer that is not connected.

    Args:
        peer: its routing id.
    """

    def __init__(self, peer: bytes) -> None:
        self.peer = peer
        super().__init__(peer)

    def __str__(self) -> str:
        return f"peer {self.peer.hex()} is not connected"


@attrs.frozen
class MeshStatistics:
    """
    Attributes:
        sent, received: messages.
        missed_edge: how often the safety poll found what no edge had told; always 0 unless this module is wrong.
        tasks_waiting_receive, tasks_waiting_send: now.
    """

    sent: int
    received: int
    missed_edge: int
    tasks_waiting_receive: int
    tasks_waiting_send: int


class MeshSocket:
    """
    Any number of tasks may send and receive on one socket; each operation is whole or not at all.

    Args:
        socket: a configured socket; this object owns it from now on.
        burst: immediate successes between two checkpoints.
        safety_seconds: period of the safety poll.
    """

    def __init__(
        self, socket: zmq.Socket[bytes], *, burst: int = BURST, safety_seconds: float = SAFETY_SECONDS
    ) -> None:
        self.socket = socket
        self._fd = socket.fileno()
        self._router = socket.type == zmq.ROUTER
        self._burst = burst
        self._safety_seconds = safety_seconds
        self._streak = 0
        self._sent = 0
        self._received = 0
        self._missed_edge = 0
        self._parked: dict[int, trio.lowlevel.ParkingLot] = {
            zmq.POLLIN: trio.lowlevel.ParkingLot(),
            zmq.POLLOUT: trio.lowlevel.ParkingLot(),
        }
        #: Scope around the poller's wait_readable; None when nobody polls.
        self._poll_scope: trio.CancelScope | None = None
        #: What the poller wants; 0 when nobody polls.
        self._poll_flag = 0
        #: Another task has seen what the poller wants, and cancelled its scope.
        self._called = False

    # -- public ------------------------------------------------------------------------------------------------------

    async def send(self, frames: Sequence[bytes]) -> None:
        """
        Send one message; waits while the high-water mark is reached or, with ``IMMEDIATE``, nobody is connected.

        Raises:
            PeerGone: a ROUTER does not know the peer named by the first frame.
            trio.ClosedResourceError: the socket is closed.
        """
        await self._run(self._send_once, zmq.POLLOUT, frames)

    def send_nowait(self, frames: Sequence[bytes]) -> None:
        """
        As :meth:`send`, without waiting.

        Raises:
            trio.WouldBlock: it would have to wait; nothing was sent.
        """
        self._run_nowait(self._send_once, zmq.POLLOUT, frames)

    async def receive(self) -> list[bytes]:
        """
        The next message; waits for one.

        Raises:
            trio.ClosedResourceError: the socket is closed.
        """
        return await self._run(self._receive_once, zmq.POLLIN, ())

    def receive_nowait(self) -> list[bytes]:
        """
        As :meth:`receive`, without waiting.

        Raises:
            trio.WouldBlock: there is no message.
        """
        return self._run_nowait(self._receive_once, zmq.POLLIN, ())

    async def receive_frames(self) -> list[zmq.Frame]:
        """As :meth:`receive`, but frames, which carry the metadata of the connection (its user id)."""
        return await self._run(self._receive_frames_once, zmq.POLLIN, ())

    def receive_frames_nowait(self) -> list[zmq.Frame]:
        """As :meth:`receive_nowait`, but frames."""
        return self._run_nowait(self._receive_frames_once, zmq.POLLIN, ())

    async def wait_readable(self) -> None:
        """Wait until there is a message to receive; another task may be faster to take it."""
        await self._run(self._readable_once, zmq.POLLIN, ())

    async def wait_writable(self) -> None:
        """Wait until a message can be sent: with ``IMMEDIATE``, until somebody is connected."""
        await self._run(self._writable_once, zmq.POLLOUT, ())

    def close(self) -> None:
        """Close the socket; whoever waits on it gets :class:`trio.ClosedResourceError`. Idempotent."""
        if self.socket.closed:
            return
        trio.lowlevel.notify_closing(self._fd)
        self.socket.close(linger=0)
        for lot in self._parked.values():
            lot.unpark_all()

    def statistics(self) -> MeshStatistics:
        """Counts since the beginning and who waits now."""
        waiting = {flag: len(lot) + (self._poll_flag == flag) for flag, lot in self._parked.items()}
        return MeshStatistics(
            sent=self._sent,
            received=self._received,
            missed_edge=self._missed_edge,
            tasks_waiting_receive=waiting[zmq.POLLIN],
            tasks_waiting_send=waiting[zmq.POLLOUT],
        )

    # -- one try -----------------------------------------------------------------------------------------------------

    def _send_once(self, frames: Sequence[bytes]) -> None:
        self.socket.send_multipart(frames, zmq.NOBLOCK)
        self._sent += 1

    def _receive_once(self, _: Sequence[bytes]) -> list[bytes]:
        frames = self.socket.recv_multipart(zmq.NOBLOCK)
        self._received += 1
        return frames

    def _receive_frames_once(self, _: Sequence[bytes]) -> list[zmq.Frame]:
        frames = self.socket.recv_multipart(zmq.NOBLOCK, copy=False)
        self._received += 1
        return frames

    def _readable_once(self, _: Sequence[bytes]) -> None:
        if not self._events() & zmq.POLLIN:
            raise zmq.Again

    def _writable_once(self, _: Sequence[bytes]) -> None:
        if not self._events() & zmq.POLLOUT:
            raise zmq.Again

    def _try(self, operation: Callable[[Sequence[bytes]], T], frames: Sequence[bytes]) -> T:
        """One try with the errors of zmq told apart; :class:`zmq.Again` passes through."""
        if self.socket.closed:
            raise trio.ClosedResourceError("this socket was closed")
        try:
            result = operation(frames)
        except zmq.Again:
            raise
        except zmq.ContextTerminated:
            raise trio.ClosedResourceError("the context of this socket was terminated") from None
        except zmq.ZMQError as error:
            if error.errno == errno.EHOSTUNREACH:
                self._pass_on()
                raise PeerGone(bytes(frames[0])) from None
            raise
        self._pass_on()
        return result

    # -- waiting -----------------------------------------------------------------------------------------------------

    def _run_nowait(self, operation: Callable[[Sequence[bytes]], T], flag: int, frames: Sequence[bytes]) -> T:
        try:
            return self._try(operation, frames)
        except zmq.Again:
            # A try may skip pending commands (a new connection, credit from the peer); reading the events may not.
            events = self._events()
        if events & flag or self._router:
            try:
                return self._try(operation, frames)
            except zmq.Again:
                events = self._events()
        self._wake(events)
        raise trio.WouldBlock

    async def _run(self, operation: Callable[[Sequence[bytes]], T], flag: int, frames: Sequence[bytes]) -> T:
        self._streak += 1
        if self._streak >= self._burst:
            self._streak = 0
            await trio.lowlevel.checkpoint()
        while True:
            try:
                return self._try(operation, frames)
            except zmq.Again:
                self._streak = 0
            if self._router and flag == zmq.POLLOUT:
                with trio.move_on_after(FULL_PEER_SECONDS):
                    await self._wait(flag)
            else:
                await self._wait(flag)

    async def _wait(self, flag: int) -> None:
        """Return when the operation of ``flag`` is worth another try."""
        events = self._events()
        self._wake(events & ~flag)
        if events & flag:
            # Should zmq go on claiming what it does not keep; whoever is cancelled here passes the bit on.
            try:
                await trio.lowlevel.checkpoint()
            except trio.Cancelled:
                self._wake(events & flag)
                raise
            return
        if self._poll_scope is not None:
            await self._parked[flag].park()
            return
        self._poll_flag = flag
        self._called = False
        try:
            await self._poll()
        finally:
            self._poll_scope = None
            self._poll_flag = 0
            self._parked[zmq.POLLIN].unpark()
            # Those who wait on a ROUTER wait for different peers, and the edge does not say which has room.
            self._parked[zmq.POLLOUT].unpark(count=math.inf if self._router else 1)

    async def _poll(self) -> None:
        """Sit in wait_readable until an edge comes or another task calls; count what only the safety poll found."""
        while True:
            deadline = moment_after(self._safety_seconds, self._safety_seconds / 2)
            with trio.CancelScope(deadline=deadline) as self._poll_scope:
                await trio.lowlevel.wait_readable(self._fd)
                return
            if self._called or self.socket.closed or self._edge():
                return
            events = self._events()
            wanted = self._poll_flag
            for waited, lot in self._parked.items():
                wanted |= waited if lot else 0
            if events & wanted:
                self._missed_edge += 1
                self._wake(events & ~self._poll_flag)
                return

    def _edge(self) -> bool:
        """Whether an edge is there that trio has not told yet."""
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        return bool(poll.poll(0))

    def _events(self) -> int:
        """``ZMQ_EVENTS``; without ``POLLOUT`` on a ROUTER, which always claims it, whichever peer is meant."""
        if self.socket.closed:
            return 0
        try:
            events = int(self.socket.getsockopt(zmq.EVENTS))
        except zmq.ContextTerminated:
            return zmq.POLLIN | zmq.POLLOUT  # the next try says so
        return events & ~zmq.POLLOUT if self._router else events

    def _pass_on(self) -> None:
        """After an operation: it may have swallowed the edge that somebody waits for."""
        if self._poll_scope is not None or any(self._parked.values()):
            self._wake(self._events() | (zmq.POLLOUT if self._router else 0))

    def _wake(self, events: int) -> None:
        """Wake one waiter per bit in ``events``: the poller if it is its bit, else the first that is parked."""
        for flag, lot in self._parked.items():
            if not events & flag:
                continue
            if self._poll_flag == flag and self._poll_scope is not None:
                self._called = True
                self._poll_scope.cancel()
            else:
                lot.unpark()
