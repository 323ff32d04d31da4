"""A store made of the copy of a lost one."""

from __future__ import annotations

from pathlib import Path

import pytest

from fustor.treestore.check import check
from fustor.treestore.copying import Copying
from fustor.treestore.errors import StoreMissingError
from fustor.treestore.reader import Reader, Status
from fustor.treestore.restoring import restore, unpack_store
from fustor.treestore.writer import SourceSpec, Writer
from protocols.data import Watermark
from protocols.errors import MachineError
from tests.treestore.scenario import Feed, file_row

SIZE = 1 << 26
SOURCES = [SourceSpec(0, "agent", "one", "/one"), SourceSpec(1, "agent", "two", "/two")]


def status(path: str) -> Status:
    reader = Reader(path)
    with reader.snapshot() as snapshot:
        found = snapshot.status()
    reader.close()
    return found


@pytest.fixture
def copy(tmp_path: Path) -> str:
    writer = Writer(str(tmp_path / "s"), SOURCES, map_size=SIZE)
    for index in (0, 1):
        feed = Feed(writer, index)
        feed.root()
        feed.listing(1, file_row(b"f"))
        feed(Watermark(123, "live", True, ("why",), {"files": 1}))
    Copying(writer.environment, 1, str(tmp_path / "copy")).run()
    writer.close()
    return str(tmp_path / "copy")


def test_it_is_another_store_of_an_earlier_moment(tmp_path: Path, copy: str) -> None:
    before = status(str(tmp_path / "s"))
    folder = str(tmp_path / "t")
    said = restore(copy, folder, 0, SIZE)
    assert said.startswith("restored from a copy of 2")
    after = status(folder)
    assert after.uuid != before.uuid
    assert after.generation > before.generation
    for source, was in zip(after.sources, before.sources, strict=True):
        assert was.arrived_ns > 0
        assert (source.arrived_ns, source.complete) == (0, False)
        assert source.reasons == ("why", said)
        assert (source.epoch, source.applied, source.as_of_ns) == (was.epoch, was.applied, was.as_of_ns) == (1, 3, 123)
    assert check(folder) == []
    # Of a copy of a restored store: what was said of that is not said again.
    writer = Writer(folder, SOURCES, map_size=SIZE)
    Copying(writer.environment, 1, copy).run()
    writer.close()
    said = restore(copy, str(tmp_path / "u"), 1 << 60, SIZE)
    assert status(str(tmp_path / "u")).sources[0].reasons == ("why", said)
    assert status(str(tmp_path / "u")).generation == 1 << 60


def test_it_can_also_be_the_same(tmp_path: Path, copy: str) -> None:
    unpack_store(copy, str(tmp_path / "t"))
    assert status(str(tmp_path / "t")) == status(str(tmp_path / "s"))


def test_nothing_to_restore_or_nowhere(tmp_path: Path, copy: str) -> None:
    with pytest.raises(StoreMissingError):
        restore(str(tmp_path / "no"), str(tmp_path / "t"), 0, SIZE)
    with pytest.raises(MachineError, match="File exists"):
        restore(copy, str(tmp_path / "t"), 0, SIZE)
