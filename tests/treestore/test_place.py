"""Two stores, of which one is the front."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fustor.treestore.place import Place
from protocols.errors import MachineError


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(str(tmp_path / "front"))


def filled(path: str, content: str) -> str:
    os.mkdir(path)
    Path(path, "data.mdb").write_text(content)
    return path


def test_front_and_back_change_places(place: Place) -> None:
    assert place.current() == ""
    before = ""
    for content in ("one", "two", "three"):
        back = filled(place.back(), content)
        assert back != before
        assert place.make_front(back) == before
        assert place.current() == back
        assert Path(place.front, "data.mdb").read_text() == content
        before = back
    assert sorted(os.listdir(place.folder)) == ["a", "b", "front"]


def test_what_was_in_the_back_is_removed(place: Place) -> None:
    place.make_front(filled(place.back(), "front"))
    filled(place.back(), "left over")
    assert not os.path.exists(place.back())
    Path(place.back()).write_text("no folder")
    assert not os.path.lexists(place.back())


def test_a_link_that_leads_nowhere_of_ours_is_no_front(place: Place) -> None:
    for target in ("b", "/tmp", "../b"):
        os.symlink(target, place.front)
        assert place.current() == ""
        os.unlink(place.front)


def test_what_is_in_the_way_of_the_link_is_set_aside(place: Place) -> None:
    filled(place.front, "a store where the link should be")
    place.make_front(filled(place.back(), "new"))
    assert Path(place.front, "data.mdb").read_text() == "new"
    assert Path(place.folder, "aside/data.mdb").exists()


def test_stores_and_copies_are_set_aside_apart(place: Place) -> None:
    for content in ("one", "two"):
        assert place.set_aside(filled(place.back(), content)) == os.path.join(place.folder, "aside")
        Path(place.copy).write_text(content)
        assert place.set_aside(place.copy) == place.copy + ".aside"
        assert Path(place.folder, "aside/data.mdb").read_text() == content
        assert Path(place.copy + ".aside").read_text() == content
    with pytest.raises(MachineError, match="can't be moved"):
        place.set_aside(place.copy)


def test_what_copies_have_left(place: Place) -> None:
    for name in ("copy", "copy.1-2.tmp", "copy.3.tmp", "copy.aside", "other.tmp"):
        Path(place.folder, name).touch()
    place.forget_unfinished()
    assert sorted(os.listdir(place.folder)) == ["copy", "copy.aside", "other.tmp"]


def test_what_cannot_be_done_names_the_path(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    place = Place(str(tmp_path / "file" / "front"))
    with pytest.raises(MachineError, match="file/front: can't be made to lead to"):
        place.make_front(place.folder + "/a")


def test_a_new_store_is_asked_for_until_it_is_there(place: Place) -> None:
    assert place.resetting() is None
    for uuid in ("", "one"):
        place.note_reset(uuid)
        assert place.resetting() == uuid
    place.end_reset()
    place.end_reset()
    assert place.resetting() is None
