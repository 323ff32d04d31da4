"""Directories in, attributes out: real files, a real cache."""

from __future__ import annotations

import errno
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from actors.parser.cache import Cache
from actors.parser.listing import Place, open_file
from actors.parser.rule import compile_rule
from actors.parser.worker import Worker
from fustor.runtime.actor import Host
from fustor.runtime.handling import Handling, take
from fustor.runtime.source import ParserConfig
from fustor.selection.forbidden import Forbidden
from protocols.data import Attributes
from protocols.parsing import ParserDir

LOG = logging.getLogger("test")


class Site:
    """A parser without sockets."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self.root.mkdir()
        self.folder = folder
        self.cache: Cache | None = None
        self.begin(format="json", path=r"\.json$")

    def begin(
        self, *, most: int = 1000, quarantined: tuple[str, ...] = (), note: Handling | None = None, **rule: Any
    ) -> None:
        """As another process would."""
        self.close()
        compiled = compile_rule(ParserConfig(name="one", **rule))
        self.cache = Cache(str(self.folder / "cache"), compiled.digest, 1 << 24, LOG)
        self.host = Host("parser.data.one", {}, LOG, lambda: None)
        place = Place(os.fsencode(self.root), None, None)
        forbidden = Forbidden.of(quarantined)
        self.worker = Worker("one", compiled, place, self.cache, note or Handling(), forbidden, self.host, most)

    def close(self) -> None:
        if self.cache is not None:
            self.cache.commit()
            self.cache.close()

    def parts(self, path: bytes = b"", names: tuple[bytes, ...] | None = None) -> list[Attributes]:
        return list(self.worker.look(ParserDir(7, path, names)))

    def look(self, path: bytes = b"", names: tuple[bytes, ...] | None = None) -> dict[bytes, Any]:
        found = {}
        for part in self.parts(path, names):
            assert (part.dir, part.parser) == (7, "one")
            for name, size, mtime, ctime, ino, text in part.found:
                status = os.stat(os.path.join(os.fsencode(self.root), path, name))
                assert (size, mtime, ctime, ino) == (
                    status.st_size,
                    status.st_mtime_ns,
                    status.st_ctime_ns,
                    status.st_ino,
                )
                found[name] = json.loads(text) if text else None
        return found


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.close()


def test_files_of_the_rule_are_read_and_others_are_not(site: Site) -> None:
    (site.root / "a.json").write_text("[1, 2]")
    (site.root / "b.text").write_text("{}")
    assert site.look() == {b"a.json": {"type": "array", "length": 2}}
    assert site.host.counters == {"directories": 1, "files": 2, "read": 1, "kept": 0, "failed": 0}


def test_what_was_read_is_not_read_again_until_it_changes(site: Site) -> None:
    (site.root / "a.json").write_text("[1, 2]")
    site.look()
    site.begin(format="json", path=r"\.json$")
    assert site.look()[b"a.json"]["length"] == 2
    assert (site.host.counters["read"], site.host.counters["kept"]) == (0, 1)
    (site.root / "a.json").write_text("[1]")
    assert site.look()[b"a.json"]["length"] == 1
    assert site.host.counters["read"] == 1


def test_other_rules_read_again(site: Site) -> None:
    (site.root / "a.json").write_text("[1, 2]")
    site.look()
    site.begin(format="json", path=r"\.json$", options={"most_bytes": 3})
    assert "most_bytes" in site.look()[b"a.json"]["error"]


def test_what_a_path_says_goes_with_what_the_file_says(site: Site) -> None:
    (site.root / "p1").mkdir()
    (site.root / "p1/a.json").write_text("[]")
    site.begin(format="json", path=r"^p(?P<project>[0-9]+)/")
    assert site.look(b"p1") == {b"a.json": {"project": "1", "type": "array", "length": 0}}
    (site.root / "p1").rename(site.root / "p2")
    assert site.look(b"p2")[b"a.json"]["project"] == "2"
    assert site.host.counters["read"] == 1


def test_of_single_names_also_that_they_have_nothing(site: Site) -> None:
    (site.root / "a.json").write_text("[]")
    (site.root / "b").touch()
    parts = site.parts(b"", (b"a.json", b"b", b"gone"))
    assert [(part.lo, part.hi, [entry[0] for entry in part.found]) for part in parts] == [(b"", b"", [b"a.json", b"b"])]
    assert parts[0].found[1][-1] == b""


def test_parts_of_a_directory_cover_it(site: Site) -> None:
    for number in range(10):
        (site.root / f"{number}.json").write_text("[]")
        (site.root / f"{number}.text").touch()
    site.begin(format="json", path=r"\.json$", most=4)
    parts = site.parts()
    assert [len(part.found) for part in parts] == [4, 4, 2]
    assert [(part.lo, part.hi) for part in parts] == [(b"", b"4.json"), (b"4.json", b"8.json"), (b"8.json", None)]


def test_an_empty_directory_says_that_there_is_nothing(site: Site) -> None:
    assert [(part.found, part.lo, part.hi) for part in site.parts()] == [((), b"", None)]
    assert site.parts(b"gone") == []


def test_a_file_that_is_too_large_is_not_read(site: Site) -> None:
    (site.root / "a.json").write_text("[1, 2, 3]")
    site.begin(format="json", path=r"(?P<name>\w+)\.json$", file_bytes=5)
    assert site.look() == {b"a.json": {"name": "a"}}
    assert site.host.counters["read"] == 0


def test_why_nothing_was_found_is_an_attribute_too(site: Site) -> None:
    (site.root / "a.json").write_text("{")
    found = site.look()[b"a.json"]
    assert list(found) == ["error"]
    assert site.host.counters["failed"] == 1
    (site.root / "deep.json").write_text("[" * 100_000)
    assert list(site.look()[b"deep.json"]) == ["error"]


def test_what_the_storage_refuses_is_said_and_tried_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    (site.root / "a.json").write_text("[]")

    def refusing(fd: int, name: bytes) -> int:
        raise OSError(errno.EIO, "no luck")

    monkeypatch.setattr("actors.parser.worker.open_file", refusing)
    assert "no luck" in site.look()[b"a.json"]["error"]
    monkeypatch.undo()
    assert site.look()[b"a.json"]["type"] == "array"


def test_the_file_in_hand_is_written_down(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (site.root / "d").mkdir()
    (site.root / "d/a.json").write_text("{}")
    item = str(tmp_path / "item")
    held: list[Any] = []
    site.begin(format="json", path=r"\.json$", note=Handling.at(item))
    opened = open_file

    def watched(fd: int, name: bytes) -> int:
        with open(item, "rb") as file:
            copy = tmp_path / "copy"
            copy.write_bytes(file.read())
        held.append(take(str(copy)))
        return opened(fd, name)

    monkeypatch.setattr("actors.parser.worker.open_file", watched)
    site.look(b"d")
    assert held == [(b"/d/", b"a.json")]
    assert take(item) is None


def test_what_is_quarantined_is_not_touched_and_says_so(site: Site) -> None:
    (site.root / "a.json").write_text("{}")
    (site.root / "b.json").write_text("{}")
    (site.root / "d").mkdir()
    site.begin(format="json", path=r"\.json$", quarantined=("/a.json", "/d/"))
    found = site.look()
    assert found[b"a.json"] == {"error": "quarantined"}
    assert found[b"b.json"]["type"] == "object"
    assert site.parts(b"d") == []


def test_a_file_that_changes_while_it_is_read_has_nothing_yet(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    (site.root / "a.json").write_text("[]")
    opened = open_file

    def changing(fd: int, name: bytes) -> int:
        with (site.root / "a.json").open("a") as file:
            file.write(" ")
        return opened(fd, name)

    monkeypatch.setattr("actors.parser.worker.open_file", changing)
    parts = site.parts()
    assert [entry[-1] for entry in parts[0].found] == [b""]
    monkeypatch.undo()
    assert site.look()[b"a.json"]["type"] == "array"
