"""The writer against a model, and each rule of the operations by itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fustor.treestore.check import check
from fustor.treestore.environment import StoreFullError
from fustor.treestore.format import LISTED, UNREADABLE, Head
from fustor.treestore.reader import Found
from fustor.treestore.writer import SourceSpec, Writer
from protocols.codec import pack
from protocols.data import Item, Listing, Moved, Names, Root, Watermark
from protocols.errors import ProtocolError

from scenario import (
    SOURCE,
    Directory,
    Feed,
    Model,
    assert_sound,
    directory_row,
    file_row,
    link_row,
    tree_of,
)


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    made = Writer(str(tmp_path / "store"), [SOURCE], map_size=1 << 28)
    yield made
    made.abort()
    assert_sound(made)
    made.close()


@pytest.fixture
def feed(writer: Writer) -> Feed:
    feed = Feed(writer)
    feed.root()
    return feed


def resolve(writer: Writer, *components: bytes) -> Found:
    with writer.reader().snapshot() as snapshot:
        return snapshot.resolve(components)


def head(writer: Writer, *components: bytes) -> Head:
    with writer.reader().snapshot() as snapshot:
        found = snapshot.resolve(components)
        assert found.matched == len(components)
        value = snapshot.head(found.id)
        assert value is not None
        return Head.unpack(value)
