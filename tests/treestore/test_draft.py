"""What is kept until the end of a transaction: it is all written, in the right order, or not at all."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from fustor.treestore import draft, pages
from fustor.treestore.check import check
from fustor.treestore.environment import StoreFullError
from fustor.treestore.format import UNSEEN, Head
from fustor.treestore.writer import Writer
from protocols.data import Listing, Moved, Names
from tests.treestore.scenario import SOURCE, Feed, Model, assert_sound, directory_row, file_row, tree_of


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


def names(writer: Writer) -> set[bytes]:
    return set(tree_of(writer))


def seen(writer: Writer, *components: bytes) -> bytes:
    with writer.reader().snapshot() as snapshot:
        return Head.unpack(snapshot.head(snapshot.resolve(components).id) or b"").seen


# -- many items in one transaction ------------------------------------------------------------------------------------


@pytest.mark.parametrize("names_kept", [0, 3, draft.MAX_NAMES])
@pytest.mark.parametrize("bytes_kept", [0, pages.MAX_NEW_BYTES])
def test_a_model_that_is_committed_now_and_then(
    writer: Writer, monkeypatch: pytest.MonkeyPatch, names_kept: int, bytes_kept: int
) -> None:
    monkeypatch.setattr(draft, "MAX_NAMES", names_kept)
    monkeypatch.setattr(pages, "MAX_NEW_BYTES", bytes_kept)
    feed = Feed(writer)
    model = Model(11, feed, [b"n%03d" % at for at in range(40)] + [b"\xff", b"L" * 450])
    chance = random.Random(3)
    commit = writer.commit
    model.new_epoch()
    for step in range(25):
        monkeypatch.setattr(writer, "commit", lambda: False)
        for _ in range(chance.randrange(1, 15)):
            model.step()
        monkeypatch.setattr(writer, "commit", commit)
        writer.commit()
        assert tree_of(writer) == dict(model.root.everything()), step
        assert_sound(writer)


def test_names_of_many_items_come_together(writer: Writer, feed: Feed) -> None:
    feed.listing(1, file_row(b"old", 1), file_row(b"stays", 2))
    for at in range(300):
        feed(Names(1, directory_row(b"", at)), rows=([file_row(b"new%03d" % at, at)],), commit=False)
    feed(Names(1, ()), rows=([(b"old",), (b"new007",), (b"never",)],), commit=False)
    feed(Names(1, ()), rows=([file_row(b"new008", 1000)],), commit=False)
    feed(Names(1, ()), rows=([file_row(b"new007", 5)],), commit=False)
    assert names(writer) == {b"", b"/old", b"/stays"}
    assert writer.commit()
    found = tree_of(writer)
    assert found.keys() == {b"", b"/stays"} | {b"/new%03d" % at for at in range(300)}
    assert (found[b"/new007"][1], found[b"/new008"][1]) == (5, 1000)


def test_names_that_end_as_they_began_change_nothing(writer: Writer, feed: Feed) -> None:
    feed.listing(1, file_row(b"f"))
    feed(Names(1, ()), rows=([(b"f",), file_row(b"g")],), commit=False)
    feed(Names(1, ()), rows=([file_row(b"f"), (b"g",)],), commit=False)
    assert not writer.commit()


def test_a_listing_comes_after_the_names_before_it(writer: Writer, feed: Feed) -> None:
    feed.listing(1, file_row(b"f"))
    feed(Names(1, ()), rows=([file_row(b"g"), file_row(b"h", 1)],), commit=False)
    feed(Listing(1, b"", None, ()), rows=([file_row(b"f"), file_row(b"h", 2)],), commit=False)
    feed(Names(1, ()), rows=([file_row(b"i")],), commit=False)
    writer.commit()
    assert {name: size for name, (_, size) in tree_of(writer).items()} == {b"": 0, b"/f": 5, b"/h": 2, b"/i": 5}


def test_a_new_directory_goes_on_changing_before_it_is_stored(writer: Writer, feed: Feed) -> None:
    rows = [file_row(b"f%03d" % at) for at in range(150)]
    feed(Listing(1, b"", None, (), (2,)), rows=([directory_row(b"d")],), commit=False)
    feed(Listing(2, b"", None, ()), rows=(rows,), commit=False)
    feed(Names(2, ()), rows=([(b"f000",), file_row(b"g")],), commit=False)
    feed(Listing(2, b"f100", None, ()), rows=([file_row(b"z")],), commit=False)
    writer.commit()
    assert names(writer) == {b"", b"/d", b"/d/z"} | {b"/d/f%03d" % at for at in range(1, 100)}


def test_a_directory_that_goes_takes_along_what_was_noted(writer: Writer, feed: Feed) -> None:
    feed.listing(1, directory_row(b"d"), file_row(b"f"), ids=(2,))
    feed(Listing(2, b"", None, (), (3,)), rows=([file_row(b"x"), directory_row(b"e")],), commit=False)
    feed(Listing(3, b"", None, ()), rows=([file_row(b"y")],), commit=False)
    feed(Names(3, ()), rows=([file_row(b"z")],), commit=False)
    feed(Names(1, ()), rows=([(b"d",)],), commit=False)
    writer.commit()
    assert names(writer) == {b"", b"/f"}


def test_names_noted_stay_with_a_directory_that_moves(writer: Writer, feed: Feed) -> None:
    feed.listing(1, directory_row(b"a"), directory_row(b"b"), file_row(b"c"), ids=(2, 3))
    feed(Names(2, ()), rows=([file_row(b"x", 7)],), commit=False)
    feed(Moved(2, 3, b"moved"), commit=False)
    feed(Names(3, ()), rows=([file_row(b"y", 1)],), commit=False)
    feed(Moved(3, 1, b"c"), commit=False)
    writer.commit()
    assert names(writer) == {b"", b"/c", b"/c/moved", b"/c/moved/x", b"/c/y"}


# -- listings that say the same ---------------------------------------------------------------------------------------


def test_a_listing_that_is_the_same_is_known_by_its_bytes(writer: Writer, feed: Feed) -> None:
    rows = [file_row(b"f"), file_row(b"g"), directory_row(b"d")]
    feed.listing(1, *rows, ids=(2,))
    first = seen(writer)
    assert first != UNSEEN
    assert not feed.listing(1, *rows, ids=(2,))
    assert seen(writer) == first
    # The files are as before, and still the directory is another one: its content is gone.
    feed.listing(2, file_row(b"inner"))
    assert feed.listing(1, *rows, ids=(3,))
    assert names(writer) == {b"", b"/f", b"/g", b"/d"}


@pytest.mark.parametrize("change", ["names", "gone", "kind", "moved", "part", "listing"])
def test_what_changes_the_files_since_is_not_overlooked(writer: Writer, feed: Feed, change: str) -> None:
    rows = [file_row(b"f"), file_row(b"g")]
    feed.listing(1, *rows)
    match change:
        case "names":
            feed.names(1, file_row(b"f", 9))
        case "gone":
            feed.names(1, (b"g",))
        case "kind":
            feed.names(1, directory_row(b"f"), ids=(2,))
        case "moved":
            feed.names(1, directory_row(b"h"), ids=(2,))
            feed(Moved(2, 1, b"f"))
        case "part":
            feed.listing(1, lo=b"g")
        case "listing":
            feed.listing(1, rows[1])
    assert feed.listing(1, *rows)
    assert tree_of(writer) == {b"": ("directory", 0), b"/f": ("file", 5), b"/g": ("file", 5)}
    assert not feed.listing(1, *rows)


def test_what_was_not_wholly_right_is_looked_at_again(writer: Writer, feed: Feed) -> None:
    feed.listing(1, file_row(b"f"), (b"bad", 0o100644, "size"))
    assert seen(writer) == UNSEEN
    feed.listing(1, file_row(b"f"), ignore=(b"g",))
    assert seen(writer) == UNSEEN
    feed.listing(1, file_row(b"f"), directory_row(b"d"), ids=(0,))
    assert seen(writer) == UNSEEN
    assert writer.counters["malformed"] == 1


def test_a_new_epoch_finds_the_files_as_they_are(writer: Writer, feed: Feed) -> None:
    rows = [file_row(b"f"), directory_row(b"d")]
    feed.listing(1, *rows, ids=(2,))
    feed.listing(2, file_row(b"inner"))
    before = tree_of(writer)
    feed.root(50)
    assert not feed.listing(50, *rows, ids=(51,))
    assert not feed.listing(51, file_row(b"inner"))
    assert tree_of(writer) == before
    feed.names(51, file_row(b"more"))
    assert b"/d/more" in names(writer)


# -- what does not come to be -----------------------------------------------------------------------------------------


def test_an_abort_forgets_what_was_noted(writer: Writer, feed: Feed) -> None:
    feed.listing(1, directory_row(b"d"), file_row(b"f"), ids=(2,))
    before = tree_of(writer)
    feed(Names(1, directory_row(b"", 9)), rows=([file_row(b"g"), (b"f",)],), commit=False)
    feed(Listing(2, b"", None, ()), rows=([file_row(b"inner")],), commit=False)
    feed(Moved(2, 1, b"elsewhere"), commit=False)
    writer.abort()
    assert not writer.commit()
    assert tree_of(writer) == before
    feed.number -= 3
    feed.names(1, file_row(b"after"))
    assert names(writer) == {b"", b"/d", b"/f", b"/after"}


@pytest.mark.parametrize("kept", [100, draft.MAX_NAMES])
def test_a_map_that_is_full_in_the_middle_leaves_the_last_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    """Full while an item is applied, or while everything is written at the end."""
    monkeypatch.setattr(draft, "MAX_NAMES", kept)
    writer = Writer(str(tmp_path / "s"), [SOURCE], map_size=1 << 20)
    feed = Feed(writer)
    feed.root()
    feed.listing(1, directory_row(b"d"), file_row(b"f"), ids=(2,))
    before, position = tree_of(writer), writer.position(0)
    chance = random.Random(2)

    def fill() -> None:
        for at in range(60):
            rows = [file_row(b"%d-%d" % (at, i), i, chance.getrandbits(60)) for i in range(500)]
            feed(Names(1, ()), Listing(3 + at, b"", None, ()), rows=(rows, rows), commit=False)
        writer.commit()

    with pytest.raises(StoreFullError):
        fill()
    assert not writer.open
    assert (tree_of(writer), writer.position(0)) == (before, position)
    feed.number = position[1]
    feed.names(1, file_row(b"g"))
    assert names(writer) == before.keys() | {b"/g"}
    writer.close()
    assert check(str(tmp_path / "s")) == []


def test_new_directories_out_of_order_are_stored_in_order(writer: Writer, feed: Feed) -> None:
    handles = list(range(2, 300))
    feed.listing(1, *[directory_row(b"d%03d" % at) for at in handles], ids=tuple(handles))
    random.Random(4).shuffle(handles)
    for at, handle in enumerate(handles):
        feed(Listing(handle, b"", None, ()), rows=([file_row(b"f%03d" % handle, handle)],), commit=at % 50 == 0)
    writer.commit()
    assert {name: size for name, (kind, size) in tree_of(writer).items() if kind == "file"} == {
        b"/d%03d/f%03d" % (at, at): at for at in handles
    }
