"""
Fusion's host loses its power: what was written since the last sync has reached the disk in part.

Simulated: all processes of Fusion end at once; the store is put together of pages as they were at an earlier moment and
pages as they were at the end; its stamp is of another boot; the copy is the one that was there at the earlier moment.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fustor.admin.processes import members
from fustor.admin.state import State
from fustor.treestore.copying import generation_of
from fustor.treestore.stamp import Stamp, write_stamp
from tests.support.cluster import Cluster, Poller, until
from tests.support.oracle import Entry
from tests.support.writers import finish, start

PAGE = 4096
FUSION = """
[limits.view]
copy_seconds = 0.5
copy_reserve_bytes = 0
[limits.shell.backoff]
cap_seconds = 0.3
"""


class Struck(Cluster):
    """A cluster whose Fusion can lose its power."""

    @property
    def place(self) -> Path:
        """The folder of the view."""
        return self.state / "fusion" / "views" / "main"

    @property
    def data(self) -> Path:
        """The file of the store."""
        return self.place / "front" / "data.mdb"

    def signal(self, side: str, number: signal.Signals) -> None:
        """To everybody of a side, until nobody new appears."""
        told: set[int] = set()
        where = State(self.state).fusion if side == "fusion" else State(self.state).agent
        while new := members(where).keys() - told:
            for pid in new:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            told |= new

    def end(self) -> None:
        """All processes of Fusion end in one moment."""
        self.signal("fusion", signal.SIGSTOP)
        self.signal("fusion", signal.SIGKILL)
        until(lambda: not members(State(self.state).fusion), "everybody of Fusion to be gone")

    def copied(self) -> dict[bytes, Entry]:
        """The tree, once what is answered is what has been copied."""

        def same() -> dict[bytes, Entry] | None:
            before = self.tree(max_depth=0)["generation"]
            found = self.entries()
            return found if generation_of(str(self.place / "copy")) == before else None

        found: dict[bytes, Entry] = until(same, "a copy of the tree")
        assert found
        return found

    def changes_since(self, before: bytes) -> None:
        """Until something was written to the store."""
        until(lambda: self.data.read_bytes() != before, "something to be written")

    def first_answer(self) -> dict[str, Any]:
        """Start Fusion, and be the first to ask."""
        answers: list[dict[str, Any]] = []

        def ask() -> None:
            def asked() -> bool:
                try:
                    answers.append(self.tree())
                except ConnectionError:  # nobody listens, or ``fustor up``, which tries whether it could
                    return False
                return True

            until(asked, "an answer")

        thread = threading.Thread(target=ask)
        thread.start()
        self.up()
        thread.join()
        return answers[0]


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Struck]:
    folder = tmp_path_factory.mktemp("struck")
    (folder / "root").mkdir()
    made = Struck(folder / "root", folder / "state", fusion=FUSION)
    yield made
    made.down()


@pytest.fixture
def cluster(started: Struck) -> Iterator[Struck]:
    """With a tree like new, of which there is a copy."""
    for path in started.root.iterdir():
        shutil.rmtree(path)
    for folder in range(12):
        (started.root / f"{folder}/deep").mkdir(parents=True)
        for file in range(20):
            (started.root / f"{folder}/deep/{file}").write_bytes(b"x" * file)
    for name in ("aside", "copy.aside"):
        path = started.place / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    started.settled()
    yield started
    started.signal("agent", signal.SIGCONT)
    started.up()


def tear(before: bytes, after: bytes, chance: random.Random) -> bytes:
    """Some pages of before, some of after, and some that were written by nobody."""
    length = chance.choice((len(before), len(after)))
    pages = []
    for at in range(0, length, PAGE):
        source = chance.choices((before, after, b""), (45, 45, 10))[0]
        pages.append(source[at : at + PAGE].ljust(PAGE, b"\0"))
    return b"".join(pages)[:length]


def change(root: Path, chance: random.Random) -> None:
    """Of everything some: new, gone, moved, another size."""
    folders = sorted(path for path in root.iterdir() if path.is_dir() and path.name != "written")
    shutil.rmtree(folders[0])
    folders[1].rename(root / f"moved{chance.randrange(1 << 30)}")
    for folder in folders[2:5]:
        for number, file in enumerate(sorted(folder.rglob("*"))):
            if file.is_file():
                file.write_bytes(b"y" * number) if number % 3 else file.unlink()
    new = root / f"new{chance.randrange(1 << 30)}" / "deep"
    new.mkdir(parents=True)
    for number in range(20):
        (new / str(number)).touch()


def only_a_copy(place: Path) -> bool:
    """Nothing but the copy; one that is being made has a file of its own until it is done."""
    return [path.name for path in place.glob("copy*")] == ["copy"]


@pytest.mark.parametrize("seed", range(2))
def test_the_whole_last_copied_tree_is_answered_at_once_and_then_what_is_true(cluster: Struck, seed: int) -> None:
    chance = random.Random(seed)
    for strike in range(2):
        expected = cluster.copied()
        copy, before = (cluster.place / "copy").read_bytes(), cluster.data.read_bytes()
        writer = start("files", cluster.root / "written", 3000) if not strike else None
        change(cluster.root, chance)
        cluster.changes_since(before)
        reached = cluster.tree(max_depth=0)["generation"]
        cluster.end()
        if writer:
            finish(writer)
        store = Path(os.path.realpath(cluster.data))
        store.write_bytes(tear(before, store.read_bytes(), chance))
        write_stamp(str(store.parent), Stamp("the boot before", clean=False))
        (cluster.place / "copy").write_bytes(copy)
        (cluster.place / "copy.1-2.tmp").write_bytes(copy[: len(copy) // 2])
        change(cluster.root, chance)  # nobody of Fusion hears of this at all

        cluster.signal("agent", signal.SIGSTOP)
        answer = cluster.first_answer()
        assert answer["state"] == "stale"
        assert not answer["complete"]
        assert any("restored from a copy" in reason for reason in answer["sources"][0]["reasons"])
        assert answer["generation"] > reached
        assert cluster.entries() == expected
        if strike:  # and once more, before anything was heard or copied
            cluster.end()
            store = Path(os.path.realpath(cluster.data))
            store.write_bytes(os.urandom(store.stat().st_size))
            write_stamp(str(store.parent), Stamp("the boot between", clean=False))
            assert cluster.first_answer()["generation"] > answer["generation"]
            assert cluster.entries() == expected
        cluster.signal("agent", signal.SIGCONT)
        cluster.assert_right()
        until(partial(only_a_copy, cluster.place), "no rest of a copy that was cut off")


@pytest.mark.parametrize("harm", ["cut off", "changed", "foreign", "missing"])
def test_without_a_copy_that_proves_whole_the_tree_begins_anew(cluster: Struck, harm: str) -> None:
    cluster.copied()
    cluster.end()
    write_stamp(os.path.realpath(cluster.place / "front"), Stamp("the boot before", clean=False))
    copy = cluster.place / "copy"
    content = copy.read_bytes()
    if harm == "missing":
        copy.unlink()
    else:
        copy.write_bytes(
            {"cut off": content[:-1], "changed": content[:-9] + b"changed!!", "foreign": b"x" * 9000}[harm]
        )
    answer = cluster.first_answer()
    assert answer["state"] in ("empty", "building", "live")
    cluster.assert_right()
    view = cluster.pid("view.main")
    assert (cluster.place / "aside/data.mdb").exists()
    assert (cluster.place / "copy.aside").exists() == (harm != "missing")
    log = (cluster.state / "fusion/log/view.main.log").read_text()
    assert "the tree begins anew" in log
    cluster.copied()
    assert cluster.pid("view.main") == view


@pytest.mark.parametrize("harm", ["cut off", "foreign", "emptied", "unstamped"])
def test_what_somebody_did_to_the_store_is_found_before_it_is_read(cluster: Struck, harm: str) -> None:
    expected = cluster.copied()
    cluster.end()
    store = Path(os.path.realpath(cluster.data))
    match harm:
        case "cut off":
            os.truncate(store, store.stat().st_size // 2 // PAGE * PAGE)
        case "foreign":
            store.write_bytes(b"something else" * 10_000)
        case "emptied":
            os.truncate(store, 0)
        case "unstamped":
            (store.parent / "stamp").unlink()
    cluster.signal("agent", signal.SIGSTOP)
    answer = cluster.first_answer()
    assert answer["state"] == "stale"
    assert cluster.entries() == expected
    cluster.signal("agent", signal.SIGCONT)
    cluster.assert_right()
    assert cluster.command("store", "check").returncode == 0


def test_a_view_that_is_reset_answers_from_the_old_tree_until_the_new_one_is_complete(cluster: Struck) -> None:
    cluster.copied()
    before = cluster.tree(max_depth=0)
    (cluster.root / "0").rename(cluster.root / "renamed")
    store = cluster.data.stat().st_ino
    wanted = len(cluster.entries())
    with Poller(cluster) as poller:
        done = cluster.command("view", "reset")
        assert "reset fusion/view.main: done" in done.stdout
        until(lambda: not (cluster.place / "reset").exists(), "the new store to be the front")
        assert cluster.data.stat().st_ino != store
        cluster.assert_right()
    # Never empty, never less than the whole.
    assert {answer["rollup"]["directories"] for answer in poller.answers} == {before["rollup"]["directories"]}
    assert len(cluster.entries()) == wanted
    assert sorted(path.name for path in cluster.place.iterdir() if path.name in "ab") in (["a"], ["b"])
    assert cluster.command("store", "check").returncode == 0


def test_a_clean_stop_needs_no_copy(cluster: Struck) -> None:
    cluster.assert_right()
    store = cluster.data.stat().st_ino
    cluster.command("down", "--state", str(cluster.state))
    write_stamp(os.path.realpath(cluster.place / "front"), Stamp("the boot before", clean=True))
    with contextlib.suppress(FileNotFoundError):
        (cluster.place / "copy").unlink()
    cluster.up()
    cluster.assert_right()
    assert cluster.data.stat().st_ino == store
    assert not (cluster.place / "aside").exists()
