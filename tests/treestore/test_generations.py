"""No generation is reached twice, whatever becomes of the stores."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fustor.treestore.generations import STEP, Generations
from fustor.treestore.writer import Writer
from protocols.errors import MachineError
from tests.treestore.scenario import SOURCE, Feed, file_row

SIZE = 1 << 24


def test_a_ceiling_is_raised_before_it_is_reached(tmp_path: Path) -> None:
    path = tmp_path / "generation"
    generations = Generations(str(path))
    assert generations.ceiling == 0
    generations.allow(5)
    assert Generations(str(path)).ceiling == generations.ceiling == 5 + STEP
    path.unlink()
    generations.allow(5 + STEP)  # written down once for so many
    assert not path.exists()
    generations.allow(6 + STEP)
    assert Generations(str(path)).ceiling == 6 + 2 * STEP


@pytest.mark.parametrize("content", ["", "x", "[]", '{"ceiling": "1"}', '{"ceiling": -1}', '{"ceiling": true}'])
def test_a_file_that_says_nothing_is_told_of(tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "generation").write_text(content)
    assert Generations(str(tmp_path / "generation")).ceiling == 0
    assert "highest generation" in caplog.text


def test_what_cannot_be_written_down_is_not_committed(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    path = folder / "generation"
    writer = Writer(str(tmp_path / "s"), [SOURCE], map_size=SIZE, generations=Generations(str(path)))
    feed = Feed(writer)
    feed.root()
    with writer.environment.env.begin(write=True, db=writer.environment.meta) as txn:
        ceiling = json.loads(path.read_text())["ceiling"]
        txn.put(b"generation", ceiling.to_bytes(8, "big"))
    path.unlink()
    folder.rmdir()
    with pytest.raises(MachineError, match="can't be written"):
        feed.listing(1, file_row(b"f"))
    assert not writer.open
    assert writer.position(0) == (1, 1)
    folder.mkdir()
    feed.number = 1
    feed.listing(1, file_row(b"f"))
    assert json.loads(path.read_text())["ceiling"] == ceiling + 1 + STEP
    writer.close()


def test_a_new_store_begins_above_all_that_were(tmp_path: Path) -> None:
    path = str(tmp_path / "generation")
    seen = [1 << 60]
    Generations(path).allow(seen[0])
    for name in ("one", "two", "three"):
        writer = Writer(str(tmp_path / name), [SOURCE], map_size=SIZE, generations=Generations(path))
        with writer.reader().snapshot() as snapshot:
            seen.append(snapshot.generation())
        writer.environment.close()
    assert seen == sorted(set(seen))
