"""Revisions in SQLite: numbers, heads, histories, what is removed, and files that are damaged or of a later program."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fustor.fusion.revisions import DEFAULT, FORMAT, Revision, Revisions
from protocols.errors import MachineError

WHO: dict[str, Any] = {"author": "ann", "role": "deployer", "reason": "why"}


@pytest.fixture
def revisions(tmp_path: Path) -> Iterator[Revisions]:
    opened = Revisions(str(tmp_path / "revisions.db"), kept=3)
    yield opened
    opened.close()


def test_a_revision_has_all_that_was_said_of_it(revisions: Revisions) -> None:
    added = revisions.add("local", b"sources = []", "d1", **WHO)
    assert revisions.get(added.number) == added
    assert (added.number, added.agent, added.document, added.author, added.role) == (
        1,
        "local",
        b"sources = []",
        "ann",
        "deployer",
    )
    assert added.at.endswith("Z")
    assert revisions.get(99) is None


def test_empty_and_absent_differ(revisions: Revisions) -> None:
    empty, absent = revisions.add("a", b"", "d0", **WHO), revisions.add("b", None, "", **WHO)
    found = {one.agent: one for one in revisions.heads()}
    assert found["a"].document == b""
    assert found["b"].document is None
    assert [revisions.get(n.number) for n in (empty, absent)] == [empty, absent]


def test_heads_are_the_last_ones_without_their_documents(revisions: Revisions) -> None:
    for agent, text in (("a", b"1"), (DEFAULT, b"2"), ("a", b"3")):
        revisions.add(agent, text, text.decode(), **WHO)
    assert {(one.agent, one.number, one.digest, one.document) for one in revisions.heads()} == {
        ("a", 3, "3", b""),
        (DEFAULT, 2, "2", b""),
    }


def test_older_ones_are_removed_for_each_agent_and_counted(revisions: Revisions) -> None:
    revisions.add("other", b"x", "x", **WHO)
    for number in range(5):
        revisions.add("a", b"x", str(number), **WHO)
    found, removed = revisions.history("a")
    assert [one.digest for one in found] == ["4", "3", "2"]
    assert removed == 2
    assert len(revisions.history("other")[0]) == 1
    assert revisions.history("nobody") == ([], 0)


def test_everything_is_there_after_a_kill_and_numbers_are_not_used_again(tmp_path: Path) -> None:
    path = str(tmp_path / "revisions.db")
    script = (
        "import os, signal, sys; from fustor.fusion.revisions import Revisions\n"
        "store = Revisions(sys.argv[1], 2)\n"
        "for n in range(4): store.add('a', b'x', str(n), author='', role='', reason='')\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", script, path], check=False)
    again = Revisions(path, 2)
    assert [one.number for one in again.history("a")[0]] == [4, 3]
    assert again.add("a", b"x", "4", **WHO).number == 5
    again.close()
    assert os.stat(path).st_mode & 0o777 == 0o600


def test_a_reader_does_not_disturb(revisions: Revisions) -> None:
    revisions.add("a", b"x", "1", **WHO)
    reader = sqlite3.connect(f"file:{revisions.path}?mode=ro", uri=True)
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM revisions").fetchone() == (1,)
    revisions.add("a", b"x", "2", **WHO)
    assert reader.execute("SELECT count(*) FROM revisions").fetchone() == (1,)
    reader.close()


def test_a_failed_write_leaves_nothing(revisions: Revisions) -> None:
    kept: Revision = revisions.add("a", b"x", "1", **WHO)
    with pytest.raises(MachineError, match="can't be used"):
        revisions.add("a", b"x", None, **WHO)  # type: ignore[arg-type]
    assert revisions.heads()[0].number == kept.number
    assert revisions.add("a", b"x", "2", **WHO).digest == "2"


def test_a_damaged_file_and_one_of_a_later_program_are_left_alone(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.db"
    damaged.write_bytes(b"no database at all, but long enough to be read as one" * 100)
    before = damaged.read_bytes()
    with pytest.raises(MachineError, match="damaged"):
        Revisions(str(damaged), 3)
    assert damaged.read_bytes() == before
    later = tmp_path / "later.db"
    Revisions(str(later), 3).close()
    with sqlite3.connect(later) as database:
        database.execute(f"PRAGMA user_version = {FORMAT + 1}")
    database.close()
    with pytest.raises(MachineError, match="use the later program"):
        Revisions(str(later), 3)
    with pytest.raises(MachineError, match="nowhere"):
        Revisions(str(tmp_path / "nowhere" / "r.db"), 3)
