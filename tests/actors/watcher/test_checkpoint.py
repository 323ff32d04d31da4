"""What one watcher leaves for the next: everything, or nothing at all. At any moment: ``test_core``."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from actors.watcher import checkpoint
from actors.watcher.core import Rest
from actors.watcher.table import COLUMNS, ROOT
from protocols.data import Stuck
from tests.support.bench import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    root = tmp_path / "root"
    for number in range(40):
        (root / f"d{number}/sub").mkdir(parents=True)
        (root / f"d{number}/f").touch()
    os.link(root / "d1/f", root / "d2/g")
    made = Bench(str(root), parsers=("words",))
    made.settle()
    yield made
    made.close()


def left(bench: Bench) -> Rest:
    rest = bench.core.leave()
    assert rest is not None
    return rest


def plain(rest: Rest) -> dict[str, Any]:
    """All of it, comparable."""
    found = {field.name: getattr(rest, field.name) for field in attrs.fields(Rest)}
    table = found.pop("table")
    links = found.pop("links")
    names = {name: list(getattr(table, name)) for name in COLUMNS}
    return {**found, **names, "names": table.name, "links": dict(links), "live": table.live, "free": table._free}


def test_everything_is_there_again(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "root/d3/new").touch()
    (tmp_path / "root/d4").rename(tmp_path / "root/d5/moved")
    bench.read()
    bench.core.news["words"].begin("rules")
    rest = left(bench)
    assert rest.dirty
    path = tmp_path / "checkpoint"
    checkpoint.write(path, rest, "nonce", "source", {"words": 7})
    found, works = checkpoint.take(path, "nonce", "source")
    assert plain(found) == plain(rest)
    assert works == {"words": 7}
    assert os.listdir(tmp_path) == ["root"], "it is used once"
    table = found.table
    for index in range(ROOT, len(table.name)):
        if table.wd[index]:
            assert table.by_wd(table.wd[index]) == index
        if table.parent[index]:
            assert table.child(table.parent[index], table.name[index]) == index


def test_who_goes_on_lists_nothing_and_sees_what_has_happened_meanwhile(bench: Bench, tmp_path: Path) -> None:
    bench.tick(1)
    bench.deliver()
    epoch, number = bench.core.epoch, bench.core.number
    (tmp_path / "root/d7/before").touch()
    assert bench.succeed(tmp_path / "checkpoint")
    (tmp_path / "root/d8/after").mkdir()
    (tmp_path / "root/d8/after/deep").touch()
    bench.settle()
    assert not bench.difference()
    assert (bench.core.epoch, bench.core.number > number) == (epoch, True)
    assert bench.core.counters["listed"] == 1, "the new directory, and no other"
    (tmp_path / "root/d8/after/later").touch()
    bench.settle()
    assert not bench.difference()
    bench.tick(1)
    bench.deliver()
    assert bench.view.watermark is not None
    assert bench.view.watermark.state == "live"


@pytest.mark.parametrize("parsers", [(), ("words", "more"), ("more",)])
def test_other_parsers_than_before_are_told_of(bench: Bench, tmp_path: Path, parsers: tuple[str, ...]) -> None:
    bench.settings["parsers"] = parsers
    assert bench.succeed(tmp_path / "checkpoint")
    assert bench.core.news.keys() == set(parsers)
    bench.settle()
    assert not bench.difference()


@pytest.mark.parametrize("why", ["building", "gap", "stuck", "offline", "over"])
def test_who_does_not_know_everything_leaves_nothing(bench: Bench, tmp_path: Path, why: str) -> None:
    if why == "building":
        bench.core._scanned = False
    elif why == "gap":
        bench.core.events(struct.pack("iIII", -1, 0x4000, 0, 0), 0, drained=False)
    elif why == "stuck":
        (tmp_path / "root/d1/x").touch()
        bench.read()
        bench.give()
        ((number, handed),) = bench.core._handed.items()
        dir_id = bench.core.table.id_of(next(iter(handed.tasks)))
        bench.core.stuck(Stuck(slot=handed.slot, epoch=1, number=number, dir=dir_id, name=b"x"))
    else:
        setattr(bench.core, why, "for a reason")
    assert bench.core.leave() is None


@pytest.mark.parametrize("at", [0, 9, 20, 60, 5000, -1])
def test_a_damaged_one_is_refused(bench: Bench, tmp_path: Path, at: int) -> None:
    path = tmp_path / "checkpoint"
    checkpoint.write(path, left(bench), "nonce", "source", {})
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="undamaged"):
        checkpoint.take(path, "nonce", "source")
    assert not path.exists()


@pytest.mark.parametrize("size", [0, 10, 44, 1000])
def test_one_that_is_cut_off_is_refused(bench: Bench, tmp_path: Path, size: int) -> None:
    path = tmp_path / "checkpoint"
    checkpoint.write(path, left(bench), "nonce", "source", {})
    os.truncate(path, size)
    with pytest.raises(ValueError, match=r"checkpoint|undamaged"):
        checkpoint.take(path, "nonce", "source")


@pytest.mark.parametrize(("nonce", "source"), [("other", "source"), ("nonce", "other")])
def test_one_of_another_moment_or_source_is_refused(bench: Bench, tmp_path: Path, nonce: str, source: str) -> None:
    path = tmp_path / "checkpoint"
    checkpoint.write(path, left(bench), "nonce", "source", {})
    with pytest.raises(ValueError, match="another moment"):
        checkpoint.take(path, nonce, source)


def test_there_may_be_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        checkpoint.take(tmp_path / "checkpoint", "nonce", "source")


def test_one_that_cannot_be_written_leaves_nothing(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        checkpoint.write(tmp_path / "missing/checkpoint", left(bench), "nonce", "source", {})
