"""
The rules of a watcher, pure: events, results and acknowledgements come in; work, items and watches to remove go out.

What makes the tree right:

- A directory is watched before it is listed, by the scanner that lists it, so nothing falls between.
- Per directory one thing is in flight at a time. A name that has an event while its directory is being listed is put
  on the listing's ``ignore`` list and looked at again afterwards; a name that has an event while it is looked at is
  looked at again.
- Every change to the table of directories is numbered as an item in the moment it is made, so whoever applies the
  items in order sees the same tree.
- Nothing is concluded from a clock, a modification time or a missing path. "Gone" is only what lstat said through the
  verified descriptor of the directory itself.

What this module does not do: read, write, wait, or look at the clock. Times are passed in: ``wall`` in ns since 1970
for claims, ``now`` in seconds of a monotonic clock for periods.
"""

from __future__ import annotations

import errno as errors
from collections import deque
from collections.abc import Iterable

import attrs

from actors.watcher import inotify
from actors.watcher.audits import Audits
from actors.watcher.limits import WatcherLimits
from actors.watcher.links import HardLinks, Place
from actors.watcher.looks import Looks, LookState
from actors.watcher.news import News, NewsState
from actors.watcher.pending import NO_PHASE, Phases
from actors.watcher.portions import Portion
from actors.watcher.sweep import Sweep
from actors.watcher.table import CROSSED, FAILED, HUNG, LISTED, QUEUED, ROOT, UNWATCHED, DirTable
from protocols import data
from protocols.codec import encode, pack
from protocols.data import (
    Attributes,
    Found,
    Item,
    Listing,
    Moved,
    Names,
    Operation,
    Parsers,
    Result,
    Root,
    Task,
    Watermark,
    Work,
)
from protocols.parsing import Parsed, ParserDir

#: The pending "name" that stands for the directory's own attributes.
OWN = b""
_NO_ROWS = pack([])

#: File systems whose changes by other hosts make no events here.
REMOTE = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "ceph", "9p", "afs", "lustre", "gpfs", "glusterfs", "beegfs"}
)


@attrs.define(eq=False)
class Flight:
    """
    A directory being looked at.

    Attributes:
        path: as it was told to the scanner.
        names: name → phase for single names, None for a listing.
        phase: of the listing.
        touched: names with an event since: name → (phase, whether it was a rename).
        following: names looked at only because another name of the same file had an event.
        errno: why some of it could not be looked at.
        sweep: the sweep that asked for it.
    """

    path: bytes
    names: dict[bytes, int] | None
    phase: int = NO_PHASE
    touched: dict[bytes, tuple[int, bool]] = attrs.Factory(dict)
    following: set[bytes] = attrs.Factory(set)
    errno: int = 0
    sweep: Sweep | None = None


@attrs.define(eq=False)
class Handed:
    """Work at a scanner since ``at``: which directories it still has to answer for."""

    slot: int
    tasks: dict[int, Flight]
    listing: bool
    at: float = 0.0


@attrs.define(eq=False, kw_only=True)
class Rest:
    """
    All that a watcher knows in the middle of an epoch, with nothing at scanners: another one can go on from it, as long
    as nobody else has read from the inotify instance.

    Attributes:
        epoch, number, applied, items: as of the core.
        reached: everything before is contained, ns since 1970.
        began, audited: when the epoch and the last complete audit began, ns since 1970.
        works: number of the last work.
        dirty, queued: names, and directories as a whole, that are to be looked at; by index.
        failed, unwatched, removed, crossed, mount, fstype, table, links, news: as the core has them.
    """

    epoch: int
    number: int
    applied: int
    items: list[tuple[int, bytes, bytes]]
    reached: int
    began: int
    audited: int
    works: int
    dirty: dict[int, tuple[bytes, ...]]
    queued: tuple[int, ...]
    failed: dict[int, int]
    unwatched: tuple[int, ...]
    removed: tuple[int, ...]
    crossed: int
    mount: bool
    fstype: str
    table: DirTable
    links: HardLinks
    news: dict[str, NewsState]


