"""Looks: what readers want looked at now, with the watcher's rules on a real directory, one step at a time."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.watcher.limits import WatcherLimits
from actors.watcher.looks import LookState
from fustor.selection.forbidden import Forbidden
from protocols.looks import DONE, REFUSED, WAITING
from tests.support.bench import Bench
from tests.support.mischief import Mischief
from tests.support.oracle import Entry, compare, walk


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "root"
    made.mkdir()
    return made


@pytest.fixture
def bench(root: Path) -> Iterator[Bench]:
    made = Bench(str(root))
    yield made
    made.close()


def deaf(bench: Bench) -> None:
    """From now on nothing is heard of changes, as of those that other hosts make."""
    bench.read = lambda most=0: None  # type: ignore[method-assign]


def finish(bench: Bench, look: LookState) -> None:
    for _ in range(2_000):
        if look.state == DONE:
            return
        bench.give()
        for slot in bench.queues:
            bench.scan(slot)
        bench.tick(0.001)
        bench.deliver()
    raise AssertionError(f"the look does not end: {look}")


def look(bench: Bench, path: bytes, depth: int | None = None) -> LookState:
    state = bench.core.look(os.urandom(4).hex(), path, depth, 7)
    finish(bench, state)
    return state


def names(bench: Bench) -> set[bytes]:
    return set(bench.view.entries())


@pytest.mark.parametrize(
    ("path", "depth", "seen", "unseen"),
    [
        (b"", None, {b"new", b"new/deep", b"new/deep/f", b"a/b/g"}, set()),
        (b"", 1, {b"new"}, {b"new/deep/f", b"a/b/g"}),
        (b"a", None, {b"a/b/g"}, {b"new"}),
        (b"a/b", 1, {b"a/b/g", b"a/b/sub"}, {b"new", b"a/b/sub/h"}),
        (b"new/deep", None, {b"new/deep/f"}, {b"a/b/g"}),
        (b"new/deep/f", None, {b"new/deep/f"}, {b"a/b/g"}),
        (b"a/b/g", 0, {b"a/b/g"}, {b"new"}),
        (b"nowhere/at/all", None, {b"new"}, {b"a/b/g"}),
    ],
)
def test_what_nobody_told_of_is_found(
    bench: Bench, root: Path, path: bytes, depth: int | None, seen: set[bytes], unseen: set[bytes]
) -> None:
    (root / "a/b").mkdir(parents=True)
    bench.settle()
    deaf(bench)
    (root / "new/deep").mkdir(parents=True)
    (root / "new/deep/f").touch()
    (root / "a/b/sub").mkdir()
    (root / "a/b/sub/h").touch()
    (root / "a/b/g").touch()
    # A directory that a listing finds is listed all the same, but nothing waits for that.
    state = look(bench, path, depth)
    assert state.as_of_ns == 7
    assert seen <= names(bench)
    assert not unseen & names(bench) or depth == 1


def test_what_is_gone_or_another_one_is_found(bench: Bench, root: Path) -> None:
    for name in ("a/b", "c/d", "e"):
        (root / name).mkdir(parents=True)
        (root / name / "f").touch()
    bench.settle()
    deaf(bench)
    (root / "a/b").rename(root / "a/aside")
    (root / "a/b").mkdir()
    (root / "a/b/g").touch()
    (root / "c").rename(root / "e/c")
    look(bench, b"a/b")
    look(bench, b"c/d/f")
    assert {b"a/b/g", b"a/aside"} <= names(bench)
    assert not {b"a/b/f", b"c", b"c/d"} & names(bench)


def test_a_look_ends_while_everything_is_still_being_walked(bench: Bench, root: Path) -> None:
    for i in range(400):
        (root / f"d{i}/e").mkdir(parents=True)
    (root / "d7/e/f").touch()
    bench.give()
    state = bench.core.look("1", b"d7/e", None, 7)
    finish(bench, state)
    assert b"d7/e/f" in names(bench)
    assert not bench.core.phases.reached, "the walk is not done"


def test_names_that_events_touch_meanwhile_are_waited_for(bench: Bench, root: Path) -> None:
    """An event keeps a name out of the listing that is under way: the look ends when it was looked at, and what is
    below it."""
    (root / "a").mkdir()
    bench.settle()
    (root / "a/sub/deep").mkdir(parents=True)
    state = bench.core.look("1", b"a", None, 7)
    bench.give()  # the listing is handed out
    bench.read()  # and only now the event is heard
    for slot in bench.queues:
        bench.scan(slot)
    bench.tick(0.001)
    bench.deliver()
    assert state.state != DONE
    deaf(bench)
    (root / "a/sub/deep/f").touch()
    finish(bench, state)
    assert b"a/sub/deep/f" in names(bench)


def test_the_same_id_is_the_same_look(bench: Bench, root: Path) -> None:
    bench.settle()
    first = bench.core.look("1", b"", None, 7)
    assert bench.core.look("1", b"", None, 9) is first
    finish(bench, first)
    assert bench.core.look("1", b"", None, 9) is first
    assert bench.core.looks.ended == [first]


def test_more_than_the_limit_are_refused_and_ended_ones_forgotten(root: Path) -> None:
    bench = Bench(str(root), limits=WatcherLimits(looks=2))
    bench.settle()
    looks = [bench.core.look(str(i), b"", None, 7) for i in range(3)]
    assert [one.state for one in looks] == [WAITING, WAITING, REFUSED]
    assert "looks" in looks[2].text
    for one in looks[:2]:
        finish(bench, one)
    for i in range(10):
        finish(bench, bench.core.look(f"more {i}", b"", None, 7))
    assert bench.core.look("0", b"", None, 9) is not looks[0], "forgotten, so it is a new one"
    bench.close()


def test_it_is_done_only_when_the_view_has_it(bench: Bench, root: Path) -> None:
    bench.settle()
    deaf(bench)
    (root / "f").touch()
    state = bench.core.look("1", b"", None, 7)
    bench.give()
    for slot in bench.queues:
        bench.scan(slot)
    bench.tick(0.001)
    assert state.state != DONE
    bench.deliver()
    bench.tick(0.001)
    assert state.state == DONE


def test_a_scanner_that_dies_costs_nothing(bench: Bench, root: Path) -> None:
    (root / "a").mkdir()
    bench.settle()
    deaf(bench)
    (root / "a/f").touch()
    state = bench.core.look("1", b"a", None, 7)
    bench.give()
    for slot in bench.queues:
        bench.die(slot)
    finish(bench, state)
    assert b"a/f" in names(bench)


def test_what_cannot_be_read_is_counted(bench: Bench, root: Path) -> None:
    (root / "a/b").mkdir(parents=True)
    bench.settle()
    bench.forbidden = Forbidden(directories=frozenset([b"a"]))
    state = look(bench, b"")
    assert (state.directories, state.skipped) == (2, 1)


def test_an_open_look_waits_while_the_root_is_away(bench: Bench, root: Path) -> None:
    bench.settle()
    root.rename(root.with_name("aside"))
    state = bench.core.look("1", b"", None, 7)
    for _ in range(50):
        bench.give()
        for slot in bench.queues:
            bench.scan(slot)
        bench.tick(1)
        bench.deliver()
    assert state.state != DONE


@pytest.mark.parametrize("seed", range(20))
def test_looks_amid_everything(root: Path, tmp_path: Path, seed: int) -> None:
    """Random changes, events that are heard late or after the look, scanners that die: when a look is done its part of
    the view is as the disk has been since it began."""
    bench, rng = Bench(str(root), seed=seed), random.Random(seed)
    (tmp_path / "outside").mkdir()
    mischief = Mischief(os.fsencode(root), os.fsencode(tmp_path / "outside"), rng)
    for number in range(25):
        for _ in range(rng.randrange(8)):
            mischief.do()
        for _ in range(rng.randrange(20)):
            bench.step()
        disk = walk(os.fsencode(root))
        path = rng.choice([b"", *(path for path, entry in disk.items() if entry.type == "directory")])
        state = bench.core.look(str(number), path, None, 7)
        while state.state != DONE:
            if rng.random() < 0.02:
                bench.die(rng.choice(list(bench.queues)))
            bench.step()
        bench.deliver()
        difference = compare(below(disk, path), below(bench.view.entries(), path))
        # A second link makes no event under the first name, which an earlier part of the look may have seen.
        wrong = [one for one in difference.wrong if one[1].ino not in mischief.linked]
        assert [*difference.missing, *difference.extra, *wrong] == [], (seed, number, path)
    bench.close()


def below(entries: dict[bytes, Entry], path: bytes) -> dict[bytes, Entry]:
    return {p: entry for p, entry in entries.items() if not path or p.startswith(path + b"/")}
