"""
Messages of the data plane, from the directory to the tree store.

A *row* is a tuple, never a class, for there are millions of them::

    (name: bytes, mode, size, mtime_ns, ctime_ns, ino, uid, gid, nlink)            all else int
    (name, mode, size, mtime_ns, ctime_ns, ino, uid, gid, nlink, target: bytes)    a symlink
    (name,)                                                                       known to be gone

Rows travel in a frame of their own beside the message: a msgpack array with one array of rows per ``ok`` result, or per
``Listing`` (with errno 0) and ``Names`` operation, in order. Only the view decodes it; watcher and syncer pass it on.

The attributes of a directory have two sources: its row in its parent's listing, and its *own* row, taken when it is
itself looked at. The own row wins for as long as the directory can be looked at (its last Listing had errno 0): the
two are read at different moments by different scanners, and only own rows come in an order that means something.

What moves where::

    watcher  → scanner    PUSH  [Work]
    scanner  → watcher    PUSH  [Found, rows]            or [Stuck], [Unstuck]
    watcher  ↔ parser     see :mod:`protocols.parsing`
    watcher  → syncer     PUSH  [[epoch, number, incarnation of the syncer], Item, rows]
    syncer   → watcher    PUSH  [SyncerHello], [Applied]
    syncer   → view       PUSH  [Batch, Item, rows, Item, rows, …]
    view     → syncer     PUB   [topic, Ack]
"""

from __future__ import annotations

from typing import Any

from protocols.codec import message, record

#: Index of each field in a row.
NAME, MODE, SIZE, MTIME, CTIME, INO, UID, GID, NLINK, TARGET = range(10)

Row = tuple[Any, ...]

#: Outcome of one task of a scanner.
OK = "ok"  #: rows are right
SAME = "same"  #: times equal the known ones: not listed
LOST = "lost"  #: the path does not lead to the directory that was meant: look again from its parent
FAILED = "failed"  #: the directory could not be read; ``errno`` says why, nothing is known of its content

#: An ``errno`` of our own, beyond those of the kernel: it was not touched, for it is quarantined
#: (:mod:`protocols.quarantine`).
QUARANTINED = 4096

#: States of a source, as its watcher declares them (a view adds ``stale`` by its own clock).
SOURCE_STATES = ("empty", "building", "live", "stale", "offline", "degraded")


@record
class Task:
    """
    One directory to look at.

    Attributes:
        dir: the watcher's id of the directory.
        path: its path below the root, without a leading slash; empty for the root.
        dev, ino: identity it must have; 0, 0 accepts any (the root, before it is known).
        names: entries to lstat; None means list the whole directory (and add its watch first); an empty array asks
            for the directory's own row only.
        skip: entries not to be touched, because a stat of them hangs.
        known: (mtime_ns, ctime_ns) of the last good listing: when the directory still has them, answer ``same``.
    """

    dir: int
    path: bytes
    dev: int
    ino: int
    names: tuple[bytes, ...] | None = None
    skip: tuple[bytes, ...] = ()
    known: tuple[int, int] | None = None


@message("work")
class Work:
    """
    Tasks for one scanner, done in order, answered by :class:`Found` messages with the same number.

    Attributes:
        epoch: data epoch of the watcher.
        number: unique within the epoch, growing.
        tasks: what to look at.
    """

    epoch: int
    number: int
    tasks: tuple[Task, ...]


