"""The writer against a model, and each rule of the operations by itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fustor.treestore.check import check
from fustor.treestore.environment import StoreFullError
from fustor.treestore.format import LISTED, UNREADABLE, Head, head_text
from fustor.treestore.reader import Found
from fustor.treestore.writer import SourceSpec, Writer
from protocols.codec import pack
from protocols.data import Attributes, Item, Listing, Moved, Names, Parsers, Root, Watermark
from protocols.errors import ProtocolError
from tests.treestore.scenario import (
    SOURCE,
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
    return Head.unpack(stored_head(writer, *components))


def stored_head(writer: Writer, *components: bytes) -> bytes:
    with writer.reader().snapshot() as snapshot:
        found = snapshot.resolve(components)
        assert found.matched == len(components)
        value = snapshot.head(found.id)
        assert value is not None
        return value


def text(writer: Writer, *components: bytes) -> bytes:
    return head_text(stored_head(writer, *components))[0]


def names(writer: Writer) -> set[bytes]:
    return set(tree_of(writer))


# -- the whole against a model ----------------------------------------------------------------------------------------

ODD_NAMES = [
    b'q"uote', b"back\\slash", b"\x7f", b"\x01", b"new\nline", b"\xff\xfe", b"\xff", b"\xfe", "\u00fcn\u00ef".encode(),
    "\ufffd".encode(), b'},{"name":"', b'"path":"', b',"size":9,', b"L" * 450 + b"a", b"L" * 450 + b"b", b"L" * 299,
    b"L" * 300, b"L" * 301, b"L" * 400, b"L" * 401,
]  # fmt: skip


@pytest.mark.parametrize(("seed", "wide"), [(0, False), (1, False), (2, True), (3, True)])
def test_random_changes_equal_a_model(writer: Writer, seed: int, wide: bool) -> None:
    names = [b"n%03d" % i for i in range(400 if wide else 12)] + ODD_NAMES
    model = Model(seed, Feed(writer), names)
    model.new_epoch()
    for step in range(120):
        model.step()
        assert tree_of(writer) == dict(model.root.everything()), step
        if step % 20 == 0:
            assert_sound(writer)
    assert writer.counters["malformed"] == writer.counters["refused"] == writer.counters["loops"] == 0


def test_every_byte_is_a_name(writer: Writer, feed: Feed) -> None:
    rows = [file_row(bytes((byte,)), byte) for byte in range(1, 256) if byte not in b"/."]
    feed.listing(1, *rows)
    assert tree_of(writer) == {b"": ("directory", 0)} | {b"/" + row[0]: ("file", row[2]) for row in rows}
    feed.names(1, *[(row[0],) for row in rows])
    assert names(writer) == {b""}


# -- listings ---------------------------------------------------------------------------------------------------------


def test_the_same_listing_again_changes_nothing(writer: Writer, feed: Feed) -> None:
    rows = [file_row(b"f%03d" % i) for i in range(250)] + [link_row(b"link", b"\xfftarget"), directory_row(b"d")]
    own = directory_row(b"")
    assert feed.listing(1, *rows, ids=(2,), own=own)
    before = head(writer).generation
    assert not feed.listing(1, *reversed(rows), ids=(2,), own=own)
    assert head(writer).generation == before
    with writer.reader().snapshot() as snapshot:
        assert snapshot.generation() == before


def test_a_part_of_a_listing_replaces_its_range_only(writer: Writer, feed: Feed) -> None:
    feed.listing(1, *[file_row(b"f%03d" % i) for i in range(300)], directory_row(b"f100d"), ids=(2,))
    feed.listing(1, file_row(b"f150"), lo=b"f050", hi=b"f250", ignore=(b"f060", b"f100d"))
    kept = {b"/f%03d" % i for i in (*range(50), 60, 150, *range(250, 300))}
    assert names(writer) == kept | {b"", b"/f100d"}


def test_parts_make_a_directory_listed_when_the_last_came(writer: Writer, feed: Feed) -> None:
    feed.listing(1, file_row(b"a"), hi=b"b")
    assert not head(writer).flags & LISTED
    assert not resolve(writer, b"z").known
    feed.listing(1, file_row(b"c"), lo=b"b")
    assert resolve(writer, b"z").known


def test_a_last_part_alone_does_not_make_it_listed(writer: Writer, feed: Feed) -> None:
    feed.listing(1, file_row(b"c"), lo=b"b")
    assert not resolve(writer, b"z").known


def test_an_id_of_zero_is_a_name_of_which_nothing_is_said(writer: Writer, feed: Feed) -> None:
    feed.listing(1, directory_row(b"d"), file_row(b"f"), ids=(2,))
    feed.listing(2, file_row(b"inner"))
    feed.listing(1, directory_row(b"d"), directory_row(b"f"), ids=(0, 0))
    assert names(writer) == {b"", b"/d", b"/d/inner", b"/f"}


def test_an_unreadable_directory_keeps_its_content_and_says_so(writer: Writer, feed: Feed) -> None:
    feed.listing(1, directory_row(b"d"), ids=(2,))
    feed.listing(2, file_row(b"inner"))
    feed(Listing(2, b"", None, (), errno=13))
    found = head(writer, b"d")
    assert found.flags & UNREADABLE
    assert b',"unreadable":"EACCES"' in text(writer, b"d")
    assert b"/d/inner" in names(writer)
    assert not resolve(writer, b"d", b"other").known
    feed.listing(1, directory_row(b"d", 5), ids=(2,))  # the row of the parent counts while it has no own
    assert b'"mtime_ns":5,' in text(writer, b"d")
    assert b',"unreadable":"EACCES"' in text(writer, b"d")
    feed.listing(2, file_row(b"inner"), own=directory_row(b""))
    assert b"unreadable" not in text(writer, b"d")
    assert resolve(writer, b"d", b"other").known


def test_the_own_row_wins_while_the_directory_can_be_looked_at(writer: Writer, feed: Feed) -> None:
    feed.listing(1, directory_row(b"d", 1), ids=(2,))
    feed.listing(2, own=directory_row(b"", 2))
    assert not feed.listing(1, directory_row(b"d", 3), ids=(2,))
    assert b'"mtime_ns":2,' in text(writer, b"d")
    feed.names(2, own=directory_row(b"", 4))
    assert b'"mtime_ns":4,' in text(writer, b"d")


def test_an_own_row_that_is_wrong_is_counted_and_says_nothing(writer: Writer, feed: Feed) -> None:
    feed.listing(1, own=directory_row(b"", 2))
    before = stored_head(writer)
    for own in ((b"", "mode"), file_row(b""), (*directory_row(b"")[:8], 1.5), (7,), link_row(b"", b"t")):
        assert not feed.names(1, own=own)
    assert writer.counters["malformed"] == 5
    assert stored_head(writer) == before


def test_directory_zero_is_passed_over_with_its_rows(writer: Writer, feed: Feed) -> None:
    feed(
        Listing(0, b"", None, ()), Names(1, ()), Listing(0, b"", None, (), errno=5),
        rows=([file_row(b"not")], [file_row(b"yes")]),
    )  # fmt: skip
    assert names(writer) == {b"", b"/yes"}


# -- single names -----------------------------------------------------------------------------------------------------


def test_a_name_changes_its_kind(writer: Writer, feed: Feed) -> None:
    feed.names(1, file_row(b"x"))
    feed.names(1, directory_row(b"x"), ids=(2,))
    feed.listing(2, file_row(b"inner"))
    assert names(writer) == {b"", b"/x", b"/x/inner"}
    feed.names(1, file_row(b"x", 9))
    assert tree_of(writer)[b"/x"] == ("file", 9)
    assert names(writer) == {b"", b"/x"}
    assert_sound(writer)
    feed.names(1, (b"x",))
    assert names(writer) == {b""}


# -- identity of directories ------------------------------------------------------------------------------------------


def test_a_move_keeps_content_and_replaces_what_is_there(writer: Writer, feed: Feed) -> None:
    feed.listing(1, directory_row(b"a"), directory_row(b"b"), file_row(b"f"), ids=(2, 3))
    feed.listing(2, directory_row(b"deep"), ids=(4,))
    feed.listing(4, file_row(b"leaf", 100))
    feed.listing(3, file_row(b"lost"))
    feed(Moved(4, 1, b"b"))
    assert names(writer) == {b"", b"/a", b"/b", b"/b/leaf", b"/f"}
    feed(Moved(4, 2, b"again"), Moved(4, 1, b"f"))
    assert names(writer) == {b"", b"/a", b"/f", b"/f/leaf"}
    assert (head(writer).files, head(writer).directories, head(writer).size) == (1, 2, 100)


def test_a_swap_within_one_item_loses_nothing(writer: Writer, feed: Feed) -> None:
    feed.listing(1, directory_row(b"a"), directory_row(b"b"), ids=(2, 3))
    feed.listing(2, file_row(b"in-a"))
    feed.listing(3, file_row(b"in-b"))
    feed.listing(1, directory_row(b"a"), directory_row(b"b"), ids=(3, 2))
    assert names(writer) == {b"", b"/a", b"/a/in-b", b"/b", b"/b/in-a"}
    # Displaced by the first, given a new place by the second operation.
    feed(Moved(2, 1, b"a"), Moved(3, 1, b"c"))
    assert names(writer) == {b"", b"/a", b"/a/in-a", b"/c", b"/c/in-b"}


def test_a_known_id_is_linked_where_it_is_seen(writer: Writer, feed: Feed) -> None:
    feed.listing(1, directory_row(b"a"), directory_row(b"b"), ids=(2, 3))
    feed.listing(2, directory_row(b"x"), ids=(4,))
    feed.listing(4, file_row(b"leaf"))
    feed.listing(3, directory_row(b"y"), ids=(4,))
    assert names(writer) == {b"", b"/a", b"/b", b"/b/y", b"/b/y/leaf"}


def test_another_directory_of_the_same_name_is_another_directory(writer: Writer, feed: Feed) -> None:
    feed.listing(1, directory_row(b"d"), ids=(2,))
    feed.listing(2, file_row(b"old"))
    feed.listing(1, directory_row(b"d"), ids=(3,))
    assert names(writer) == {b"", b"/d"}
    assert not resolve(writer, b"d", b"old").known


def test_loops_are_refused(writer: Writer, feed: Feed) -> None:
    feed.listing(1, directory_row(b"a"), ids=(2,))
    feed.listing(2, directory_row(b"b"), ids=(3,))
    feed(Moved(2, 3, b"x"))
    feed(Moved(1, 3, b"x"))
    feed.listing(3, directory_row(b"y"), ids=(2,))
    assert writer.counters["loops"] == 3
    assert names(writer) == {b"", b"/a", b"/a/b"}
    feed.listing(9, directory_row(b"p"), ids=(8,))  # two in limbo
    feed.listing(8, directory_row(b"q"), ids=(9,))
    assert writer.counters["loops"] == 4


def test_limbo_is_linked_when_its_parent_names_it(writer: Writer, feed: Feed) -> None:
    feed.listing(7, file_row(b"early", 3))
    assert names(writer) == {b""}
    assert_sound(writer)
    feed.names(1, directory_row(b"late"), ids=(7,))
    assert names(writer) == {b"", b"/late", b"/late/early"}
    assert head(writer).size == 3


def test_a_new_epoch_matches_by_name_and_clears_limbo(writer: Writer, feed: Feed) -> None:
    rows = (directory_row(b"d"), file_row(b"f"))
    feed.listing(1, *rows, ids=(2,), own=directory_row(b""))
    feed.listing(2, file_row(b"inner"), own=directory_row(b""))
    feed.listing(7, file_row(b"limbo"))
    before, store_id = tree_of(writer), resolve(writer, b"d").id
    generation = head(writer).generation
    feed.root(50)
    assert tree_of(writer) == before
    feed.listing(50, *rows, ids=(51,), own=directory_row(b""))
    feed.listing(51, file_row(b"inner"), own=directory_row(b""))
    assert tree_of(writer) == before
    assert resolve(writer, b"d").id == store_id
    assert head(writer).generation == generation
    assert_sound(writer)


def test_ids_of_an_epoch_end_with_it_even_without_a_root(writer: Writer, feed: Feed) -> None:
    feed.listing(1, directory_row(b"d"), ids=(2,))
    feed.epoch += 1
    feed.number = 0
    feed.listing(2, file_row(b"stray"))
    assert names(writer) == {b"", b"/d"}


def test_an_epoch_whose_first_item_cannot_be_read_begins_all_the_same(writer: Writer, feed: Feed) -> None:
    feed.listing(1, directory_row(b"d"), ids=(2,))
    feed.listing(7, file_row(b"limbo"))
    writer.skip(0, 2, 1)
    writer.commit()
    assert writer.position(0) == (2, 1)
    assert names(writer) == {b"", b"/d"}
    assert_sound(writer)
    feed.epoch, feed.number = 2, 1
    feed.listing(2, file_row(b"stray"))
    assert names(writer) == {b"", b"/d"}


def test_a_chain_of_two_thousand_directories_comes_and_goes(writer: Writer, feed: Feed) -> None:
    for depth in range(1, 2001):
        feed.number += 1
        item = Item.of(1, feed.number, [Listing(depth, b"", None, (), (depth + 1,))])
        writer.apply(0, item, pack([[directory_row(b"d"), file_row(b"f", 1)]]))
    writer.commit()
    assert (head(writer).files, head(writer).directories, head(writer).size) == (2000, 2000, 2000)
    assert len(tree_of(writer)) == 4001
    assert_sound(writer)
    feed(Moved(1001, 1, b"up"))
    assert (head(writer).files, head(writer, b"up").files) == (2000, 1000)
    feed.listing(1)
    assert names(writer) == {b""}
    assert (head(writer).files, head(writer).directories, head(writer).size) == (0, 0, 0)


# -- bad data ---------------------------------------------------------------------------------------------------------


def test_malformed_rows_are_counted_and_skipped(writer: Writer, feed: Feed) -> None:
    good = file_row(b"good")
    bad: list[tuple[object, ...]] = [
        (b"", *good[1:]), (b".", *good[1:]), (b"..", *good[1:]), (b"a/b", *good[1:]), (b"a\0b", *good[1:]),
        (b"size", good[1], "big", *good[3:]), (b"size", good[1], -1, *good[3:]), (b"mode", 0o160000, *good[2:]),
        (b"short", 0o100644, "x"), (7, *good[1:]), (), (b"n" * 5000, *good[1:]), (b"gone",),
    ]  # fmt: skip
    feed.listing(1, good, *bad, directory_row(b"d"), ids=(2,))
    assert names(writer) == {b"", b"/good", b"/d"}
    assert writer.counters["malformed"] == len(bad)
    feed.listing(1, good, file_row(b"twice", 1), file_row(b"twice", 2), lo=b"f", hi=b"zz")
    assert tree_of(writer)[b"/twice"] == ("file", 2)
    feed.listing(1, file_row(b"outside"), lo=b"x")
    assert b"/outside" not in names(writer)
    feed.names(1, (b"",), (b"..",), file_row(b"fine"))
    assert b"/fine" in names(writer)


def test_ids_stay_with_their_directories_when_one_row_is_bad(writer: Writer, feed: Feed) -> None:
    bad = (b"bad", 0o040755, "size", 1, 1, 1, 1, 1, 1)
    feed.listing(1, directory_row(b"a"), bad, directory_row(b"b"), ids=(2, 3, 4))
    feed.listing(4, file_row(b"in-b"))
    assert names(writer) == {b"", b"/a", b"/b", b"/b/in-b"}


def test_ids_that_do_not_fit_say_nothing_of_directories(writer: Writer, feed: Feed) -> None:
    feed.listing(1, directory_row(b"a"), ids=(2,))
    feed.listing(1, directory_row(b"a"), directory_row(b"b"), file_row(b"f"), ids=(2,))
    feed.names(1, directory_row(b"c"), ids=(-5,))
    assert names(writer) == {b"", b"/a", b"/f"}
    assert writer.counters["refused"] == 2


@pytest.mark.parametrize("frame", [b"", b"\xc1", pack("text"), pack([]), pack([[], []]), pack([1])])
def test_rows_that_are_not_the_items_are_refused_and_passed_over(writer: Writer, feed: Feed, frame: bytes) -> None:
    item = Item.of(1, 2, [Names(1, ()), Watermark(5, "live", True)])
    with pytest.raises(ProtocolError):
        writer.apply(0, item, frame)
    writer.commit()
    assert writer.position(0) == (1, 2)
    with writer.reader().snapshot() as snapshot:
        assert snapshot.status().sources[0].state == "live"


def test_operations_on_no_directory_are_refused(writer: Writer, feed: Feed) -> None:
    feed(Moved(-1, 1, b"x"), Moved(2, 0, b"x"), Moved(2, 1, b"a/b"), Listing(-3, b"", None, (), errno=1), Root(-1))
    assert writer.counters["refused"] == 5
    assert names(writer) == {b""}


def test_huge_sizes_add_up(writer: Writer, feed: Feed) -> None:
    most = (1 << 63) - 1
    feed.listing(1, *[file_row(b"sparse%d" % i, most) for i in range(5)])
    assert head(writer).size == 5 * most
    feed.listing(1)
    assert head(writer).size == 0


# -- transactions -----------------------------------------------------------------------------------------------------


def test_nothing_is_seen_before_the_commit_and_nothing_after_an_abort(writer: Writer, feed: Feed) -> None:
    feed(Names(1, ()), rows=([file_row(b"seen")],))
    feed(Names(1, ()), rows=([file_row(b"not")],), commit=False)
    assert names(writer) == {b"", b"/seen"}
    assert writer.position(0) == (1, 3)
    writer.abort()
    assert writer.position(0) == (1, 2)
    writer.commit()
    assert names(writer) == {b"", b"/seen"}


def test_a_full_map_aborts_and_the_store_goes_on(tmp_path: Path) -> None:
    writer = Writer(str(tmp_path / "s"), [SOURCE], map_size=1 << 20)
    feed = Feed(writer)
    feed.root()
    feed.listing(1, file_row(b"small"))

    def fill() -> None:
        for at in range(10_000):
            feed.names(1, *[file_row(b"%d-%d" % (at, i)) for i in range(500)])

    with pytest.raises(StoreFullError):
        fill()
    assert writer.position(0)[1] == feed.number - 1
    assert_sound(writer)
    feed.number -= 1
    feed.names(1, (b"small",))
    assert b"/small" not in names(writer)
    writer.close()
    assert check(str(tmp_path / "s")) == []


# -- sources ----------------------------------------------------------------------------------------------------------


def test_mounts_side_by_side_and_what_happens_when_they_change(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    specs = [SourceSpec(0, "a", "s", "/one"), SourceSpec(1, "b", "t", "/two")]
    writer = Writer(path, specs, map_size=1 << 26)
    for index in (0, 1):
        feed = Feed(writer, index)
        feed.root()
        feed.listing(1, file_row(b"f%d" % index, 10), directory_row(b"d"), ids=(2,))
        feed.listing(9, file_row(b"limbo"))
    assert set(tree_of(writer)) == {b"", b"/one", b"/one/d", b"/one/f0", b"/two", b"/two/d", b"/two/f1"}
    assert resolve(writer, b"three").known
    assert resolve(writer, b"one", b"x").known
    assert_sound(writer)
    writer.close()

    writer = Writer(path, specs[1:], map_size=1 << 26)
    assert set(tree_of(writer)) == {b"", b"/two", b"/two/d", b"/two/f1"}
    assert head(writer).size == 10
    assert writer.position(1) == (1, 3)
    assert_sound(writer)
    writer.close()

    writer = Writer(path, [SourceSpec(1, "b", "t", "/")], map_size=1 << 26)
    assert set(tree_of(writer)) == {b""}
    assert not resolve(writer, b"x").known
    feed = Feed(writer, 1)
    feed.root()
    feed.listing(1, file_row(b"top"), directory_row(b"d"), ids=(2,), own=directory_row(b""))
    assert_sound(writer)
    writer.close()

    writer = Writer(path, [SourceSpec(1, "other", "t", "/")], map_size=1 << 26)
    assert set(tree_of(writer)) == {b""}
    assert writer.position(1) == (0, 0)
    assert_sound(writer)
    writer.close()


def test_the_root_of_a_source_stays_where_it_is(tmp_path: Path) -> None:
    writer = Writer(str(tmp_path / "s"), [SourceSpec(0, "a", "s", "/one")], map_size=1 << 26)
    feed = Feed(writer)
    feed.root()
    feed.listing(1, directory_row(b"d"), ids=(2,))
    feed(Moved(1, 5, b"elsewhere"))
    assert set(tree_of(writer)) == {b"", b"/one", b"/one/d"}
    assert writer.counters["refused"] == 1
    writer.close()


def test_positions_and_the_tree_outlive_the_process(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    writer = Writer(path, [SOURCE], map_size=1 << 26)
    feed = Feed(writer)
    feed.root()
    feed.listing(1, file_row(b"f"))
    uuid, generation = writer.uuid, head(writer).generation
    writer.environment.close()  # as a kill would leave it
    writer = Writer(path, [SOURCE], map_size=1 << 26)
    assert (writer.uuid, writer.position(0), head(writer).generation) == (uuid, (1, 2), generation)
    feed.writer = writer
    feed.names(1, file_row(b"g"))
    assert head(writer).generation == generation + 1
    writer.close()


def test_a_retired_store_says_so_until_it_is_opened_again(tmp_path: Path) -> None:
    for _ in range(2):
        writer = Writer(str(tmp_path / "s"), [SOURCE], map_size=1 << 24)
        with writer.reader().snapshot() as snapshot:
            assert not snapshot.status().retired
        writer.retire()
        with writer.reader().snapshot() as snapshot:
            assert snapshot.status().retired
        writer.environment.close()


# -- attributes -------------------------------------------------------------------------------------------------------


@pytest.fixture
def parsing(feed: Feed) -> Feed:
    """Of a source with two parsers."""
    feed(Parsers(("table", "path")))
    return feed


def found(name: bytes, text: bytes, size: int = 5, mtime: int = 1_700_000_000_123_456_789) -> tuple[Any, ...]:
    """What a parser says of ``file_row(name, size, mtime)``."""
    return (name, size, mtime, mtime + 1, 77, text)


def attributes(writer: Writer, *components: bytes) -> dict[str, Any] | None:
    """Of a file, as an answer would have them."""
    row = resolve(writer, *components).row
    assert row is not None
    value: dict[str, Any] | None = msgspec.json.decode(row.replace(b"\x01", b"")).get("attrs")
    return value


def test_attributes_are_those_of_the_file_that_was_seen(writer: Writer, parsing: Feed) -> None:
    parsing.listing(1, file_row(b"a"), file_row(b"b"), file_row(b"c", 6))
    said = tuple(found(name, b'{"rows":1}') for name in (b"a", b"c", b"gone"))
    assert parsing(Attributes(1, "table", said))
    assert attributes(writer, b"a") == {"table.rows": 1}
    assert attributes(writer, b"b") is None
    assert attributes(writer, b"c") is None, "it has another size"
    assert not parsing(Attributes(1, "table", said)), "nothing is new"
    assert parsing(Attributes(1, "table", (found(b"a", b""),)))
    assert attributes(writer, b"a") is None


def test_the_generation_tells_that_attributes_changed(writer: Writer, parsing: Feed) -> None:
    parsing.listing(1, directory_row(b"d"), ids=(2,))
    parsing.listing(2, file_row(b"a"))
    before = head(writer).generation, head(writer, b"d").generation
    parsing(Attributes(2, "table", (found(b"a", b'{"rows":1}'),)))
    assert head(writer).generation > before[0]
    assert head(writer, b"d").generation > before[1]


def test_parsers_do_not_touch_each_others(writer: Writer, parsing: Feed) -> None:
    parsing.listing(1, file_row(b"a"))
    parsing(Attributes(1, "table", (found(b"a", b'{"rows":1,"columns":2}'),)))
    parsing(Attributes(1, "path", (found(b"a", b'{"year":"2026"}'),)))
    assert attributes(writer, b"a") == {"path.year": "2026", "table.columns": 2, "table.rows": 1}
    parsing(Attributes(1, "table", (found(b"a", b'{"rows":3}'),)))
    assert attributes(writer, b"a") == {"path.year": "2026", "table.rows": 3}


@pytest.mark.parametrize("how", ["listing", "names", "in two parts", "new epoch"])
def test_a_look_at_the_same_file_keeps_them_and_at_another_does_not(writer: Writer, parsing: Feed, how: str) -> None:
    parsing.listing(1, *(file_row(b"%d" % number) for number in range(250)))
    parsing(Attributes(1, "table", tuple(found(b"%d" % number, b'{"rows":1}') for number in range(250))))
    rows = [file_row(b"%d" % number, 6 if number == 7 else 5) for number in range(250)]
    if how == "new epoch":
        parsing.root()
        how = "listing"
    if how == "listing":
        parsing.listing(1, *rows)
    elif how == "names":
        parsing.names(1, *rows)
    else:
        parsing.listing(1, *[row for row in rows if row[0] < b"5"], hi=b"5")
        parsing.listing(1, *[row for row in rows if row[0] >= b"5"], lo=b"5")
    assert attributes(writer, b"7") is None
    assert [number for number in range(250) if attributes(writer, b"%d" % number) != {"table.rows": 1}] == [7]


def test_of_a_range_of_names_others_have_nothing(writer: Writer, parsing: Feed) -> None:
    rows = [file_row(b"%03d" % number) for number in range(300)]
    parsing.listing(1, *rows)
    parsing(Attributes(1, "table", tuple(found(row[0], b'{"rows":1}') for row in rows)))
    parsing(Attributes(1, "path", (found(b"150", b'{"year":"2026"}'),)))
    parsing(Attributes(1, "table", (found(b"120", b'{"rows":2}'),), b"100", b"200"))
    having = {row[0]: attributes(writer, row[0]) for row in rows}
    assert having[b"120"] == {"table.rows": 2}
    assert having[b"150"] == {"path.year": "2026"}
    assert [name for name, value in having.items() if value is None] == [
        b"%03d" % number for number in range(100, 200) if number not in (120, 150)
    ]
    parsing(Attributes(1, "table", (), b"", None))
    assert [name for name, _, _ in [(row[0], 0, 0) for row in rows] if attributes(writer, name)] == [b"150"]


def test_what_is_no_attribute_is_counted_and_the_rest_is_taken(writer: Writer, parsing: Feed) -> None:
    parsing.listing(1, *(file_row(b"%d" % number) for number in range(6)))
    texts = [b'{"rows":1}', b"{", b"[1]", b'{"a.b":1}', b'{"a":{"size":1}}', b'{"name":"\\",{\\"name\\":\\""}']
    parsing(Attributes(1, "table", tuple(found(b"%d" % number, text) for number, text in enumerate(texts))))
    assert writer.counters["malformed"] == 4
    assert [attributes(writer, b"%d" % number) for number in range(6)] == [
        {"table.rows": 1},
        None,
        None,
        None,
        None,
        {"table.name": '",{"name":"'},
    ]
    assert not parsing(Attributes(99, "table", (found(b"0", b"{}"),)), Attributes(0, "table", ())), "nobody's directory"


def test_attributes_of_parsers_that_are_gone_go_with_the_next_listing(writer: Writer, parsing: Feed) -> None:
    rows = [file_row(b"a"), file_row(b"b")]
    parsing.listing(1, *rows)
    parsing(
        Attributes(1, "table", (found(b"a", b'{"rows":1}'),)), Attributes(1, "path", (found(b"a", b'{"year":"1"}'),))
    )
    assert not parsing.listing(1, *rows), "the same page is passed over"
    parsing(Parsers(("path",)))
    assert parsing.listing(1, *rows)
    assert attributes(writer, b"a") == {"path.year": "1"}
    parsing(Parsers(()))
    parsing.listing(1, *rows)
    assert attributes(writer, b"a") is None
    assert not parsing(Attributes(1, "table", (found(b"a", b'{"rows":1}'),))), "nobody's any more"


def test_an_aborted_transaction_leaves_attributes_and_parsers_as_they_were(writer: Writer, parsing: Feed) -> None:
    parsing.listing(1, file_row(b"a"))
    parsing(Attributes(1, "table", (found(b"a", b'{"rows":1}'),)))
    parsing(Parsers(()), commit=False)
    parsing(Attributes(1, "table", (), b"", None), commit=False)
    writer.abort()
    parsing.number -= 2
    parsing.listing(1, file_row(b"a"))
    assert attributes(writer, b"a") == {"table.rows": 1}
