"""
The tree stores of the views: opened when they are there, opened anew when they were replaced.

A store that is not there yet, or can't be read, is not an error here: ``acquire`` gives None, and the answer says that
nothing is known. What is under way goes on in the store in which it began.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping

import attrs

from actors.query.answer import HeaderBlock
from actors.query.freshness import EMPTY, ViewStatus, view_status
from fustor.treestore.environment import StoreMissingError, boottime_ns
from fustor.treestore.reader import Reader, Snapshot, Status
from fustor.treestore.render import json_members
from protocols.errors import MachineError

#: Seconds between two looks whether a store is there, or is another one (one stat(2) each).
_LOOK_SECONDS = 0.25
#: Seconds between two tries to open what could not be opened.
_RETRY_SECONDS = 1.0
#: Freshness is computed anew when it is older than this; a millisecond is what the answers show.
_FACE_NS = 1_000_000


@attrs.frozen(eq=False)
class Face:
    """
    What every answer about a view says of it.

    Attributes:
        status: computed.
        generation: of the whole tree.
        uuid: of the store; empty when there is none.
        headers: X-Fustor-View and so on.
        members: the same and the sources as JSON members, each with a comma before it.
    """

    status: ViewStatus
    generation: int
    uuid: str
    headers: HeaderBlock
    members: bytes


def make_face(view: str, stored: Status | None, now_ns: int, lease_seconds: float) -> Face:
    """
    The face of a view.

    Args:
        view: its name.
        stored: what its store says; None when there is no store.
        now_ns: CLOCK_BOOTTIME now.
        lease_seconds: see :func:`~actors.query.freshness.view_status`.
    """
    status = view_status(stored.sources if stored else (), now_ns, lease_seconds)
    generation = stored.generation if stored else 0
    as_of = None if status.as_of is None else round(status.as_of, 6)
    age = None if status.age is None else round(status.age, 3)
    fields = {
        "X-Fustor-View": view,
        "X-Fustor-Generation": str(generation),
        "X-Fustor-As-Of": "" if as_of is None else f"{as_of:.6f}",
        "X-Fustor-Age": "" if age is None else f"{age:.3f}",
        "X-Fustor-State": status.state,
        "X-Fustor-Complete": "true" if status.complete else "false",
    }
    members = json_members(
        {
            "view": view,
            "generation": generation,
            "as_of": as_of,
            "age": age,
            "state": status.state,
            "complete": status.complete,
            "sources": [
                {
                    "name": source.name,
                    "agent": source.agent,
                    "mount": source.mount,
                    "state": source.state,
                    "as_of": source.as_of,
                    "age": None if source.age is None else round(source.age, 3),
                    "complete": source.complete,
                    "reasons": source.reasons,
                    "counts": source.counts,
                }
                for source in status.sources
            ],
        }
    )
    return Face(status, generation, stored.uuid if stored else "", HeaderBlock.of(fields), members)


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
            self.snapshot.__exit__(None, None, None)
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
    """

    def __init__(
        self, view: str, path: str, lease_seconds: float, counters: dict[str, int], log: logging.Logger
    ) -> None:
        self.view = view
        self.path = path
        self._lease_seconds = lease_seconds
        self._counters = counters
        self._log = log
        for name in ("store_opened", "store_failures"):
            counters.setdefault(name, 0)
        self._current: _Open | None = None
        self._look_at = 0.0
        self._stored: Status | None = None
        self._face: Face | None = None
        self._face_ns = 0

    def acquire(self) -> Lease | None:
        """A snapshot of the front; None when there is no store that can be read."""
        if time.monotonic() >= self._look_at:
            self._look()
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
            now = boottime_ns()
            if stored is not self._stored or self._face is None or not 0 <= now - self._face_ns < _FACE_NS:
                self._face = make_face(self.view, stored, now, self._lease_seconds)
                self._stored, self._face_ns = stored, now
        except MachineError as error:
            snapshot.__exit__(None, None, None)
            self.failed(error)
            return None
        opened.users += 1
        return Lease(opened, snapshot, self._face)

    def nothing(self) -> Face:
        """The face of a view without a store."""
        return make_face(self.view, None, 0, self._lease_seconds)

    def state(self) -> str:
        """The state of the view now."""
        lease = self.acquire()
        if lease is None:
            return EMPTY
        lease.close()
        return lease.face.status.state

    def _look(self) -> None:
        """Open what is there, if it is not what is open; what was open stays until there is something else."""
        self._look_at = time.monotonic() + (_LOOK_SECONDS if self._current else 0.0)
        if self._current is not None and not self._current.reader.replaced():
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
        self._look_at = time.monotonic() + _LOOK_SECONDS

    def failed(self, error: MachineError) -> None:
        """Count and log that the store could not be read; the log has the 1st, 2nd, 4th, 8th, … time."""
        self._counters["store_failures"] += 1
        self._look_at = time.monotonic() + _RETRY_SECONDS
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
    """

    def __init__(
        self,
        views: Mapping[str, str],
        default: str,
        lease_seconds: float,
        counters: dict[str, int],
        log: logging.Logger,
    ) -> None:
        self.views = {name: ViewStore(name, path, lease_seconds, counters, log) for name, path in views.items()}
        self.default = default

    def close(self) -> None:
        """Close all of them."""
        for store in self.views.values():
            store.close()