@record
class Result:
    """
    What one task found (a part of). The rows frame holds one array of rows per result whose status is ``ok``, in order.

    Attributes:
        dir: id, as in the task.
        status: ``ok``, ``same``, ``lost`` or ``failed``.
        errno: why it failed; with ok: why its ``unreadable`` names, or further listings, fail; 0 otherwise.
        own: the directory's own row with an empty name (see ``Row``); empty when it could not be had.
        dev: device of the directory.
        wd: its watch descriptor; 0 when not asked for, −errno when the watch could not be added.
        lo, hi: a listing is complete for names in [lo, hi); hi None is the end. (b"", None) is the whole directory.
        listed: true for a listing, false for single names.
        last: the task is finished by this result (a big listing comes in parts).
        dirs: (name, dev, ino) of each subdirectory among the rows, in order of the rows.
        gone: names that do not exist.
        links: (name, ino) of rows with more than one hard link that are no directories.
        crossed: names of subdirectories on another device, which are not entered.
        unreadable: names whose lstat failed for another reason than not existing.
        mount: the directory is a mount point; told of the root only.
        fstype: type of its file system; told of the root only.
    """

    dir: int
    status: str
    errno: int
    own: tuple[Any, ...]
    dev: int
    wd: int
    lo: bytes
    hi: bytes | None
    listed: bool
    last: bool
    dirs: tuple[tuple[bytes, int, int], ...] = ()
    gone: tuple[bytes, ...] = ()
    links: tuple[tuple[bytes, int], ...] = ()
    crossed: tuple[bytes, ...] = ()
    unreadable: tuple[bytes, ...] = ()
    mount: bool = False
    fstype: str = ""


@message("found")
class Found:
    """
    Results of (a part of) one work message.

    Attributes:
        slot: index of the scanner.
        epoch, number: of the work.
        results: in order of the tasks.
        last: nothing more will come for this work.
    """

    slot: int
    epoch: int
    number: int
    results: tuple[Result, ...]
    last: bool


@message("stuck")
class Stuck:
    """The storage does not answer: task ``dir`` of work ``number`` hangs at ``name`` (empty: at the directory itself).
    What the scanner had found of this work before is sent first; the rest of the work is to be handed out again."""

    slot: int
    epoch: int
    number: int
    dir: int
    name: bytes


@message("unstuck")
class Unstuck:
    """The storage answered again for what :class:`Stuck` named."""

    slot: int
    epoch: int
    dir: int
    name: bytes


@record
class Listing:
    """
    Operation: the names of directory ``dir`` in [lo, hi) are exactly the rows.

    Attributes:
        dir: id; 0: nothing is to be done, its rows are passed over.
        own: the directory's own row with an empty name, or empty when unknown.
        ids: the id of each subdirectory among the rows, in order of the rows; 0 where the name is to be ignored.
        ignore: names of which this operation says nothing, neither that they exist nor that they do not.
        errno: not 0: the directory could not be read; what was known of its content stays; it has no rows.
    """

    dir: int
    lo: bytes
    hi: bytes | None
    own: tuple[Any, ...]
    ids: tuple[int, ...] = ()
    ignore: tuple[bytes, ...] = ()
    errno: int = 0


@record
class Names:
    """Operation: single names of ``dir`` are as the rows say; a row of a name alone: gone. ids, ignore, dir 0 as
    above."""

    dir: int
    own: tuple[Any, ...]
    ids: tuple[int, ...] = ()
    ignore: tuple[bytes, ...] = ()


@record
class Moved:
    """Operation: directory ``dir`` is now called ``name`` in ``parent``; whatever had that name there is gone."""

    dir: int
    parent: int
    name: bytes


@record
class Root:
    """Operation: a new epoch begins, ``dir`` is the root of the source; all earlier ids are void, all content stays."""

    dir: int


@record
class Watermark:
    """
    Operation: every change made before ``as_of_ns`` is contained in this and earlier items.

    Attributes:
        as_of_ns: wall clock of the agent's host, ns since 1970; 0 while nothing can be claimed.
        state: ``building``, ``live``, ``offline`` or ``degraded``.
        complete: no work outstanding, no gap open.
        reasons: why it is not live, in words, each with a count where there is one; at most 16.
        counts: levels worth showing (directories, watches, unwatched, unreadable, stuck, overflows, …).
    """

    as_of_ns: int
    state: str
    complete: bool
    reasons: tuple[str, ...] = ()
    counts: dict[str, int] = {}  # noqa: RUF012 - frozen, never mutated


