"""A file tree in memory, what a watcher would say of it, and what the store must then answer."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import msgspec

from fustor.treestore.check import check_snapshot
from fustor.treestore.format import Head, head_text, row_name, split_rows, unpack_chunk
from fustor.treestore.writer import SourceSpec, Writer
from protocols.codec import pack
from protocols.data import Item, Listing, Moved, Names, Operation, Root, Row

SOURCE = SourceSpec(0, "agent", "data", "/")


def file_row(name: bytes, size: int = 5, mtime: int = 1_700_000_000_123_456_789) -> Row:
    return (name, 0o100644, size, mtime, mtime + 1, 77, 1000, 1000, 1)


def link_row(name: bytes, target: bytes) -> Row:
    return (name, 0o120777, len(target), 3, 4, 78, 0, 0, 1, target)


def directory_row(name: bytes, mtime: int = 1_600_000_000_000_000_000) -> Row:
    return (name, 0o040755, 4096, mtime, mtime, 79, 1000, 1000, 2)


class Feed:
    """Numbers items and applies them, each in a transaction of its own unless told otherwise."""

    def __init__(self, writer: Writer, index: int = 0) -> None:
        self.writer = writer
        self.index = index
        self.epoch = 0
        self.number = 0

    def root(self, handle: int = 1) -> None:
        self.epoch += 1
        self.number = 0
        self(Root(handle))

    def __call__(self, *ops: Operation, rows: tuple[list[Row], ...] = (), commit: bool = True) -> bool:
        """Apply; True when the tree changed."""
        self.number += 1
        self.writer.apply(self.index, Item.of(self.epoch, self.number, list(ops)), pack(rows))
        return self.writer.commit() if commit else False

    def listing(self, handle: int, *rows: Row, ids: tuple[int, ...] = (), **more: Any) -> bool:
        return self(
            Listing(handle, more.pop("lo", b""), more.pop("hi", None), more.pop("own", ()), ids, **more),
            rows=(list(rows),),
        )

    def names(self, handle: int, *rows: Row, ids: tuple[int, ...] = (), **more: Any) -> bool:
        return self(Names(handle, more.pop("own", ()), ids, **more), rows=(list(rows),))


def tree_of(writer: Writer) -> dict[bytes, tuple[str, int]]:
    """Path → (content type, size) of everything reachable; read by walking, with independent decoding."""
    found: dict[bytes, tuple[str, int]] = {}
    paths: list[bytes] = []
    with writer.reader().snapshot() as snapshot:
        for depth, _, value, chunks in snapshot.walk(1):
            fields: dict[str, Any]
            if value:  # else more chunks of the directory before
                head = Head.unpack(value)
                path = (paths[depth - 1] + b"/" + head.name) if depth else b""
                del paths[depth:]
                paths.append(path)
                fields = msgspec.json.decode(head_text(value)[0].replace(b"\x01", b"") + b"}")
                found[path] = (fields["content_type"], fields["size"])
            for chunk in chunks:
                for row in split_rows(unpack_chunk(chunk)):
                    fields = msgspec.json.decode(row.replace(b"\x01", b""))
                    found[path + b"/" + row_name(row)] = (fields["content_type"], fields["size"])
    return found


def assert_sound(writer: Writer) -> None:
    """Every invariant of the store holds."""
    assert check_snapshot(writer.reader()) == []


class Directory:
    """A directory of the model. ``handle``: its id at the agent."""

    def __init__(self, handle: int) -> None:
        self.handle = handle
        self.files: dict[bytes, int] = {}
        self.children: dict[bytes, Directory] = {}

    def everything(self, path: bytes = b"") -> Iterator[tuple[bytes, tuple[str, int]]]:
        """As ``tree_of`` gives it."""
        yield path, ("directory", 4096)
        for name, size in self.files.items():
            yield path + b"/" + name, ("file", size)
        for name, child in self.children.items():
            yield from child.everything(path + b"/" + name)

    def below(self) -> list[Directory]:
        """Itself and all directories below."""
        found = [self]
        for directory in found:
            found += directory.children.values()
        return found


class Model:
    """A tree under random change, and the items that say so."""

    def __init__(self, seed: int, feed: Feed, names: list[bytes]) -> None:
        self.random = random.Random(seed)
        self.feed = feed
        self.names = names
        self.root = Directory(1)
        self.handles = 1

    def new_epoch(self) -> None:
        """The agent begins anew: all ids are new, everything is listed again, top down."""
        self.handles += 1
        self.root.handle = self.handles
        self.feed.root(self.handles)
        for directory in self.root.below():
            for child in directory.children.values():
                self.handles += 1
                child.handle = self.handles
            self.say_listing(directory)

    def rows(self, directory: Directory, wanted: list[bytes]) -> tuple[list[Row], tuple[int, ...]]:
        """Rows of those of ``wanted`` that exist, in any order, and ids."""
        self.random.shuffle(wanted)
        rows: list[Row] = []
        ids: list[int] = []
        for name in wanted:
            if name in directory.files:
                rows.append(file_row(name, directory.files[name]))
            elif name in directory.children:
                rows.append(directory_row(name))
                ids.append(directory.children[name].handle)
        return rows, tuple(ids)

    def say_listing(self, directory: Directory, lo: bytes = b"", hi: bytes | None = None) -> None:
        inside = [name for name in (*directory.files, *directory.children) if lo <= name and (hi is None or name < hi)]
        rows, ids = self.rows(directory, inside)
        self.feed.listing(directory.handle, *rows, ids=ids, lo=lo, hi=hi, own=directory_row(b""))

    def say_names(self, directory: Directory, names: list[bytes]) -> None:
        rows, ids = self.rows(directory, list(names))
        gone: list[Row] = [(n,) for n in names if n not in directory.files and n not in directory.children]
        self.feed.names(directory.handle, *gone, *rows, ids=ids)

    def step(self) -> None:
        """One change to the model, and the item that tells of it."""
        kind = self.random.random()
        directories = self.root.below()
        directory = self.random.choice(directories)
        if kind < 0.45:
            count = self.random.choice((1, 1, 1, 2, 5, len(self.names) // 2))
            names = self.random.sample(self.names, count)
            for name in names:
                self.change(directory, name, len(directories) < 60)
            self.say_names(directory, names)
        elif kind < 0.75:
            lo = self.random.choice(self.names) if self.random.random() < 0.5 else b""
            hi = self.random.choice(self.names) if self.random.random() < 0.5 else None
            for name in self.names:
                if lo <= name and (hi is None or name < hi) and self.random.random() < 0.5:
                    self.change(directory, name, len(directories) < 60)
            self.say_listing(directory, lo, hi)
        elif kind < 0.95:
            self.move(directories, directory)
        else:
            self.new_epoch()

    def change(self, directory: Directory, name: bytes, more: bool) -> None:
        """Make ``name`` a file, a directory, or nothing."""
        directory.files.pop(name, None)
        directory.children.pop(name, None)
        kind = self.random.random()
        if kind < 0.6:
            directory.files[name] = self.random.randrange(1 << 40)
        elif kind < 0.7 and more:
            self.handles += 1
            directory.children[name] = Directory(self.handles)

    def move(self, directories: list[Directory], target: Directory) -> None:
        """Move some directory into ``target``, where that is possible."""
        places = [(parent, name) for parent in directories for name in parent.children]
        if not places:
            return
        parent, name = self.random.choice(places)
        moved = parent.children[name]
        new = self.random.choice(self.names)
        if target in moved.below() or (target is parent and new == name):
            return
        del parent.children[name]
        target.files.pop(new, None)
        target.children[new] = moved
        self.feed(Moved(moved.handle, target.handle, new))