class WatcherCore:
    """
    One data epoch of one source.

    Args:
        epoch: its number; of one that ``rest`` was in the middle of, that.
        was_mount: its root was a mount point once.
        relink: directories that are renamed are moved, instead of being looked at as new ones.
        fast_audit, full_audit: seconds between audits.
        limits: its bounds.
        parsers: of the source.
        rest: where to go on; None: nothing is known yet.

    Attributes:
        items: numbered (number, item frame, rows frame), oldest first, not yet applied.
        over: not empty: this epoch has ended for the named reason; begin another one.
        unwatch: watch descriptors to be removed; the caller empties it.
        now: seconds of a monotonic clock; the caller sets it before it brings results or takes work.
    """

    def __init__(
        self,
        epoch: int,
        *,
        was_mount: bool = False,
        relink: bool = True,
        fast_audit: float = 600.0,
        full_audit: float = 86_400.0,
        limits: WatcherLimits | None = None,
        parsers: Iterable[str] = (),
        rest: Rest | None = None,
    ) -> None:
        self.epoch = epoch
        self.limits = limits or WatcherLimits()
        self.table = DirTable() if rest is None else rest.table
        self.phases = Phases(0 if rest is None else rest.reached)
        self.items: deque[tuple[int, bytes, bytes]] = deque()
        self.unapplied = 0
        self.number = 0
        self.applied = 0
        self.over = ""
        self.offline = ""
        self.unwatch: list[int] = []
        self.was_mount = was_mount
        self.mount = False
        self.counters = {"events": 0, "found": 0, "listed": 0, "overflows": 0, "items": 0, "moves": 0, "late": 0}
        self.counters["parsed"] = 0
        self._relink = relink
        self._stack: list[int] = []
        self._list_phase: dict[int, int] = {}
        self._dirty: dict[int, dict[bytes, int]] = {}
        self._dirty_count = 0
        self._flights: dict[int, Flight] = {}
        self._handed: dict[int, Handed] = {}
        self._load: dict[int, list[int]] = {}  # slot -> [name works, listing works] in flight
        self._work_number = 0
        self._early: dict[int, list[tuple[int, int, bytes]]] = {}
        self._early_count = 0
        # Gone before a result named them -> phase and last work handed out at that moment.
        self._ignored: dict[int, tuple[int, int]] = {}
        self._removed: set[int] = set()  # removed by us, the kernel's last word still to come
        self._replay: list[tuple[int, int, int, bytes]] = []
        self._moves: dict[int, int] = {}
        self._stuck: dict[int, set[bytes]] = {}
        self._failed: dict[int, int] = {}
        self._unwatched: set[int] = set()
        self._crossed = 0
        self._links = HardLinks(self.limits.links) if rest is None else rest.links
        self._links.limit = self.limits.links
        self._following: set[Place] = set()
        self._gap: Sweep | None = None
        self._gap_phase = NO_PHASE
        self._audits = Audits(
            self.table,
            fast_period=fast_audit,
            full_period=full_audit,
            per_second=self.limits.audit_dirs_per_second,
        )
        self._dirs = Portion(self.limits.dirs_per_work, self.limits.work_seconds)
        self._names = Portion(self.limits.names_per_work, self.limits.work_seconds)
        self.now = 0.0
        self.looks = Looks(self.limits.looks)
        self._looks_turn = False
        self._retry_due = 0.0
        self._probe_due = False
        self._watermark_due = 0.0
        self._quiet = 0  # watermarks in a row with nothing between them
        self._sent: tuple[object, ...] = ()
        self._marked = 0  # number of the last item with a watermark
        self._scanned = False
        self._fstype = ""
        self._began_wall = 0
        #: By parser of the source: what it has still to hear of.
        self.news: dict[str, News] = {name: News(self.table) for name in parsers if rest is None or name in rest.news}
        if rest is not None:
            self._go_on(rest)
            self.have_parsers(parsers)
            return
        self._emit([Root(self.table.id_of(ROOT)), Parsers(tuple(self.news))])
        self._queue(ROOT, self.phases.begin())

    def _go_on(self, rest: Rest) -> None:
        self.items.extend(rest.items)
        self.unapplied = sum(len(frame) + len(rows) for _, frame, rows in rest.items)
        self.number, self.applied = rest.number, rest.applied
        self.mount, self._fstype, self._crossed = rest.mount, rest.fstype, rest.crossed
        self._began_wall, self._audits.finished, self._work_number = rest.began, rest.audited, rest.works
        self._failed, self._unwatched, self._removed = dict(rest.failed), set(rest.unwatched), set(rest.removed)
        self._scanned = True
        # Those that are gone since are told of by have_parsers.
        gone = {name: News(self.table) for name in rest.news.keys() - self.news.keys()}
        self.news |= gone
        for name, state in rest.news.items():
            self.news[name].restore(state)
        for index, waiting in rest.dirty.items():
            for touched in waiting:
                self._touch(index, touched)
        for index in rest.queued:
            self._queue(index, self.phases.begin())

    def leave(self) -> Rest | None:
        """
        End this in the middle of the epoch: what another one needs to go on, or None when there is nothing worth it.
        The core is of no more use, and must not number anything more. ``unwatch`` has to be empty: all of it removed.

        What scanners have in hand is looked at again; what they find is of no use, and the watches that they add are
        known to nobody, as when they die.
        """
        if not self._scanned or self.offline or self.over or self._gap is not None or self._stuck:
            return None
        for slot in list(self._load):
            self.scanner_down(slot)
        queued = [index for index in self._list_phase if self.table.flags[index] & QUEUED]
        for index in queued:
            self.table.flags[index] &= ~QUEUED
        return Rest(
            epoch=self.epoch,
            number=self.number,
            applied=self.applied,
            items=list(self.items),
            reached=self.phases.reached,
            began=self._began_wall,
            audited=self._audits.finished,
            works=self._work_number,
            dirty={index: tuple(names) for index, names in self._dirty.items()},
            queued=tuple(queued),
            failed=self._failed,
            unwatched=tuple(self._unwatched),
            removed=tuple(self._removed),
            crossed=self._crossed,
            mount=self.mount,
            fstype=self._fstype,
            table=self.table,
            links=self._links,
            news={name: news.state() for name, news in self.news.items()},
        )

    def adjust(self, limits: WatcherLimits, *, fast_audit: float, full_audit: float) -> None:
        """Other bounds and audit periods from now on; nothing that is known or under way changes."""
        self.limits = limits
        self._links.limit = limits.links
        self.looks.most = limits.looks
        self._dirs.adjust(limits.dirs_per_work, limits.work_seconds)
        self._names.adjust(limits.names_per_work, limits.work_seconds)
        self._audits.adjust(fast_period=fast_audit, full_period=full_audit, per_second=limits.audit_dirs_per_second)

    def have_parsers(self, names: Iterable[str]) -> None:
        """These are the parsers from now on. What others have found goes with a pass through everything."""
        before, self.news = self.news, {name: self.news.get(name) or News(self.table) for name in names}
        if before.keys() == self.news.keys():
            return
        self._emit([Parsers(tuple(self.news))])
        if before.keys() - self.news.keys():
            self._audits.everything()

    # -- events -------------------------------------------------------------------------------------------------------

    def events(self, records: bytes, wall: int, *, drained: bool) -> None:
        """
        What one read of inotify returned.

        Args:
            records: as the kernel wrote them.
            wall: the time just before the read.
            drained: nothing more was there, so everything that happened before ``wall`` has been read.
        """
        for wd, mask, cookie, name in inotify.parse(records):
            self.counters["events"] += 1
            self._event(wd, mask, cookie, name)
        if drained:
            if not records:
                # Both halves of a rename are queued together: what has not come by now was a move out of the tree.
                self._moves.clear()
            if not self._early:
                self.phases.drained(wall)

    def _event(self, wd: int, mask: int, cookie: int, name: bytes) -> None:
        if mask & inotify.OVERFLOW:
            self._open_gap()
            return
        index = self.table.by_wd(wd)
        if mask & inotify.IGNORED:
            self._removed.discard(wd)
            if index:
                self.table.unwatch(wd)
                # The directory is gone (its parent will tell), or it was seen at two places and one was dropped.
                self._queue(index, self.phases.begin())
            elif self._listing_in_flight():
                # Also when it was removed by us: a scanner may have been given the same watch just before.
                self._ignored[wd] = (self.phases.begin(), self._work_number)
            return
        if not index:
            if wd in self._removed:
                return
            if not self._listing_in_flight():
                # Added by a scanner that died before it could tell.
                self._release(wd)
            else:
                if self._early_count >= self.limits.early_events:
                    self._early.clear()
                    self._early_count = 0
                    self._open_gap()
                    return
                self._early.setdefault(wd, []).append((mask, cookie, name))
                self._early_count += 1
            return
        if not name:
            self._self_event(index, wd, mask)
            return
        moved = bool(mask & (inotify.MOVED_FROM | inotify.MOVED_TO))
        if mask & inotify.ISDIR:
            child = self.table.child(index, name)
            if mask & inotify.MOVED_FROM and child and self._relink:
                self._moves[cookie] = self.table.id_of(child)
            elif mask & inotify.MOVED_TO:
                self._moved_to(index, name, self.table.index_of(self._moves.pop(cookie, 0)), child)
            elif mask & inotify.ATTRIB and child:
                if self.table.flags[child] & FAILED:
                    self._queue(child, self.phases.begin())
                elif not self.table.flags[child] & (CROSSED | HUNG):
                    self._touch(child, OWN)
                    return
        self._following.discard((index, name))
        self._touch(index, name, moved=moved)

    def _self_event(self, index: int, wd: int, mask: int) -> None:
        """An event of a directory itself."""
        if mask & inotify.UNMOUNT:
            self.offline = "root was unmounted"
            self._queue(ROOT, NO_PHASE)
        elif index == ROOT:
            if mask & (inotify.DELETE_SELF | inotify.MOVE_SELF):
                self._queue(ROOT, self.phases.begin())
            if mask & inotify.ATTRIB:
                if self.table.flags[ROOT] & FAILED:
                    self._queue(ROOT, self.phases.begin())
                else:
                    self._touch(ROOT, OWN)
        elif mask & inotify.DELETE_SELF:
            self.table.unwatch(wd)
            # Its inode number may be used again at once, for a directory of the same name.
            self.table.ino[index] = 0
            self._touch(self.table.parent[index], self.table.name[index])
        elif mask & inotify.ATTRIB:
            self._touch(index, OWN)

    def _moved_to(self, parent: int, name: bytes, index: int, there: int) -> None:
        table = self.table
        if not index or index == ROOT or table.is_below(parent, index):
            return
        if there == index:
            return
        if there:
            if (table.dev[there], table.ino[there]) == (table.dev[index], table.ino[index]):
                # A listing saw it at its new place before we heard of the rename: that one stays.
                self._drop(index)
                self._watch_again(there, self.phases.begin())
                return
            self._drop(there)
        table.move(index, parent, name)
        self.counters["moves"] += 1
        self._emit([Moved(table.id_of(index), table.id_of(parent), name)])
        for news in self.news.values():
            news.below(index)
        self._watch_again(index, self.phases.begin())

    def _watch_again(self, index: int, phase: int) -> None:
        """List a directory that was listed and has lost its watch. ``phase`` has been begun for it."""
        if self._has_lost_its_watch(index):
            self._queue(index, phase)
        else:
            self.phases.end(phase)

    def _has_lost_its_watch(self, index: int) -> bool:
        table = self.table
        return bool(not table.wd[index] and table.flags[index] & LISTED) and index not in self._unwatched

    def _touch(self, index: int, name: bytes, *, moved: bool = False, phase: int | None = None) -> None:
        """``name`` of directory ``index`` must be looked at (again)."""
        table = self.table
        flags = table.flags[index]
        if flags & HUNG or name in self._stuck.get(index, ()):
            if phase is not None:
                self.phases.end(phase)
            return
        flight = self._flights.get(index)
        if flight is not None:
            if flight.names is None or name in flight.names:
                self._touch_flight(flight, name, moved, phase)
                return
        elif flags & QUEUED and not flags & LISTED and self._list_phase.get(index, NO_PHASE) != NO_PHASE:
            if phase is not None:
                # The listing that waits will see it; the older of the two moments counts.
                listed_in = self._list_phase[index]
                self._list_phase[index] = min(listed_in, phase)
                self.phases.end(max(listed_in, phase))
            return
        names = self._dirty.setdefault(index, {})
        if name in names:
            if phase is not None:
                before = names[name]
                names[name] = min(before, phase)
                self.phases.end(max(before, phase))
            return
        names[name] = self.phases.begin() if phase is None else phase
        self._dirty_count += 1
        if self._dirty_count > self.limits.dirty_names:
            self._collapse()

    def _touch_flight(self, flight: Flight, name: bytes, moved: bool, phase: int | None) -> None:
        before = flight.touched.get(name)
        if before is None:
            flight.touched[name] = (self.phases.begin() if phase is None else phase, moved)
        else:
            if phase is not None:
                self.phases.end(max(before[0], phase))
            flight.touched[name] = (before[0] if phase is None else min(before[0], phase), before[1] or moved)

    def _collapse(self) -> None:
        """Too many dirty names: list the directories that have most of them instead."""
        for index in sorted(self._dirty, key=lambda i: -len(self._dirty[i])):
            if self._dirty_count <= self.limits.dirty_names // 2:
                break
            names = self._dirty.pop(index)
            self._dirty_count -= len(names)
            oldest = min(names.values())
            self._queue(index, self.phases.more(oldest))
            for phase in names.values():
                self.phases.end(phase)

    def _listing_in_flight(self) -> bool:
        return any(handed.listing for handed in self._handed.values())

    # -- what is to be listed -----------------------------------------------------------------------------------------

    def _queue(self, index: int, phase: int) -> None:
        """List a directory as soon as possible. ``phase`` has been begun for it."""
        flags = self.table.flags[index]
        if flags & (HUNG | CROSSED):
            self.phases.end(phase)
            return
        if flags & QUEUED:
            before = self._list_phase.get(index, NO_PHASE)
            if before == NO_PHASE:
                self._list_phase[index] = phase
            elif phase != NO_PHASE:
                self._list_phase[index] = min(before, phase)
                self.phases.end(max(before, phase))
            return
        self.table.flags[index] = flags | QUEUED
        self._list_phase[index] = phase
        self._stack.append(index)

    def _open_gap(self) -> None:
        """Events were lost, of anything: look at what has moved first, then at everything."""
        self.counters["overflows"] += 1
        if self._gap is None:
            self._gap_phase = self.phases.begin()
        self._gap = Sweep(full=False)
        # Descriptors may have been added or removed without our knowing.
        self._moves.clear()

    # -- handing out work ---------------------------------------------------------------------------------------------

    def scanner_up(self, slot: int) -> None:
        """A scanner has taken its place."""
        self._load[slot] = [0, 0]
        for index, error in self._failed.items():
            # It may have been told that it may touch them again.
            if error == data.QUARANTINED:
                self._queue(index, NO_PHASE)

    def scanner_down(self, slot: int) -> None:
        """A scanner is gone: what it had is to be looked at again."""
        self._load.pop(slot, None)
        for number in [n for n, handed in self._handed.items() if handed.slot == slot]:
            for index, flight in self._handed.pop(number).tasks.items():
                if self._flights.get(index) is flight:
                    self._again(index, flight)
        self._forget_unnamed()

    def _again(self, index: int, flight: Flight) -> None:
        """A flight ended without a result: everything it stood for is pending again."""
        self._flights.pop(index, None)
        if flight.sweep is not None:
            flight.sweep.later(index)
        if flight.names is None:
            if flight.phase != NO_PHASE:
                self._queue(index, flight.phase)
        else:
            for name, phase in flight.names.items():
                self._touch(index, name, phase=phase)
        for name, (phase, _) in flight.touched.items():
            self._touch(index, name, phase=phase)

    @property
    def has_room(self) -> bool:
        """Whether what is not applied yet leaves room for new findings."""
        return self.unapplied < self.limits.unapplied_bytes

    def take_work(self) -> list[tuple[int, Work]]:
        """Work for the scanners that have capacity, as (slot, work); names first, then listings, then audits."""
        given: list[tuple[int, Work]] = []
        if not self._load or self.over:
            return given
        if self.offline:
            if ROOT not in self._flights and self.table.flags[ROOT] & QUEUED:
                slot = min(self._load, key=lambda s: sum(self._load[s]))
                self._stack = [i for i in self._stack if i != ROOT]
                given.append(self._hand(slot, [self._list_task(ROOT, None)], listing=True))
            return given
        if self._probe_due and ROOT not in self._flights:
            self._probe_due = False
            slot = min(self._load, key=lambda s: self._load[s][0])
            given.append(self._hand(slot, [self._task(ROOT, Flight(path=b"", names={}))], listing=False))
        while self._dirty and self.has_room:
            slot = min(self._load, key=lambda s: self._load[s][0] * 2 + self._load[s][1])
            if self._load[slot][0] >= 4:
                break
            tasks = self._name_tasks()
            if not tasks:
                break
            given.append(self._hand(slot, tasks, listing=False))
        while self.has_room:
            slot = min(self._load, key=lambda s: self._load[s][1])
            if self._load[slot][1] >= 2:
                break
            tasks = self._list_tasks()
            if not tasks:
                break
            given.append(self._hand(slot, tasks, listing=True))
        return given

    def _hand(self, slot: int, tasks: list[tuple[Task, Flight]], *, listing: bool) -> tuple[int, Work]:
        self._work_number += 1
        flights = {self.table.index_of(task.dir): flight for task, flight in tasks}
        self._handed[self._work_number] = Handed(slot=slot, tasks=flights, listing=listing, at=self.now)
        self._flights.update(flights)
        self._load[slot][1 if listing else 0] += 1
        return slot, Work(epoch=self.epoch, number=self._work_number, tasks=tuple([task for task, _ in tasks]))

    def _task(self, index: int, flight: Flight, known: tuple[int, int] | None = None) -> tuple[Task, Flight]:
        table = self.table
        names = None if flight.names is None else tuple([n for n in flight.names if n])
        return (
            Task(
                dir=table.id_of(index),
                path=flight.path,
                dev=table.dev[index],
                ino=table.ino[index],
                names=names,
                skip=tuple(self._stuck.get(index, ())),
                known=known,
            ),
            flight,
        )

    def _name_tasks(self) -> list[tuple[Task, Flight]]:
        tasks: list[tuple[Task, Flight]] = []
        room = self._names.size
        for index in list(self._dirty):
            if index in self._flights:
                continue
            if self._is_blocked(index):
                for phase in self._take_dirty(index):
                    self.phases.end(phase)
                continue
            names = self._dirty[index]
            if len(names) > room:
                part = {name: names.pop(name) for name in list(names)[:room]}
            else:
                part = self._dirty.pop(index)
            self._dirty_count -= len(part)
            room -= len(part)
            following = {name for name in part if (index, name) in self._following} if self._following else set()
            self._following.difference_update([(index, name) for name in following])
            tasks.append(self._task(index, Flight(path=self.table.path(index), names=part, following=following)))
            if room <= 0 or len(tasks) >= self.limits.dirs_per_work * 2:
                break
        return tasks

    def _is_blocked(self, index: int) -> bool:
        """Whether the way to a directory leads through a name for which the storage does not answer."""
        if not self._stuck:
            return False
        table = self.table
        while index != ROOT:
            if table.flags[index] & HUNG or table.name[index] in self._stuck.get(table.parent[index], ()):
                return True
            index = table.parent[index]
        return False

    def _list_task(self, index: int, sweep: Sweep | None) -> tuple[Task, Flight]:
        table = self.table
        phase = self._list_phase.pop(index, NO_PHASE)
        table.flags[index] &= ~QUEUED
        # Names that wait are seen by the listing; the oldest moment of them all counts.
        for name_phase in self._take_dirty(index):
            if phase == NO_PHASE:
                phase = name_phase
            else:
                self.phases.end(max(phase, name_phase))
                phase = min(phase, name_phase)
        known = None
        if (
            sweep is not None
            and not sweep.full
            and phase == NO_PHASE
            and table.flags[index] & LISTED
            and table.wd[index]
        ):
            known = (table.mtime[index], table.ctime[index])
        return self._task(index, Flight(path=table.path(index), names=None, phase=phase, sweep=sweep), known)

    def _take_dirty(self, index: int) -> Iterable[int]:
        names = self._dirty.pop(index, None)
        if names is None:
            return ()
        self._dirty_count -= len(names)
        return names.values()

    def _list_tasks(self) -> list[tuple[Task, Flight]]:
        # In turn with everything else, so that neither waits for the other to end.
        self._looks_turn = not self._looks_turn and bool(len(self.looks))
        if self._looks_turn:
            sweep = self.looks.next_sweep()
            tasks = self._take_from(sweep, self._dirs.size) if sweep is not None else []
            if tasks:
                return tasks
        tasks = []
        waiting: list[int] = []
        # A few directories per work while few are known, so that all scanners have something to do.
        most = max(1, min(self._dirs.size, len(self._stack) // max(1, len(self._load))))
        while self._stack and len(tasks) < most:
            index = self._stack.pop()
            if not self.table.flags[index] & QUEUED:
                continue
            if index in self._flights:
                waiting.append(index)
                continue
            if self._is_blocked(index):
                self.table.flags[index] &= ~QUEUED
                self.phases.end(self._list_phase.pop(index, NO_PHASE))
                continue
            tasks.append(self._list_task(index, None))
        self._stack.extend(waiting)
        if not tasks and not waiting:
            tasks = self._sweep_tasks()
        if not tasks and not self._looks_turn and (sweep := self.looks.next_sweep()) is not None:
            tasks = self._take_from(sweep, self._dirs.size)
        return tasks

    def _sweep_tasks(self) -> list[tuple[Task, Flight]]:
        if self._gap is not None:
            return self._take_from(self._gap, self._dirs.size)
        if not self._scanned:
            return []
        return self._audits.take(self._dirs.size, self._take_from)

    def _take_from(self, sweep: Sweep, most: int) -> list[tuple[Task, Flight]]:
        tasks: list[tuple[Task, Flight]] = []
        for index in sweep.take(self.table, most):
            if index in self._flights:
                sweep.later(index)
                continue
            if self.table.flags[index] & (HUNG | CROSSED) or self._is_blocked(index):
                sweep.passed_over(index)
                continue
            tasks.append(self._list_task(index, sweep))
        return tasks

    # -- results ------------------------------------------------------------------------------------------------------

    def found(self, found: Found, rows: bytes) -> None:
        """What a scanner found: one item, or none when nothing of it can be used."""
        handed = self._handed.get(found.number) if found.epoch == self.epoch else None
        if handed is None or self.over:
            self.counters["late"] += 1
            if found.epoch == self.epoch:
                for result in found.results:
                    self._release(result.wd)
            return
        if found.last:
            del self._handed[found.number]
            (self._dirs if handed.listing else self._names).took(self.now - handed.at)
            load = self._load.get(handed.slot)
            if load is not None:
                load[1 if handed.listing else 0] -= 1
        ops: list[Operation] = []
        for result in found.results:
            self._result(handed, result, ops)
        if found.last:
            for index, flight in handed.tasks.items():
                # A scanner that says "last" without having answered for everything: nothing may be lost of it.
                if self._flights.get(index) is flight:
                    self._again(index, flight)
        self._forget_unnamed()
        if ops:
            self.counters["found"] += 1
            self._emit(ops, rows)
        # Only now: what these events lead to may speak of directories that the item above introduces.
        replay, self._replay = self._replay, []
        for event in replay:
            self._event(*event)

    def _forget_unnamed(self) -> None:
        """What was kept for watches that no result has named, once no listing is under way that could."""
        oldest = min((number for number, handed in self._handed.items() if handed.listing), default=None)
        if oldest is None:
            self._early.clear()
            self._early_count = 0
        for wd, (phase, number) in list(self._ignored.items()):
            if oldest is not None and number >= oldest:
                break
            del self._ignored[wd]
            self.phases.end(phase)

    def _release(self, wd: int) -> None:
        """A watch was added for a result that is of no use any more."""
        if wd > 0 and not self.table.by_wd(wd) and wd not in self._ignored and wd not in self._removed:
            self.unwatch.append(wd)
            self._removed.add(wd)
            self._early_count -= len(self._early.pop(wd, ()))

    def _result(self, handed: Handed, result: Result, ops: list[Operation]) -> None:
        index = self.table.index_of(result.dir)
        flight = handed.tasks.get(index) if index else None
        if flight is None or self._flights.get(index) is not flight:
            self._release(result.wd)
            if result.status == data.OK:
                ops.append(Names(0, ()))
            return
        if result.last:
            del handed.tasks[index]
            del self._flights[index]
        if index == ROOT and not self._root_is_right(result):
            if result.status == data.OK:
                ops.append(Names(0, ()))
            self._keep(index, flight)
            return
        if result.status == data.OK:
            if result.listed:
                self._listed(index, flight, result, ops)
            elif flight.names:
                self._looked(index, flight, result, ops)
            else:
                self._finish(index, flight)  # a probe: the root is where it was
        elif result.status == data.SAME:
            self._finish(index, flight)
        elif result.status == data.LOST:
            self._lost(index, flight)
        else:
            self._failed_listing(index, flight, result, ops)

    def _root_is_right(self, result: Result) -> bool:
        """Decide what a result for the root says about the source as a whole."""
        if result.status == data.LOST or (
            result.status == data.FAILED and result.errno not in (errors.EACCES, data.QUARANTINED)
        ):
            why = errors.errorcode.get(result.errno, str(result.errno))
            if result.own and (self.mount or self.was_mount) and not result.mount:
                self.offline = "root is not mounted"
            elif result.own:
                self.over = "another directory is at the root's path"
            else:
                self.offline = f"root can't be opened ({why})"
            return False
        if result.status == data.FAILED:
            return True
        if self.was_mount and not result.mount:
            self.offline = "root is not mounted"
            return False
        if self.offline:
            self.over = "root is back"
            return False
        if not self.table.ino[ROOT]:
            self.table.dev[ROOT], self.table.ino[ROOT] = result.dev, result.own[data.INO]
            self.mount = result.mount
            self._fstype = result.fstype
        return True

    def _keep(self, index: int, flight: Flight) -> None:
        """The source is away: what the flight stood for stays open, nothing is claimed; its return ends the epoch."""
        self._flights.pop(index, None)
        if flight.sweep is not None:
            flight.sweep.returned(index)

    def _listed(self, index: int, flight: Flight, result: Result, ops: list[Operation]) -> None:
        table = self.table
        lo, hi = result.lo, result.hi
        if lo == b"" or result.wd:
            self._note_watch(index, result.wd, flight.phase)
        if result.own:
            table.note_times(index, result.own[data.MTIME], result.own[data.CTIME])
        ignore = {name for name in flight.touched if name and name >= lo and (hi is None or name < hi)}
        ignore |= self._stuck.get(index, set())
        ignore.update(result.unreadable)
        ids: list[int] = []
        here: set[bytes] = set()
        crossed = set(result.crossed)
        for name, dev, ino in result.dirs:
            here.add(name)
            if name in ignore:
                ids.append(0)
                continue
            ids.append(table.id_of(self._subdirectory(index, name, dev, ino, flight.phase, name in crossed)))
        for child in table.children(index):
            name = table.name[child]
            if name not in here and name not in ignore and name >= lo and (hi is None or name < hi):
                self._drop(child)
        ops.append(Listing(table.id_of(index), lo, hi, result.own, tuple(ids), tuple(ignore)))
        if flight.sweep is not None:
            touched = {name: phase for name, (phase, _) in flight.touched.items() if name in ignore}
            flight.sweep.entered(table, index, [table.index_of(child) for child in ids if child], touched)
        self._note_links(index, flight, result)
        flight.errno = result.errno or flight.errno
        if result.last:
            if flight.errno:
                # Its names could be listed and some of them not be looked at: as a whole it is not known.
                table.flags[index] = (table.flags[index] | FAILED) & ~LISTED
                self._failed[index] = flight.errno
                ops.append(Listing(table.id_of(index), b"", None, (), errno=flight.errno))
            else:
                table.flags[index] = (table.flags[index] | LISTED) & ~FAILED
                self._failed.pop(index, None)
            self.counters["listed"] += 1
            self._finish(index, flight)
            for news in self.news.values():
                news.touched(index)

    def _looked(self, index: int, flight: Flight, result: Result, ops: list[Operation]) -> None:
        table = self.table
        names = flight.names or {}
        ignore = {name for name, (_, moved) in flight.touched.items() if moved and name in names}
        ignore.update(result.unreadable)
        ids: list[int] = []
        directories: set[bytes] = set()
        crossed = set(result.crossed)
        for name, dev, ino in result.dirs:
            directories.add(name)
            if name in ignore:
                ids.append(0)
                continue
            ids.append(
                table.id_of(self._subdirectory(index, name, dev, ino, names.get(name, NO_PHASE), name in crossed))
            )
        gone = set(result.gone)
        for name in names:
            if name and name not in directories and name not in ignore and name not in self._stuck.get(index, ()):
                child = table.child(index, name)
                if child and not table.flags[child] & HUNG:
                    self._drop(child)
        ops.append(Names(table.id_of(index), result.own, tuple(ids), tuple(ignore)))
        self._note_links(index, flight, result)
        for name in gone:
            self._follow(self._links.forget((index, name)), names.get(name, NO_PHASE))
        if result.errno and not table.flags[index] & FAILED:
            # A listing decides whether it can be read; nothing is claimed before.
            held = [phase for phase in names.values() if phase != NO_PHASE]
            self._queue(index, self.phases.more(min(held)) if held else self.phases.begin())
        if result.own:
            table.ctime[index] = 0  # what the last listing saw is no longer what is known: a fast pass must list
        if result.last:
            for name in ignore & flight.touched.keys():
                phase, _ = flight.touched.pop(name)
                older = names.pop(name)
                self.phases.end(max(phase, older))
                flight.touched[name] = (min(phase, older), True)
            self._finish(index, flight)
            for news in self.news.values():
                news.touched(index, names.keys() - gone - directories - ignore - {OWN})

    def _subdirectory(self, parent: int, name: bytes, dev: int, ino: int, phase: int, crossed: bool) -> int:
        """The index of the directory that was seen as ``name``: the known one, or a new one that is to be listed."""
        table = self.table
        child = table.child(parent, name)
        if child:
            if (table.dev[child], table.ino[child]) == (dev, ino) and bool(table.flags[child] & CROSSED) == crossed:
                flight = self._flights.get(child)
                listing = flight is not None and flight.names is None
                new = not table.flags[child] & (LISTED | QUEUED | CROSSED | FAILED)
                # A listing of another place may have taken its watch away, and it was here all the time, or again.
                if not listing and (new or self._has_lost_its_watch(child)):
                    self._queue(child, self.phases.more(phase))
                return child
            self._drop(child)
        child = table.add(parent, name, dev, ino)
        if crossed:
            table.flags[child] |= CROSSED
            self._crossed += 1
        else:
            self._queue(child, self.phases.more(phase))
        return child

    def _finish(self, index: int, flight: Flight) -> None:
        """A flight has its result: its work is done, what was touched meanwhile is pending."""
        if flight.sweep is not None:
            flight.sweep.returned(index)
        if flight.names is None:
            self.phases.end(flight.phase)
        else:
            for phase in flight.names.values():
                self.phases.end(phase)
        for name, (phase, _) in flight.touched.items():
            self._touch(index, name, phase=phase)

    def _lost(self, index: int, flight: Flight) -> None:
        if self.table.path(index) != flight.path:
            self._again(index, flight)  # it was renamed under way
            return
        self.table.flags[index] &= ~LISTED
        if flight.sweep is not None:
            flight.sweep.lost(self.table, index)
            flight.sweep = None
        self._ask_parent(index, flight)

    def _ask_parent(self, index: int, flight: Flight) -> None:
        """A flight ended without rows: what it stood for is answered by the directory's own name in its parent."""
        if flight.sweep is not None:
            flight.sweep.returned(index)
        phases = [flight.phase, *(phase for phase, _ in flight.touched.values()), *(flight.names or {}).values()]
        held = sorted(phase for phase in phases if phase != NO_PHASE)
        self._touch(self.table.parent[index], self.table.name[index], phase=held[0] if held else None)
        for phase in held[1:]:
            self.phases.end(phase)

    def _failed_listing(self, index: int, flight: Flight, result: Result, ops: list[Operation]) -> None:
        self.table.flags[index] = (self.table.flags[index] | FAILED) & ~LISTED
        self._failed[index] = result.errno
        ops.append(Listing(self.table.id_of(index), b"", None, result.own, errno=result.errno))
        if flight.sweep is not None:
            flight.sweep.passed_over(index)
            flight.sweep = None
        if index != ROOT:
            self._ask_parent(index, flight)
            return
        for phase, _ in flight.touched.values():
            self.phases.end(phase)
        flight.touched.clear()
        self._finish(index, flight)

    def _note_watch(self, index: int, wd: int, phase: int) -> None:
        """What a listing in ``phase`` says of the watch of its directory: its descriptor, −errno, or 0 for nothing."""
        if wd < 0:
            self.table.flags[index] |= UNWATCHED
            self._unwatched.add(index)
            return
        if not wd:
            return
        if self.table.flags[index] & UNWATCHED:
            self.table.flags[index] &= ~UNWATCHED
            self._unwatched.discard(index)
            for other in self._unwatched:  # there is room again
                self._queue(other, self.phases.begin())
        before = self.table.watch(index, wd)
        if before:
            # The same directory was known elsewhere: one of the two is out of date.
            self._touch(self.table.parent[before], self.table.name[before], moved=True)
        if before or wd in self._removed:
            # Events since the listing were taken for those of the other place: nothing but another listing has them.
            self._queue(index, self.phases.begin() if phase == NO_PHASE else self.phases.more(phase))
        ignored = self._ignored.pop(wd, None)
        if ignored is not None:
            self.table.unwatch(wd)
            self._queue(index, ignored[0])
        early = self._early.pop(wd, None)
        if early is not None:
            self._early_count -= len(early)
            self._replay += [(wd, *event) for event in early]

    def _drop(self, index: int) -> None:
        """A directory and all below it are no longer there."""
        stack = [index]
        while stack:
            at = stack.pop()
            stack.extend(self.table.children(at))
            if self.table.flags[at] & CROSSED:
                self._crossed -= 1
            if self.table.flags[at] & QUEUED:
                self.phases.end(self._list_phase.pop(at, NO_PHASE))
            for phase in self._take_dirty(at):
                self.phases.end(phase)
            self._failed.pop(at, None)
            self._unwatched.discard(at)
            self._stuck.pop(at, None)
            flight = self._flights.pop(at, None)
            if flight is not None:
                if flight.sweep is not None:
                    flight.sweep.returned(at)
                self.phases.end(flight.phase)
                for phase in (flight.names or {}).values():
                    self.phases.end(phase)
                for phase, _ in flight.touched.values():
                    self.phases.end(phase)
        wds = self.table.drop(index)
        self.unwatch += wds
        self._removed.update(wds)

    # -- hard links ---------------------------------------------------------------------------------------------------

    def _note_links(self, index: int, flight: Flight, result: Result) -> None:
        for name, ino in result.links:
            place = (index, name)
            phase = flight.phase if flight.names is None else flight.names.get(name, NO_PHASE)
            self._follow(self._links.note(place, ino), phase)
            if not result.listed and name not in flight.following:
                self._follow(self._links.others(place, ino), phase)

    def _follow(self, places: Iterable[Place], phase: int) -> None:
        """
        Other names of a file have changed with the one that was looked at in ``phase``, without an event of their own:
        what is claimed of that one is claimed of them.
        """
        for place in places:
            index, name = place
            if self.table.parent[index] or index == ROOT:
                self._following.add(place)
                self._touch(index, name, phase=None if phase == NO_PHASE else self.phases.more(phase))
            else:
                self._links.forget(place)  # it went with its directory

    # -- parsers -----------------------------------------------------------------------------------------------------

    def parser_work(self, name: str, most: int) -> tuple[ParserDir, ...]:
        """
        At most so many directories for a parser; what it was given before is done. None while the tree is not known
        yet, or the view has more to do than it can: what is found in files never stands in the way of what is there.
        """
        if not self._scanned or self.offline or self.over or not self.has_room:
            return ()
        found = []
        for dir_id, names in self.news[name].take(most):
            path = self.table.path(self.table.index_of(dir_id))
            found.append(ParserDir(dir_id, path, None if names is None else tuple(names)))
        return tuple(found)

    def parsed(self, parsed: Parsed) -> None:
        """What a parser has found, if it is still of any use."""
        if parsed.epoch != self.epoch or parsed.parser not in self.news:
            return
        ops: list[Operation] = [
            Attributes(part.dir, parsed.parser, part.found, part.lo, part.hi)
            for part in parsed.parts
            if self.table.index_of(part.dir)
        ]
        if ops:
            self.counters["parsed"] += sum(len(part.found) for part in parsed.parts)
            self._emit(ops)

    # -- storage that does not answer ---------------------------------------------------------------------------------

    def stuck(self, stuck: data.Stuck) -> None:
        """A scanner's system call does not return; the rest of its work is to be handed out again."""
        if stuck.epoch != self.epoch:
            return
        handed = self._handed.pop(stuck.number, None)
        if handed is None:
            return
        load = self._load.get(handed.slot)
        if load is not None:
            load[1 if handed.listing else 0] -= 1
        index = self.table.index_of(stuck.dir)
        if index:
            self._stuck.setdefault(index, set()).add(stuck.name)
            if not stuck.name:
                self.table.flags[index] |= HUNG
                if index == ROOT:
                    self.offline = "root does not answer"
        for at, flight in handed.tasks.items():
            if self._flights.get(at) is flight:
                if at == index and flight.names is not None and stuck.name in flight.names:
                    self.phases.end(flight.names.pop(stuck.name))
                self._again(at, flight)
        self._forget_unnamed()

    def unstuck(self, unstuck: data.Unstuck) -> None:
        """The storage answers again."""
        index = self.table.index_of(unstuck.dir) if unstuck.epoch == self.epoch else 0
        names = self._stuck.get(index)
        if names is None:
            return
        names.discard(unstuck.name)
        if not names:
            del self._stuck[index]
        if unstuck.name:
            self._touch(index, unstuck.name)
        else:
            self.table.flags[index] &= ~HUNG
        # Whatever was asked of it and of what lies below was refused meanwhile.
        below = [self.table.child(index, unstuck.name) if unstuck.name else index]
        while below:
            at = below.pop()
            if at:
                below.extend(self.table.children(at))
                self._queue(at, self.phases.begin())

    # -- items --------------------------------------------------------------------------------------------------------

    def _emit(self, ops: list[Operation], rows: bytes = _NO_ROWS) -> None:
        self.number += 1
        frame = encode(Item.of(self.epoch, self.number, ops))
        self.items.append((self.number, frame, rows))
        self.unapplied += len(frame) + len(rows)
        self.counters["items"] += 1

    def acknowledged(self, epoch: int, applied: int) -> None:
        """
        The view has applied all items up to ``applied`` of ``epoch``.

        An acknowledgement of another epoch means that the view has not heard of this one yet; or, when it had, that its
        store is another one now, and everything must be sent again: the epoch is over.
        """
        if epoch != self.epoch:
            if self.applied:
                self.over = "the view's store was replaced"
            elif epoch > self.epoch:
                self.over = "the view knows a later epoch"
            return
        if applied < self.applied:
            self.over = "the view's store has gone back"
            return
        if applied > self.number:
            self.over = "the view knows more of this epoch than was sent"
            return
        self.applied = applied
        while self.items and self.items[0][0] <= applied:
            _, frame, rows = self.items.popleft()
            self.unapplied -= len(frame) + len(rows)

    # -- time ---------------------------------------------------------------------------------------------------------

    def tick(self, now: float, wall: int) -> None:
        """
        Periods and watermarks. To be called after every batch of events or results, and at least every
        ``watermark_period``.
        """
        self.now = now
        if not self._began_wall:
            self._began_wall = wall
        self._sweeps(now, wall)
        if len(self.looks) and not self.offline:
            self.looks.tick(self.table, self._is_pending, self.number, self.applied)
        if now >= self._retry_due:
            self._retry_due = now + self.limits.probe_seconds
            self._retry()
        status = self._status()
        claim = status[0]
        sent_claim = self._sent[0] if self._sent else 0
        changed = status[1:4] != self._sent[1:4]
        # While things happen a claim rides with every item; else it waits for its period.
        if not changed and now < self._watermark_due and (claim == sent_claim or self.number == self._marked):
            return
        self._quiet = self._quiet + 1 if self.number == self._marked else 0
        self._emit([Watermark(*status)])
        self._sent = status
        self._marked = self.number
        # Ticks come at common moments, and one may be a little late: the next is not too early for that.
        self._watermark_due = now + 0.9 * self.watermark_period

    @property
    def watermark_period(self) -> float:
        """Seconds between watermarks as things are: a quiet source costs a quarter of a busy one."""
        limits = self.limits
        if self._quiet < 8:
            return limits.watermark_seconds
        return max(limits.watermark_seconds, limits.idle_watermark_seconds)

    def _status(self) -> tuple[int, str, bool, tuple[str, ...], dict[str, int]]:
        if not self._scanned and self.phases.reached:
            self._scanned = True
            self._audits.finished = self._began_wall
        unreadable = sum(error == errors.EACCES for error in self._failed.values())
        quarantined = sum(error == data.QUARANTINED for error in self._failed.values())
        failed = len(self._failed) - unreadable - quarantined
        stuck = sum(len(names) for names in self._stuck.values())
        reasons: list[str] = []
        if self.offline:
            reasons.append(self.offline)
        if self._gap is not None:
            reasons.append("events were lost; looking at everything again")
        if self._unwatched:
            reasons.append(f"{len(self._unwatched)} directories without a watch (fs.inotify.max_user_watches)")
        if failed:
            reasons.append(f"{failed} directories can't be read")
        if unreadable:
            reasons.append(f"{unreadable} directories without permission")
        if quarantined:
            reasons.append(f"{quarantined} directories with quarantined items (fustor quarantine list)")
        if stuck:
            reasons.append(f"{stuck} names for which the storage does not answer")
        blind = self._fstype in REMOTE or self._fstype.startswith("fuse")
        if blind:
            reasons.append(f"blind spot: changes made elsewhere on {self._fstype} are seen by the audit only")
        if self._crossed:
            reasons.append(f"{self._crossed} directories on other file systems are not entered")
        if self.offline:
            state = "offline"
        elif not self._scanned:
            state = "building"
        elif self._gap is not None or self._unwatched or failed or quarantined:
            state = "degraded"
        else:
            state = "live"
        claim = self._audits.finished if self._fstype in REMOTE else self.phases.reached
        return (
            claim if self._scanned else 0,
            state,
            self._scanned and not self.offline and self._gap is None and not failed and not quarantined and not stuck,
            tuple(reasons),
            {
                "directories": self.table.live,
                "unwatched": len(self._unwatched),
                "unreadable": unreadable,
                "failed": failed,
                "quarantined": quarantined,
                "stuck": stuck,
                "crossed": self._crossed,
                "overflows": self.counters["overflows"],
            },
        )

    def _sweeps(self, now: float, wall: int) -> None:
        gap = self._gap
        if gap is not None and gap.done(self.table):
            if gap.full:
                self._gap = None
                self.phases.end(self._gap_phase)
                self._gap_phase = NO_PHASE
            else:
                self._gap = Sweep(full=True)
        if self._scanned:
            self._audits.tick(now, wall)

    def look(self, id: str, path: bytes, depth: int | None, wall: int) -> LookState:  # noqa: A002
        """
        Look at what is at ``path`` below the root now, and at ``depth`` levels of children (None: all).

        The same ``id`` is the same look. Whether it has ended is in ``looks.ended``.
        """
        names = tuple([name for name in path.split(b"/") if name])
        return self.looks.begin(id, self.table, names, depth, wall)

    def _is_pending(self, index: int, name: bytes, phase: int) -> bool:
        """Whether ``name`` is still to be looked at for an event of ``phase``, or one before."""
        flight = self._flights.get(index)
        phases = [self._dirty.get(index, {}).get(name), self._list_phase.get(index)]
        if flight is not None:
            phases += [flight.phase if flight.names is None else flight.names.get(name)]
            phases += [flight.touched[name][0] if name in flight.touched else None]
        return any(one is not None and one != NO_PHASE and one <= phase for one in phases)

    def _retry(self) -> None:
        if self.offline:
            self._queue(ROOT, NO_PHASE)
            return
        # The root may go without an event: a bind mount that is umounted, a storage that has begun to hang.
        self._probe_due = bool(self.table.flags[ROOT] & LISTED)
        for index, error in list(self._failed.items())[:256]:
            if error not in (errors.EACCES, data.QUARANTINED):
                self._queue(index, NO_PHASE)
        for index in self._unwatched:
            self._queue(index, NO_PHASE)
            break

    # -- for people ---------------------------------------------------------------------------------------------------

    @property
    def handed(self) -> bool:
        """Whether scanners owe an answer."""
        return bool(self._handed)

    @property
    def outstanding(self) -> bool:
        """Whether scanners owe an answer, or something waits that could be handed out."""
        waits = self._dirty or self._stack or self.looks.is_due
        return bool(self._handed) or bool(waits and self.has_room and not self.offline)

    def gauges(self) -> dict[str, int]:
        """Levels worth showing."""
        return {
            "directories": self.table.live,
            "queued": len(self._list_phase),
            "dirty": self._dirty_count,
            "handed": len(self._handed),
            "unapplied_items": len(self.items),
            "unapplied_bytes": self.unapplied,
            "links": len(self._links),
            "looks": len(self.looks),
            "early": self._early_count,
        }
