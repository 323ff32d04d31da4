"""
The thread that looks, and its replacement while the storage does not answer.

One thread at a time owns the sockets: it takes a work message, looks, and sends what it found. When it has touched
nothing new for ``stuck_seconds`` in the middle of a work, the main thread declares it stuck: another thread takes over
the sockets, reports what was found before the hang and at which name it hangs, and goes on with other work. When the
hung call returns, its thread sees that it was replaced, leaves a note and ends.

What this module does not do: decide what is looked at.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol

import attrs
import zmq

from actors.scanner.channel import WatcherChannel
from actors.scanner.look import Looker, Part, Place
from fustor.runtime.config import between
from fustor.runtime.handling import Handling
from protocols.codec import DATA_LIMITS, decode, encode, pack
from protocols.data import OK, Found, Stuck, Unstuck, Work
from protocols.errors import ProtocolError


@attrs.frozen
class ScannerLimits:
    """
    Bounds of a scanner.

    Attributes:
        stuck_seconds: a system call that takes longer is declared stuck.
        most_stuck: stuck threads at a time; above it the scanner waits, and says so.
        rows_per_message: findings are sent at the latest with this many rows.
    """

    stuck_seconds: float = attrs.field(default=5.0, validator=between(0.05, 3600))
    most_stuck: int = attrs.field(default=16, validator=between(0, 1000))
    rows_per_message: int = attrs.field(default=2000, validator=between(1, 1_000_000))


class Host(Protocol):
    """What a worker needs of its actor host."""

    counters: dict[str, int]
    gauges: dict[str, int]
    outstanding: bool
    state: str


#: A system call that takes longer is a wait for storage, and no hang of ours.
SLOW_SECONDS = 1.0


class Replaced(Exception):  # noqa: N818 - a turn of events, not an error
    """Raised in a thread that finds that another one has taken over, or that it shall end."""


class Worker:
    """
    Args:
        slot: this scanner's number.
        open_work: opens the PULL socket for an endpoint that the watcher names; closed by the worker.
        found: the PUSH socket. Both are handed from thread to thread, never used by two at once.
        channel_path: unix socket of the watcher.
        make_looker: builds a looker for one thread.
        host: counters (entries, works, stuck, refused), gauges and state for the beat.
        rules: told to the watcher, which takes scanners of its own rules only.
        note: where what is being touched is written down.
    """

    def __init__(
        self,
        slot: int,
        open_work: Callable[[str], zmq.Socket[bytes]],
        found: zmq.Socket[bytes],
        channel_path: str,
        make_looker: Callable[[Callable[[int], int], Place], Looker],
        host: Host,
        limits: ScannerLimits,
        rules: str = "",
        note: Handling | None = None,
    ) -> None:
        self._slot = slot
        self._rules = rules
        self._open_work, self._found_socket = open_work, found
        self._work_socket: zmq.Socket[bytes] | None = None  # there as long as the channel is
        self._channel_path = channel_path
        self._make_looker = make_looker
        self._host = host
        self._limits = limits
        self._lock = threading.Lock()
        self._turn = 0  # number of the thread that owns the sockets
        self._place = Place(note=note or Handling())
        self._work: Work | None = None
        self._outer: Work | None = None  # a long listing, interrupted for ``_work``
        self._parts: list[Part] = []
        self._sending = False
        self._failure: Exception | None = None
        self._channel: WatcherChannel | None = None
        self._stuck: dict[int, Unstuck] = {}
        self._notes: deque[Unstuck] = deque()
        self._names: deque[Work] = deque()
        self._lists: deque[Work] = deque()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._seen = (0, 0.0)

    # -- the main thread's side ---------------------------------------------------------------------------------------

    def adjust(self, limits: ScannerLimits) -> None:
        """Other bounds from now on; from any thread."""
        self._limits = limits

    def start(self) -> None:
        """Begin to work."""
        self._take_over([])

    def stop(self, seconds: float) -> bool:
        """
        End after the task in hand, or give up a thread that the storage holds for longer than ``seconds``.

        Returns:
            Whether the sockets are free to be closed; false only when the watcher takes nothing for so long.
        """
        if self._wake < 0:
            return True  # stopped before
        self._stopping = True
        os.eventfd_write(self._wake, 1)
        if self._thread is not None:
            self._thread.join(seconds)
        with self._lock:
            if self._sending:
                return False
            self._turn += 1
            self._hang_up()
            if not self._stuck and (self._thread is None or not self._thread.is_alive()):
                # Else a thread that returns still writes to it.
                os.close(self._wake)
                self._wake = -1
            return True

    @property
    def period(self) -> float:
        """Seconds between two checks."""
        return min(0.25, self._limits.stuck_seconds / 4)

    def check(self, now: float) -> None:
        """
        To be called several times within ``stuck_seconds``: replace a thread that hangs.

        Raises:
            Exception: whatever ended a looking thread.
        """
        if self._failure is not None:
            raise self._failure
        with self._lock:
            host, place, work = self._host, self._place, self._work
            # A watcher that takes nothing is no hang of ours.
            host.outstanding = work is not None and not self._sending
            if self._seen[0] != place.count:
                host.counters["steps"] = host.counters.get("steps", 0) + 1
            host.gauges["stuck"] = len(self._stuck)
            if work is None or self._sending or self._seen[0] != place.count:
                self._seen = (place.count, now)
                host.state = "waiting" if len(self._stuck) >= self._limits.most_stuck else "running"
                return
            if now - self._seen[1] >= min(SLOW_SECONDS, self._limits.stuck_seconds):
                host.state = "waiting"
            if now - self._seen[1] < self._limits.stuck_seconds:
                return
            if len(self._stuck) >= self._limits.most_stuck:
                host.state = "waiting"
                return
            self._stuck[self._turn] = Unstuck(slot=self._slot, epoch=work.epoch, dir=place.dir, name=place.name)
            host.counters["stuck"] += 1
            stuck = Stuck(slot=self._slot, epoch=work.epoch, number=work.number, dir=place.dir, name=place.name)
            first = [self._message(work, list(self._parts), last=False), [encode(stuck)]]
            if self._outer is not None:
                # It was interrupted by the one that hangs: what is left of it is handed out again.
                first.append(self._message(self._outer, [], last=True))
            self._work, self._outer, self._parts = None, None, []
            self._take_over(first)

    def _take_over(self, first: list[list[bytes]]) -> None:
        self._turn += 1
        # A thread that hangs and returns one day goes on for a while, and its note must not cover this one's.
        self._place = Place(note=self._place.note.successor())
        self._seen = (-1, 0.0)
        self._thread = threading.Thread(
            target=self._run, args=(self._turn, self._place, first), name=f"looker-{self._turn}", daemon=True
        )
        self._thread.start()

    # -- the looking thread's side ------------------------------------------------------------------------------------

    def _run(self, turn: int, place: Place, first: list[list[bytes]]) -> None:
        try:
            for frames in first:
                self._send(turn, frames)
            while not self._stopping:
                self._round(turn, place)
        except Replaced:
            with self._lock:
                note = self._stuck.pop(turn, None)
                if note is not None and self._wake >= 0:  # else everything was stopped meanwhile
                    self._notes.append(note)
                    os.eventfd_write(self._wake, 1)
        except Exception as error:
            self._failure = error  # for the main thread, which ends the process by it

    def _round(self, turn: int, place: Place) -> None:
        """Wait for work, do one message of it."""
        channel = self._channel
        if channel is None:
            try:
                channel = self._channel = WatcherChannel.connect(self._channel_path, self._slot, self._rules)
                self._work_socket = self._open_work(channel.work)
            except OSError:
                # No watcher yet: it is started by the same hands as we are.
                self._wait(None, 100)
                return
        if not self._names and not self._lists and not self._wait(channel, -1):
            # A watcher that ends our connection may do it again: it is asked not more often than this.
            self._wait(None, 20)
            return
        self._receive(turn, channel)
        while self._notes:
            self._send(turn, [encode(self._notes.popleft())])
        work = self._names.popleft() if self._names else self._lists.popleft() if self._lists else None
        if work is not None:
            self._do(turn, place, channel, work)

    def _hang_up(self) -> None:
        """What was sent to us and not read is handed out again."""
        channel, self._channel = self._channel, None
        work, self._work_socket = self._work_socket, None
        if channel is not None:
            channel.close()
        if work is not None:
            work.close(linger=0)

    def _wait(self, channel: WatcherChannel | None, milliseconds: int) -> bool:
        """Until there is work, a note, a stop, or the end of the channel (False)."""
        poller = zmq.Poller()
        poller.register(self._wake, zmq.POLLIN)
        if channel is not None:
            poller.register(self._work_socket, zmq.POLLIN)
            poller.register(channel.connection.fileno(), zmq.POLLIN)
        ready = dict(poller.poll(milliseconds))
        if self._wake in ready:
            os.eventfd_read(self._wake)
        if channel is not None and channel.connection.fileno() in ready:
            # The watcher never speaks twice: this is the end of file.
            self._hang_up()
            self._names.clear()
            self._lists.clear()
            return False
        return True

    def _receive(self, turn: int, channel: WatcherChannel) -> None:
        """Take all work that has arrived; names before listings."""
        with self._lock:
            if self._turn != turn:
                raise Replaced
            while self._work_socket is not None:
                try:
                    frames = self._work_socket.recv_multipart(zmq.NOBLOCK)
                except zmq.Again:
                    return
                try:
                    work = decode(frames[0], Work, limits=DATA_LIMITS)
                except ProtocolError:
                    self._host.counters["refused"] += 1
                    continue
                if work.epoch == channel.epoch:
                    queue = self._lists if any(task.names is None for task in work.tasks) else self._names
                    queue.append(work)

    def _do(self, turn: int, place: Place, channel: WatcherChannel, work: Work, outer: Work | None = None) -> None:
        """One work; ``outer``: the one that is interrupted for it."""
        looker = self._make_looker(channel.add_watch, place)
        parts: list[Part] = []
        self._begin(turn, work, parts, outer)
        rows = 0
        for task in work.tasks:
            if self._turn != turn or self._stopping:
                raise Replaced
            for part in looker.look(task):
                parts.append(part)
                rows += len(part[1])
                self._host.counters["entries"] += len(part[1])
                if rows >= self._limits.rows_per_message and (not part[0].last or task is not work.tasks[-1]):
                    self._send(turn, self._message(work, parts, last=False))
                    parts = []
                    rows = 0
                    if outer is None and part[0].listed:
                        self._interleave(turn, place, channel, work)
                    self._begin(turn, work, parts, outer)
        self._host.counters["works"] += 1
        self._send(turn, self._message(work, parts, last=True))
        with self._lock:
            if self._turn == turn:
                self._work = self._outer = None

    def _interleave(self, turn: int, place: Place, channel: WatcherChannel, work: Work) -> None:
        """Between the parts of a long listing: names that had events do not wait for its end."""
        self._receive(turn, channel)
        at = place.dir, place.name
        while self._names:
            self._do(turn, place, channel, self._names.popleft(), outer=work)
        place.dir, place.name = at

    def _begin(self, turn: int, work: Work, parts: list[Part], outer: Work | None) -> None:
        with self._lock:
            if self._turn != turn:
                raise Replaced
            self._work, self._parts, self._outer = work, parts, outer

    def _message(self, work: Work, parts: list[Part], *, last: bool) -> list[bytes]:
        found = Found(
            slot=self._slot,
            epoch=work.epoch,
            number=work.number,
            results=tuple([result for result, _ in parts]),
            last=last,
        )
        return [encode(found), pack([rows for result, rows in parts if result.status == OK])]

    def _send(self, turn: int, frames: list[bytes]) -> None:
        """Send, waiting while the watcher is slow; given up when it is gone."""
        with self._lock:
            if self._turn != turn:
                raise Replaced
            self._sending = True
        try:
            while not self._stopping:
                try:
                    self._found_socket.send_multipart(frames, zmq.NOBLOCK)
                    return
                except zmq.Again:
                    poller = zmq.Poller()
                    poller.register(self._found_socket, zmq.POLLOUT)
                    if self._channel is None:
                        return
                    poller.register(self._channel.connection.fileno(), zmq.POLLIN)
                    if self._channel.connection.fileno() in dict(poller.poll(1000)):
                        return  # the next round sees it too
        finally:
            self._sending = False
