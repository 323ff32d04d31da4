"""
A model of a view: applies items to plain dictionaries, by the words of ``protocols.data`` alone.

Slow and simple on purpose: it is what the tree store is compared with, and what the watcher's rules are tested against
without a store.
"""

from __future__ import annotations

import os
from typing import Any

import attrs

from protocols import data
from protocols.codec import DATA_LIMITS, decode, unpack
from protocols.data import Item, Listing, Moved, Names, Operation, Root, Row, Watermark
from tests.support.oracle import Entry, entry_of


@attrs.define(eq=False)
class Directory:
    """A directory of the model."""

    name: bytes
    parent: Directory | None
    row: Row = ()
    own: bool = False
    files: dict[bytes, Row] = attrs.Factory(dict)
    dirs: dict[bytes, Directory] = attrs.Factory(dict)
    listed: bool = False
    errno: int = 0


class ModelView:
    """One source. Raises AssertionError for items that break the rules of the protocol."""

    def __init__(self) -> None:
        self.root = Directory(b"", None)
        self.ids: dict[int, Directory] = {}
        self.epoch = 0
        self.applied = 0
        self.watermark: Watermark | None = None

    def apply(self, frame: bytes, rows_frame: bytes) -> None:
        """Apply the next item."""
        item = decode(frame, Item, limits=DATA_LIMITS)
        rows = list(unpack(rows_frame, DATA_LIMITS))
        if item.epoch == self.epoch:
            assert item.number == self.applied + 1, "items come without holes"
        else:
            assert item.epoch > self.epoch, "epochs grow"
            assert item.number == 1, "an epoch begins with its first item"
            assert isinstance(item.ops()[0], Root), "an epoch begins with its root"
        self.epoch, self.applied = item.epoch, item.number
        for op in item.ops():
            self._apply(op, rows)
        assert not rows, "every array of rows has its operation"

    def _apply(self, op: Operation, rows: list[tuple[Row, ...]]) -> None:
        if isinstance(op, Root):
            self.ids = {op.dir: self.root}
        elif isinstance(op, Watermark):
            self.watermark = op
        elif isinstance(op, Moved):
            moving, parent = self.ids[op.dir], self.ids[op.parent]
            if moving.parent is not None and moving.parent.dirs.get(moving.name) is moving:
                del moving.parent.dirs[moving.name]
            parent.dirs.pop(op.name, None)
            parent.files.pop(op.name, None)
            moving.name, moving.parent = op.name, parent
            parent.dirs[op.name] = moving
        elif isinstance(op, Listing):
            if not op.dir:
                rows.pop(0)
                return
            directory = self.ids[op.dir]
            directory.errno = op.errno
            if op.own:
                directory.row, directory.own = op.own, True
            if op.errno:
                directory.own = False
                return
            here = rows.pop(0)
            directory.listed = op.hi is None
            names = {row[data.NAME] for row in here}

            def kept(name: bytes) -> bool:
                outside = name < op.lo or (op.hi is not None and name >= op.hi)
                return outside or name in op.ignore or name in names

            directory.files = {name: row for name, row in directory.files.items() if kept(name)}
            directory.dirs = {name: child for name, child in directory.dirs.items() if kept(name)}
            self._rows(directory, here, op.ids, op.ignore)
        elif isinstance(op, Names):
            if not op.dir:
                rows.pop(0)
                return
            directory = self.ids[op.dir]
            if op.own:
                directory.row, directory.own = op.own, True
            self._rows(directory, rows.pop(0), op.ids, op.ignore)

    def _rows(
        self, directory: Directory, rows: tuple[Row, ...], ids: tuple[int, ...], ignore: tuple[bytes, ...]
    ) -> None:
        told = iter(ids)
        for row in rows:
            name = row[data.NAME]
            is_dir = len(row) > 1 and row[data.MODE] & 0o170000 == 0o040000
            dir_id = next(told) if is_dir else 0
            if name in ignore:
                continue
            if len(row) == 1:
                directory.files.pop(name, None)
                directory.dirs.pop(name, None)
            elif is_dir:
                assert dir_id, "an id for every directory that is not ignored"
                directory.files.pop(name, None)
                child = self.ids.get(dir_id)
                if child is None:
                    # Of an earlier epoch: matched by name.
                    child = directory.dirs.get(name) if directory.dirs.get(name) not in self.ids.values() else None
                    child = child or Directory(name, directory)
                    self.ids[dir_id] = child
                if child.parent is not None and child.parent.dirs.get(child.name) is child:
                    del child.parent.dirs[child.name]
                child.name, child.parent = name, directory
                directory.dirs[name] = child
                if not child.own:
                    child.row = row
            else:
                directory.dirs.pop(name, None)
                directory.files[name] = row

    def entries(self) -> dict[bytes, Entry]:
        """The tree in the form of the oracle."""
        found: dict[bytes, Entry] = {}
        stack: list[tuple[bytes, Directory]] = [(b"", self.root)]
        while stack:
            path, directory = stack.pop()
            if directory.row:
                found[path] = _entry(directory.row)
            for name, row in directory.files.items():
                found[path + b"/" + name if path else name] = _entry(row)
            for name, child in directory.dirs.items():
                stack.append((path + b"/" + name if path else name, child))
        return found


def _entry(row: Row) -> Entry:
    values: tuple[Any, ...] = (
        row[data.MODE],
        row[data.INO],
        0,
        row[data.NLINK],
        row[data.UID],
        row[data.GID],
        row[data.SIZE],
    )
    status = os.stat_result((*values, 0, 0, 0), {"st_mtime_ns": row[data.MTIME]})
    return entry_of(status, row[data.TARGET] if len(row) > data.TARGET else b"")