@record
class Attributes:
    """
    Operation: what a parser has found in files of directory ``dir``, see :mod:`protocols.parsing`.

    Attributes:
        dir: id.
        parser: whose attributes these are; those of other parsers stay.
        found: name, size, mtime_ns, ctime_ns, ino, JSON text of each file: they hold for as long as the file is that
            one. An empty text: it has none.
        lo, hi: nothing was found in other files with names in [lo, hi); hi None is the end.
    """

    dir: int
    parser: str
    found: tuple[tuple[bytes, int, int, int, int, bytes], ...]
    lo: bytes = b""
    hi: bytes | None = b""


@record
class Parsers:
    """Operation: the source has these parsers from now on; attributes of others go with the next listing of their
    directory."""

    names: tuple[str, ...]


Operation = Listing | Names | Moved | Root | Watermark | Attributes | Parsers


#: Which field of an item has the operations of a kind.
_KINDS: dict[type, str] = {
    Listing: "listing",
    Names: "names",
    Moved: "moved",
    Root: "root",
    Watermark: "watermark",
    Attributes: "attributes",
    Parsers: "parsers",
}


@message("item")
class Item:
    """
    Operations to be applied together, in one transaction, in order.

    Attributes:
        epoch: data epoch: grows with every start of a watcher's sequence.
        number: 1, 2, 3, … without holes within an epoch.
        listing, names, moved, root, watermark, attributes, parsers: the operations of each kind with their place in the
            order of all.
    """

    epoch: int
    number: int
    listing: tuple[tuple[int, Listing], ...] = ()
    names: tuple[tuple[int, Names], ...] = ()
    moved: tuple[tuple[int, Moved], ...] = ()
    root: tuple[tuple[int, Root], ...] = ()
    watermark: tuple[tuple[int, Watermark], ...] = ()
    attributes: tuple[tuple[int, Attributes], ...] = ()
    parsers: tuple[tuple[int, Parsers], ...] = ()

    @classmethod
    def of(cls, epoch: int, number: int, ops: list[Operation]) -> Item:
        """An item with ``ops`` in this order."""
        kinds: dict[type, list[Any]] = {kind: [] for kind in _KINDS}
        for place, op in enumerate(ops):
            kinds[type(op)].append((place, op))
        return cls(epoch=epoch, number=number, **{name: tuple(kinds[kind]) for kind, name in _KINDS.items()})

    def ops(self) -> list[Operation]:
        """The operations in the order in which they apply; rows frame index = rank among Listing and Names."""
        places: list[tuple[int, Operation]] = [one for name in _KINDS.values() for one in getattr(self, name)]
        places.sort(key=lambda pair: pair[0])
        return [op for _, op in places]


@message("batch")
class Batch:
    """
    Consecutive items of one source: the following frames are ``count`` pairs (Item, rows).

    Attributes:
        agent, source: whose items; the agent must be the one whose key the connection proved.
        epoch: data epoch of all of them.
        first: number of the first.
        count: how many.
        missing: items of this epoch that the sender has left out because they are quarantined; they come empty.
    """

    agent: str
    source: str
    epoch: int
    first: int
    count: int
    missing: int = 0


@message("ack")
class Ack:
    """
    Cumulative acknowledgement, repeated several times a second because PUB loses.

    Attributes:
        agent, source: whose items.
        store: uuid of the tree store; another one means that nothing of before is there.
        epoch: the data epoch that the store is in; 0 for none.
        applied: the highest item number applied in that epoch; all lower ones are applied too.
    """

    agent: str
    source: str
    store: str
    epoch: int
    applied: int


@message("syncer-hello")
class SyncerHello:
    """A syncer has started: it holds nothing, and wants every item that is not applied yet."""

    incarnation: str


@message("applied")
class Applied:
    """The syncer's relay of the last :class:`Ack`."""

    incarnation: str
    store: str
    epoch: int
    applied: int
