"""
The tree stores of the views: opened when they are there, opened anew when they were replaced.

A store that is not there yet, or can't be read, is not an error here: ``acquire`` gives None, and the answer says that
nothing is known. What is under way goes on in the store in which it began.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from actors.query.cache import AnswerCache
from actors.query.face import Face, FaceMaker
from actors.query.freshness import EMPTY
from fustor.treestore.environment import StoreMissingError, boottime_ns, inode_of
from fustor.treestore.reader import Reader, Snapshot, SourceStatus, Status
from protocols.errors import MachineError

#: Time between two looks whether another store is there (one stat(2) each). As long as one worker has seen it and
#: another has not, generations go back for who asks both.
_LOOK_NS = 1_000_000
#: Time between two tries to open the same file that could not be opened.
_RETRY_NS = 1_000_000_000
#: Freshness is computed anew when it is older than this; a millisecond is what the answers show.
_FACE_NS = 1_000_000


class Lease:
    """A snapshot of a store and the face that belongs to it. Close it; twice is harmless."""

    __slots__ = ("_open", "face", "snapshot")

    def __init__(self, opened: _Open, snapshot: Snapshot, face: Face) -> None:
        self._open: _Open | None = opened
        self.snapshot = snapshot
        self.face = face

    def close(self) -> None:
        """End the snapshot."""
        opened, self._open = self._open, None
        if opened is not None:
            self.snapshot.close()
            opened.leave()


class _Open:
    """An open store with the number of those who use it: it is closed by the last one after it was retired."""

    __slots__ = ("reader", "retired", "users")

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.users = 0
        self.retired = False

    def leave(self) -> None:
        self.users -= 1
        if self.retired and not self.users:
            self.reader.close()

    def retire(self) -> None:
        self.retired = True
        if not self.users:
            self.reader.close()


class ViewStore:
    """
    The store of one view.

    Args:
        view: its name.
        path: its folder.
        lease_seconds: see :func:`~actors.query.freshness.view_status`.
        counters: ``store_opened`` and ``store_failures`` are counted here.
        log: for what can't be opened.
        cache_bytes: of rendered answers that are kept.
    """

    def __init__(
        self,
        view: str,
        path: str,
        lease_seconds: float,
        counters: dict[str, int],
        log: logging.Logger,
        cache_bytes: int = 0,
    ) -> None:
        self.view = view
        self.cache = AnswerCache(cache_bytes)
        self.path = path
        self._lease_seconds = lease_seconds
        self._counters = counters
        self._log = log
        for name in ("store_opened", "store_failures"):
            counters.setdefault(name, 0)
        self._current: _Open | None = None
        self._look_ns = 0
        #: What could not be read, and when it may be tried again.
        self._refused: tuple[int, int] | None = None
        self._retry_ns = 0
        self._stored: Status | None = None
        self._maker = FaceMaker(view, None, lease_seconds)
        self._face = self._maker.at(0)
        self._face_ns = -_FACE_NS

    def acquire(self) -> Lease | None:
        """A snapshot of the front; None when there is no store that can be read."""
        now = boottime_ns()
        if now >= self._look_ns:
            self._look(now)
        opened = self._current
        if opened is None:
            return None
        try:
            snapshot = opened.reader.snapshot()
        except MachineError as error:
            self.failed(error)
            return None
        try:
            stored = snapshot.status()
            if stored is not self._stored:
                self._maker = FaceMaker(self.view, stored, self._lease_seconds)
                self._face, self._face_ns, self._stored = self._maker.at(now), now, stored
            elif not 0 <= now - self._face_ns < _FACE_NS:
                self._face, self._face_ns = self._maker.at(now), now
        except MachineError as error:
            snapshot.close()
            self.failed(error)
            return None
        opened.users += 1
        return Lease(opened, snapshot, self._face)

    def sources(self) -> tuple[SourceStatus, ...]:
        """The sources of the view, as its store knows them; none when there is no store."""
        lease = self.acquire()
        if lease is None or self._stored is None:
            return ()
        lease.close()
        return tuple(self._stored.sources)

    def nothing(self) -> Face:
        """The face of a view without a store."""
        return FaceMaker(self.view, None, self._lease_seconds).at(0)

    def state(self) -> str:
        """The state of the view now."""
        lease = self.acquire()
        if lease is None:
            return EMPTY
        lease.close()
        return lease.face.state

    def _look(self, now: int) -> None:
        """Open what is there, if it is not what is open; what was open stays until there is something else."""
        self._look_ns = now + (_LOOK_NS if self._current else 0)
        there = inode_of(self.path)
        if there is None or (self._current is not None and there == self._current.reader.environment.inode):
            return
        if there == self._refused and now < self._retry_ns:
            return
        try:
            reader = Reader(self.path)
        except StoreMissingError:
            return
        except MachineError as error:
            self.failed(error)
            return
        if self._current is not None:
            self._current.retire()
        self._current = _Open(reader)
        self._counters["store_opened"] += 1
        self._look_ns = now + _LOOK_NS

    def failed(self, error: MachineError) -> None:
        """Count and log that the store could not be read; the log has the 1st, 2nd, 4th, 8th, … time."""
        self._counters["store_failures"] += 1
        self._refused = inode_of(self.path)
        self._retry_ns = boottime_ns() + _RETRY_NS
        times = self._counters["store_failures"]
        if times & (times - 1) == 0:
            self._log.error("view %s can't be read (%d times): %s", self.view, times, error)

    def close(self) -> None:
        """Close the store once nobody uses it."""
        if self._current is not None:
            self._current.retire()
            self._current = None


class Stores:
    """
    The stores of all views.

    Args:
        views: folder by name.
        default: the view that is meant when none is named.
        lease_seconds, counters, log, cache_bytes: see :class:`ViewStore`; of the cache of each.
    """

    def __init__(
        self,
        views: Mapping[str, str],
        default: str,
        lease_seconds: float,
        counters: dict[str, int],
        log: logging.Logger,
        cache_bytes: int = 0,
    ) -> None:
        self.views = {
            name: ViewStore(name, path, lease_seconds, counters, log, cache_bytes) for name, path in views.items()
        }
        self.default = default

    def close(self) -> None:
        """Close all of them."""
        for store in self.views.values():
            store.close()
