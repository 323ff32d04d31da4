"""Opening whatever is there: the front, else a store made of the copy, else an empty one."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from actors.view.store import Opened, compact, end_reset, open_reset, open_store
from fustor.treestore.copying import Copying
from fustor.treestore.environment import data_file
from fustor.treestore.generations import Generations
from fustor.treestore.place import Place
from fustor.treestore.stamp import Stamp, write_stamp
from fustor.treestore.writer import Writer
from protocols.errors import MachineError
from tests.treestore.scenario import SOURCE, Feed, Model, assert_sound, file_row, tree_of

SIZE = 1 << 26


READER = """
import sys
from fustor.treestore.environment import inode_of
from fustor.treestore.reader import Reader
reader = Reader(sys.argv[1])
with reader.snapshot() as snapshot:
    print("reading", flush=True)
    sys.stdin.readline()
    assert snapshot.row(1, b"kept") is not None
print(inode_of(sys.argv[1]) != reader.environment.inode)
"""


def make(path: str, generations: Generations) -> Writer:
    return Writer(path, [SOURCE], map_size=SIZE, generations=generations)


def opened(place: Place, damage: str = "", *, trusted: bool = True) -> Opened:
    return open_store(place, make, SIZE, damage, trusted)


def generation(writer: Writer) -> int:
    with writer.reader().snapshot() as snapshot:
        return snapshot.generation()


def copied(place: Place, *names: bytes) -> tuple[str, int]:
    """A store with ``names``, copied, and then with one more; closed as kill -9 does. Its uuid and generation."""
    writer = opened(place).writer
    feed = Feed(writer)
    feed.root()
    feed.listing(1, *[file_row(name) for name in names])
    Copying(writer.environment, generation(writer), place.copy).run()
    feed.names(1, file_row(b"later"))
    found = writer.uuid, generation(writer)
    writer.environment.close()
    return found


def torn(before: bytes, after: bytes, chance: random.Random) -> bytes:
    """Of each page what was there before, what is there now, or nothing."""
    length = chance.choice((len(before), len(after)))
    pages = []
    for at in range(0, length, 4096):
        source = chance.choices((before, after, b""), (45, 45, 10))[0]
        pages.append(source[at : at + 4096].ljust(4096, b"\0"))
    return b"".join(pages)[:length]


def tear(place: Place) -> None:
    """As if the host had ended: written in an earlier boot, and pages that were not written since are nonsense."""
    current = place.current()
    with open(data_file(current), "r+b") as file:
        file.seek(8192)
        file.write(os.urandom(os.stat(data_file(current)).st_size - 8192))
    write_stamp(current, Stamp("earlier", clean=False))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(str(tmp_path / "front"))


def test_a_store_is_made_and_opened_again(place: Place) -> None:
    first = opened(place)
    assert (first.reason, first.restored) == ("", "")
    first.writer.close()
    again = opened(place)
    assert (again.writer.uuid, again.reason, again.restored) == (first.writer.uuid, "", "")
    again.writer.close()


def test_a_torn_store_is_made_anew_of_its_copy(place: Place) -> None:
    uuid, reached = copied(place, b"a", b"b")
    tear(place)
    for _ in range(2):  # a second time, for a power cut seldom comes alone
        again = opened(place)
        assert "may be torn" in again.reason
        assert "restored from a copy" in again.restored
        assert set(tree_of(again.writer)) == {b"", b"/a", b"/b"}
        assert again.writer.uuid != uuid
        assert generation(again.writer) > reached
        assert again.writer.position(0) == (1, 2)
        (source,) = again.writer.reader().snapshot().status().sources
        assert (source.arrived_ns, source.complete) == (0, False)
        assert source.reasons == (again.restored,)
        assert_sound(again.writer)
        uuid, reached = again.writer.uuid, generation(again.writer)
        again.writer.environment.close()
        assert Path(place.folder, "aside/data.mdb").exists()
        tear(place)


@pytest.mark.parametrize("seed", range(5))
def test_whatever_of_the_last_pages_has_reached_the_disk_the_tree_is_the_copied_one(place: Place, seed: int) -> None:
    """A writer that commits on and on, and moments at which all that is not synced is lost in part."""
    chance = random.Random(seed)
    writer = opened(place).writer
    model = Model(seed, Feed(writer), [b"n%d" % n for n in range(30)])
    model.new_epoch()
    for _ in range(6):
        for _ in range(chance.randrange(1, 40)):
            model.step()
        copied, position = tree_of(writer), writer.position(0)
        Copying(writer.environment, generation(writer), place.copy).run()
        before = Path(data_file(place.current())).read_bytes()
        for _ in range(chance.randrange(1, 40)):
            model.step()
        reached = generation(writer)
        writer.environment.close()
        file = Path(data_file(place.current()))
        file.write_bytes(torn(before, file.read_bytes(), chance))
        write_stamp(place.current(), Stamp("earlier", clean=False))
        again = opened(place)
        writer = model.feed.writer = again.writer
        assert "may be torn" in again.reason
        assert (tree_of(writer), writer.position(0)) == (copied, position)
        assert generation(writer) > reached
        assert_sound(writer)
        # The agent hears that, and begins a new epoch.
        model.new_epoch()
        assert tree_of(writer) == dict(model.root.everything())
        assert_sound(writer)
    writer.close()


def test_the_clock_may_be_wrong_after_a_power_cut(place: Place) -> None:
    copied(place, b"a")
    generations = Generations(place.generations)
    generations.allow(1 << 60)
    tear(place)
    again = opened(place)
    assert generation(again.writer) > 1 << 60
    again.writer.close()


@pytest.mark.parametrize("harm", ["cut off", "changed", "longer", "foreign", "empty"])
def test_a_copy_that_is_not_what_was_written_is_set_aside(place: Place, harm: str) -> None:
    copied(place, b"a")
    tear(place)
    copy = Path(place.copy)
    content = copy.read_bytes()
    changed = bytearray(content)
    changed[len(content) // 2] ^= 1
    copy.write_bytes(
        {
            "cut off": content[:-1000],
            "changed": bytes(changed),
            "longer": content + b"x",
            "foreign": b"something else" * 1000,
            "empty": b"",
        }[harm]
    )
    again = opened(place)
    assert "may be torn" in again.reason
    assert "copy" in again.reason
    assert again.restored == ""
    assert set(tree_of(again.writer)) == {b""}
    assert Path(place.copy + ".aside").exists()
    again.writer.environment.close()
    assert opened(place).reason == ""


def test_a_copy_of_another_format_is_set_aside(place: Place) -> None:
    writer = opened(place).writer
    with writer.environment.env.begin(write=True, db=writer.environment.meta) as txn:
        txn.put(b"format", bytes(7) + b"\x63")
    Copying(writer.environment, 1, place.copy).run()
    writer.environment.close()
    again = opened(place)
    assert again.reason.count("format 99") == 2
    assert again.restored == ""
    again.writer.close()


def test_what_is_no_store_is_set_aside(place: Place) -> None:
    for attempt in range(2):  # the second takes the place of the first
        opened(place).writer.close()
        Path(data_file(place.current())).write_bytes(b"rubbish %d" % attempt * 1000)
        again = opened(place)
        assert "not a tree store" in again.reason
        feed = Feed(again.writer)
        feed.root()
        feed.listing(1, file_row(b"f"))
        assert set(tree_of(again.writer)) == {b"", b"/f"}
        again.writer.close()
        assert Path(place.folder, "aside/data.mdb").read_bytes().startswith(b"rubbish %d" % attempt)


def test_a_store_that_was_cut_off_is_made_of_the_copy(place: Place) -> None:
    copied(place, b"a")
    os.truncate(data_file(place.current()), 16384)
    again = opened(place)
    assert "cut off" in again.reason
    assert set(tree_of(again.writer)) == {b"", b"/a"}
    again.writer.close()


def test_a_store_that_is_missing_is_made_of_the_copy(place: Place) -> None:
    copied(place, b"a")
    os.unlink(place.front)
    again = opened(place)
    assert "no store" in again.reason
    assert set(tree_of(again.writer)) == {b"", b"/a"}
    again.writer.close()


def test_where_the_whole_folder_is_lost_the_tree_begins_anew(place: Place) -> None:
    uuid, _ = copied(place, b"kept")
    shutil.rmtree(place.folder)
    writer = opened(place).writer
    assert writer.uuid != uuid
    assert set(tree_of(writer)) == {b""}
    writer.close()


def test_damage_that_came_with_the_copy_does_not_come_again(place: Place) -> None:
    copied(place, b"a")
    first = opened(place, "damage")
    assert (first.reason, bool(first.restored)) == ("damage", True)
    first.writer.environment.close()
    second = opened(place, "damage again", trusted=False)
    assert (second.reason, second.restored) == ("damage again", "")
    assert set(tree_of(second.writer)) == {b""}
    second.writer.close()


def test_the_compact_copy_takes_the_place_of_the_store(place: Place) -> None:
    writer = opened(place).writer
    feed = Feed(writer)
    feed.root()
    feed.listing(1, *[file_row(b"f%d" % n, n, n) for n in range(30_000)])
    feed.listing(1, file_row(b"kept"))
    before = writer.used_bytes()
    Copying(writer.environment, generation(writer), place.copy).run()
    reached = writer.uuid, generation(writer), writer.position(0)
    writer.environment.close()
    reader = subprocess.Popen(
        [sys.executable, "-c", READER, place.front], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert reader.stdout is not None
    assert reader.stdout.readline() == "reading\n"
    small = compact(place, make)
    assert (small.uuid, generation(small), small.position(0)) == reached
    assert small.used_bytes() < before / 4
    assert set(tree_of(small)) == {b"", b"/kept"}
    assert_sound(small)
    assert sorted(os.listdir(place.folder)) == ["b", "copy", "front", "generation"]
    # Who was reading finishes in the old file, and knows then that it was replaced.
    feed = Feed(small)
    feed.epoch, feed.number = small.position(0)
    feed.listing(1)
    assert reader.communicate("\n")[0] == "True\n"
    assert reader.returncode == 0
    small.close()


def test_a_copy_of_a_damaged_store_is_set_aside(place: Place) -> None:
    copied(place, b"a")
    writer = opened(place).writer
    with writer.environment.env.begin(write=True, db=writer.environment.meta) as txn:
        txn.put(b"source.0", b"broken")
    Copying(writer.environment, 1, place.copy).run()
    writer.environment.close()
    again = opened(place, "damage")
    assert "damaged record of a source" in again.reason
    assert again.restored == ""
    again.writer.close()


def test_a_folder_that_cannot_be_written_is_the_operators_to_mend(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match="can't be"):
        opened(Place(str(tmp_path / "file" / "front")))


def test_a_store_that_is_built_anew_is_begun_once_and_not_answered_from(place: Place) -> None:
    copied(place, b"a")
    front = opened(place).writer
    front.close()
    place.note_reset("")
    first = open_reset(place, make)
    assert first.environment.path == place.other()
    assert place.resetting() == first.uuid
    feed = Feed(first)
    feed.root()
    feed.listing(1, file_row(b"new"))
    first.environment.close()
    # The front can be opened all the same, and what was begun is gone on with.
    opened(place).writer.close()
    again = open_reset(place, make)
    assert again.uuid == first.uuid
    for _ in range(2):
        end_reset(place, again.environment.path, make)
    assert place.current() == again.environment.path
    assert sorted(os.listdir(place.folder)) == ["b", "copy", "front", "generation"]
    again.close()
    last = opened(place)
    assert set(tree_of(last.writer)) == {b"", b"/new"}
    last.writer.close()


@pytest.mark.parametrize("harm", ["torn", "another", "asked again"])
def test_one_that_was_begun_and_is_of_no_use_is_begun_again(place: Place, harm: str) -> None:
    opened(place).writer.close()
    place.note_reset("")
    first = open_reset(place, make)
    first.environment.close()
    match harm:
        case "torn":
            write_stamp(place.other(), Stamp("earlier", clean=False))
        case "another":
            place.note_reset("of another store")
        case "asked again":
            place.note_reset("")
    again = open_reset(place, make)
    assert again.uuid != first.uuid
    assert place.resetting() == again.uuid
    again.close()


def test_what_a_cancelled_reset_has_left_is_removed(place: Place) -> None:
    opened(place).writer.close()
    place.note_reset("")
    open_reset(place, make).close()
    place.end_reset()
    opened(place).writer.close()
    assert sorted(os.listdir(place.folder)) == ["a", "front", "generation"]
