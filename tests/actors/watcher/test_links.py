"""Names that share an inode."""

from __future__ import annotations

from actors.watcher.links import HardLinks


def test_the_other_names_of_a_file() -> None:
    links = HardLinks(10)
    assert not list(links.note((1, b"a"), 7))
    assert not list(links.note((2, b"b"), 7))
    assert list(links.others((1, b"a"), 7)) == [(2, b"b")]
    assert len(links) == 2


def test_a_name_that_goes_leaves_the_others_to_be_looked_at() -> None:
    links = HardLinks(10)
    for place in [(1, b"a"), (2, b"b"), (3, b"c")]:
        links.note(place, 7)
    assert set(links.forget((1, b"a"))) == {(2, b"b"), (3, b"c")}
    assert not list(links.forget((1, b"a")))


def test_a_name_that_becomes_another_file_leaves_the_old_ones() -> None:
    links = HardLinks(10)
    links.note((1, b"a"), 7)
    links.note((2, b"b"), 7)
    assert list(links.note((1, b"a"), 8)) == [(2, b"b")]
    assert not list(links.others((2, b"b"), 7))


def test_names_above_the_limit_are_left_to_the_audit() -> None:
    links = HardLinks(1)
    links.note((1, b"a"), 7)
    links.note((2, b"b"), 7)
    assert len(links) == 1
    assert not list(links.others((1, b"a"), 7))


def test_another_limit_holds_from_now_on() -> None:
    links = HardLinks(0)
    links.note((1, b"a"), 7)
    links.limit = 1
    links.note((2, b"b"), 7)
    assert len(links) == 1
