"""Opening whatever is there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from actors.view.store import open_store, set_aside
from fustor.treestore.environment import data_file
from fustor.treestore.writer import Writer
from protocols.errors import MachineError
from tests.treestore.scenario import SOURCE, Feed, file_row, tree_of


def maker(path: Path) -> Callable[[], Writer]:
    return lambda: Writer(str(path), [SOURCE], map_size=1 << 26)


def test_a_store_is_made_and_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "s"
    writer, reason = open_store(str(path), maker(path))
    assert reason == ""
    uuid = writer.uuid
    writer.close()
    writer, reason = open_store(str(path), maker(path))
    assert (writer.uuid, reason) == (uuid, "")
    writer.close()


def test_what_is_no_store_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "s"
    for attempt in range(2):  # the second takes the place of the first
        path.mkdir(exist_ok=True)
        for file in path.iterdir():
            file.unlink()
        (path / "data.mdb").write_bytes(b"rubbish %d" % attempt * 1000)
        writer, reason = open_store(str(path), maker(path))
        assert "not a tree store" in reason
        feed = Feed(writer)
        feed.root()
        feed.listing(1, file_row(b"f"))
        assert set(tree_of(writer)) == {b"", b"/f"}
        writer.close()
        assert Path(data_file(str(path) + ".aside")).read_bytes().startswith(b"rubbish %d" % attempt)


def test_a_folder_that_cannot_be_made_is_the_operators_to_mend(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "s"
    with pytest.raises(MachineError, match="can't be made"):
        open_store(str(path), maker(path))
    with pytest.raises(MachineError, match="can't be moved"):
        set_aside(str(tmp_path / "nothing"))
