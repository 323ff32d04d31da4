"""The rules of the watcher against a real directory and a real inotify, one step at a time."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actors.watcher.limits import WatcherLimits
from fustor.selection.forbidden import Forbidden
from protocols.data import Stuck, Unstuck
from tests.support.bench import Bench
from tests.support.mischief import Mischief


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    root = tmp_path / "root"
    root.mkdir()
    made = Bench(str(root))
    yield made
    made.close()


def test_what_is_there_is_found(bench: Bench, tmp_path: Path) -> None:
    """A first scan finds everything, and then claims it."""
    root = tmp_path / "root"
    (root / "a/b/c").mkdir(parents=True)
    (root / "a/x").write_bytes(b"1")
    (root / "a/b/link").symlink_to("nowhere")
    os.mkfifo(root / "fifo")
    bench.settle()
    assert not bench.difference()
    bench.tick(1)
    bench.deliver()
    assert bench.view.watermark is not None
    assert bench.view.watermark.state == "live"
    assert bench.view.watermark.complete
    assert bench.view.watermark.as_of_ns > 0


def test_our_own_looking_makes_no_events(bench: Bench, tmp_path: Path) -> None:
    for i in range(20):
        (tmp_path / "root" / f"d{i}").mkdir()
        (tmp_path / "root" / f"d{i}" / "f").write_bytes(b"x")
    bench.settle()
    assert bench.core.counters["events"] == 0


def test_renamed_directory_is_one_operation(bench: Bench, tmp_path: Path) -> None:
    """A renamed tree is not listed again."""
    root = tmp_path / "root"
    (root / "a/deep/er").mkdir(parents=True)
    (root / "a/deep/er/file").write_bytes(b"1")
    (root / "b").mkdir()
    bench.settle()
    listed = bench.core.counters["listed"]
    (root / "a/deep").rename(root / "b/elsewhere")
    bench.settle()
    assert not bench.difference()
    assert bench.core.counters["moves"] == 1
    assert bench.core.counters["listed"] == listed
    (root / "b/elsewhere/er/new").write_bytes(b"22")
    bench.settle()
    assert not bench.difference()


def test_tree_moved_out_loses_its_watches(bench: Bench, tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "t/u").mkdir(parents=True)
    bench.settle()
    (root / "t").rename(tmp_path / "out")
    bench.settle()
    assert not bench.difference()
    events = bench.core.counters["events"]
    (tmp_path / "out/u/new").write_bytes(b"1")
    bench.settle()
    assert bench.core.counters["events"] == events
    (tmp_path / "out").rename(root / "t2")
    (root / "t2/u/newer").write_bytes(b"1")
    bench.settle()
    assert not bench.difference()


def test_overflow_is_repaired_and_declared(tmp_path: Path) -> None:
    """More events than the kernel's queue holds: degraded until everything was looked at, then right."""
    root = tmp_path / "root"
    for i in range(50):
        (root / f"d{i}").mkdir(parents=True)
        (root / f"d{i}" / "old").write_bytes(b"x")
    bench = Bench(str(root))
    try:
        bench.settle()
        limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
        for i in range(limit // 2 + 100):
            (root / f"d{i % 50}" / f"n{i}").touch()
            os.unlink(root / f"d{i % 50}" / f"n{i}")
        for i in range(50):
            (root / f"d{i}" / "old").write_bytes(b"changed in place")
        bench.read()
        while bench.core.counters["overflows"] == 0:
            bench.read()
        bench.tick()
        bench.deliver()
        assert bench.view.watermark is not None
        assert bench.view.watermark.state == "degraded"
        before = bench.view.watermark.as_of_ns
        bench.settle()
        bench.tick(1)
        bench.deliver()
        assert not bench.difference()
        assert bench.view.watermark.state == "live"
        assert bench.view.watermark.as_of_ns > before
        assert bench.view.watermark.counts["overflows"] >= 1
    finally:
        bench.close()


def test_gap_first_lists_only_what_moved(bench: Bench, tmp_path: Path) -> None:
    root = tmp_path / "root"
    for i in range(30):
        (root / f"d{i}").mkdir()
    bench.settle()
    bench.core.events(_overflow(), 1, drained=True)
    (root / "d7/lost").touch()
    while os.path.exists(bench.root):  # what the kernel tells of it is thrown away, as an overflow does
        try:
            os.read(bench.inotify.fileno(), 1 << 16)
        except BlockingIOError:
            break
    bench.looked.clear()
    bench.give()
    asked = [task for queue in bench.queues.values() for work in queue for task in work.tasks]
    assert asked
    assert all(task.known is not None for task in asked)
    bench.settle()
    assert not bench.difference()


def _overflow() -> bytes:
    import struct

    return struct.pack("iIII", -1, 0x4000, 0, 0)


def test_dead_scanner_loses_nothing(bench: Bench, tmp_path: Path) -> None:
    root = tmp_path / "root"
    for i in range(100):
        (root / f"d{i}/e").mkdir(parents=True)
    bench.give()
    bench.scan(0)
    bench.give()
    bench.core.scanner_down(0)
    bench.queues[0].clear()
    bench.core.scanner_up(0)
    bench.settle()
    assert not bench.difference()


def test_stuck_name_is_left_alone_and_declared(bench: Bench, tmp_path: Path) -> None:
    """Everything but the name that hangs is found; it is found when the storage answers again."""
    root = tmp_path / "root"
    (root / "ok").mkdir()
    (root / "hangs").mkdir()
    (root / "hangs/inside").touch()
    bench.give()
    slot = next(s for s, q in bench.queues.items() if q)
    work = bench.queues[slot].popleft()
    bench.core.stuck(Stuck(slot=slot, epoch=1, number=work.number, dir=work.tasks[0].dir, name=b"hangs"))
    bench.settle()
    bench.tick(1)
    bench.deliver()
    assert bench.difference().missing == {b"hangs", b"hangs/inside"}
    assert not bench.difference().extra
    assert bench.view.watermark is not None
    assert not bench.view.watermark.complete
    assert any("does not answer" in reason for reason in bench.view.watermark.reasons)
    assert bench.view.watermark.as_of_ns > 0
    bench.core.unstuck(Unstuck(slot=slot, epoch=1, dir=work.tasks[0].dir, name=b"hangs"))
    bench.settle()
    assert not bench.difference()


def test_what_is_quarantined_is_left_alone_and_declared_until_it_is_released(bench: Bench, tmp_path: Path) -> None:
    root = tmp_path / "root"
    for folder in ("ok", "bad/inside", "mixed"):
        (root / folder).mkdir(parents=True)
    for file in ("ok/a", "bad/b", "mixed/c", "mixed/bad"):
        (root / file).touch()
    bench.forbidden = Forbidden.of(["/bad/", "/mixed/bad"])
    bench.settle()
    (root / "ok/new").touch()
    (root / "mixed/new").touch()
    (root / "mixed/bad").write_text("an event")
    (root / "bad/c").touch()
    bench.settle()
    bench.tick(1)
    bench.deliver()
    difference = bench.difference()
    assert difference.missing == {b"bad/b", b"bad/c", b"bad/inside", b"mixed/bad"}
    assert not difference.extra
    mark = bench.view.watermark
    assert mark is not None
    assert (mark.state, mark.complete, mark.counts["quarantined"], mark.counts["failed"]) == ("degraded", False, 2, 0)
    assert "2 directories with quarantined items (fustor quarantine list)" in mark.reasons
    # It is not tried by itself, however long it takes …
    bench.looked.clear()
    bench.tick(100)
    bench.settle()
    assert not {task.path for task in bench.looked} & {b"bad", b"mixed"}
    # … but by a scanner that was told so.
    bench.forbidden = Forbidden()
    bench.die(0)
    bench.settle()
    bench.tick(1)
    bench.deliver()
    assert not bench.difference()
    assert bench.view.watermark is not None
    assert (bench.view.watermark.state, bench.view.watermark.complete) == ("live", True)


def test_a_quarantined_root_is_no_missing_root(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "root" / "a").touch()
    bench.forbidden = Forbidden.of(["/"])
    bench.settle()
    bench.tick(1)
    bench.deliver()
    assert bench.core.offline == ""
    assert bench.view.watermark is not None
    assert bench.view.watermark.state == "degraded"
    bench.forbidden = Forbidden()
    bench.die(1)
    bench.settle()
    assert not bench.difference()


def test_missing_root_is_offline_and_comes_back(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "d").mkdir(parents=True)
    (root / "d/f").touch()
    bench = Bench(str(root))
    bench.settle()
    before = bench.view.entries()
    root.rename(tmp_path / "away")
    bench.settle()
    assert bench.core.offline
    assert bench.view.entries() == before
    assert bench.view.watermark is not None
    assert bench.view.watermark.state == "offline"
    (tmp_path / "away").rename(root)
    (root / "d/new").touch()
    bench.tick(10)
    bench.give()
    for slot in bench.queues:
        bench.scan(slot)
    assert bench.core.over
    bench.close()
    again = Bench(str(root), epoch=2, view=bench.view)
    assert again.view.entries() == before
    again.settle()
    assert not again.difference()
    again.close()


def test_unreadable_mountpoint_is_not_everything_deleted(tmp_path: Path) -> None:
    """A root that was a mount point and is none now: offline, whatever the empty directory says."""
    root = tmp_path / "root"
    root.mkdir()
    bench = Bench(str(root), was_mount=True)
    bench.settle()
    assert bench.core.offline == "root is not mounted"
    bench.close()


def test_replaced_store_begins_a_new_epoch(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "root/d").mkdir()
    bench.settle()
    assert bench.core.applied
    bench.core.acknowledged(0, 0)
    assert bench.core.over


def test_window_bounds_what_is_not_applied(tmp_path: Path) -> None:
    """Without acknowledgements work stops at the limit, events go on being collected, and nothing is lost."""
    root = tmp_path / "root"
    for i in range(300):
        (root / f"d{i}").mkdir(parents=True)
        for j in range(5):
            (root / f"d{i}/{j}").touch()
    bench = Bench(str(root), limits=WatcherLimits(unapplied_bytes=20_000, dirty_names=50))
    try:
        for _ in range(200):
            bench.read()
            bench.give()
            for slot in bench.queues:
                bench.scan(slot)
        assert bench.core.unapplied < 20_000 + 4 * 32 * 2000
        for i in range(300):
            (root / f"d{i}/late").touch()
            for j in range(5):
                (root / f"d{i}/{j}").write_bytes(b"late")
        bench.read()
        assert bench.core.gauges()["dirty"] <= 51
        bench.settle()
        assert not bench.difference()
    finally:
        bench.close()


def test_other_names_of_a_hard_link_follow(bench: Bench, tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "a").mkdir()
    (root / "b").mkdir()
    (root / "a/one").write_bytes(b"1")
    os.link(root / "a/one", root / "b/two")
    bench.settle()
    (root / "a/one").write_bytes(b"longer than before")
    bench.settle()
    assert not bench.difference()
    os.link(root / "a/one", root / "three")
    bench.settle()
    assert not bench.difference()
    os.unlink(root / "b/two")
    bench.settle()
    assert not bench.difference()


def test_nothing_is_claimed_of_a_hard_link_before_its_other_names(bench: Bench, tmp_path: Path) -> None:
    root = tmp_path / "root"
    for name in ("a", "b"):
        (root / name).mkdir()
    (root / "a/one").write_bytes(b"1")
    os.link(root / "a/one", root / "b/two")
    bench.settle()
    (root / "a/one").write_bytes(b"longer than before")
    written = time.time_ns()
    bench.read()
    bench.give()
    assert sum(bench.scan(slot) for slot in bench.queues) == 1
    assert bench.looked[-1].names == (b"one",)
    bench.read()
    assert bench.core.phases.reached < written
    bench.settle()
    assert bench.core.phases.reached > written
    assert not bench.difference()


def test_watches_that_the_kernel_refuses_are_declared_and_tried_again(tmp_path: Path) -> None:
    root = tmp_path / "root"
    for i in range(10):
        (root / f"d{i}").mkdir(parents=True)
    bench = Bench(str(root))
    allowed = 4
    real = bench.add_watch
    added: set[int] = set()

    def limited(fd: int) -> int:
        ino = os.fstat(fd).st_ino
        if ino not in added and len(added) >= allowed:
            return -28
        added.add(ino)
        return real(fd)

    bench.add_watch = limited  # type: ignore[method-assign]
    try:
        bench.settle()
        bench.tick(0.01)
        bench.deliver()
        assert not bench.difference()
        assert bench.view.watermark is not None
        assert bench.view.watermark.state == "degraded"
        assert bench.view.watermark.counts["unwatched"] == 7
        allowed = 100
        bench.tick(10)
        bench.settle()
        bench.tick(1)
        bench.deliver()
        assert bench.view.watermark.counts["unwatched"] == 0
        assert bench.view.watermark.state == "live"
        (root / "d9/new").touch()
        bench.settle()
        assert not bench.difference()
    finally:
        bench.close()


@settings(max_examples=int(os.environ.get("FUSTOR_EXAMPLES", "60")), suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32 - 1))
def test_any_mischief_at_any_moment_ends_right(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    """
    Random changes between any two steps of the machinery, and in the middle of looking, while scanners die and watchers
    are succeeded: once quiet, nothing is missing, extra, wrong or without a watch, and no claim made under way was
    false.
    """
    folder = tmp_path_factory.mktemp("mischief")
    root = folder / "root"
    root.mkdir()
    rng = random.Random(seed)
    mischief = Mischief(os.fsencode(str(root)), os.fsencode(str(folder)), rng)
    changed = 0

    def change() -> None:
        nonlocal changed
        mischief.do()
        changed = time.time_ns()

    for _ in range(rng.randrange(60)):
        change()
    bench = Bench(str(root), seed=seed, scanners=rng.choice([1, 2, 3]), relink=rng.random() < 0.8)
    if rng.random() < 0.5:
        bench.between = lambda: change() if rng.random() < 0.1 else None
    how_often = rng.choice([0.02, 0.2])
    try:
        died = False
        for _ in range(rng.randrange(400)):
            if rng.random() < how_often:
                change()
            if rng.random() < 0.01:
                died = True
                bench.die(rng.choice(list(bench.queues)))
            if rng.random() < 0.02:
                died = bench.succeed(folder / "checkpoint") or died
            bench.step()
            if bench.view.watermark is not None and bench.view.watermark.as_of_ns > changed:
                _assert_right(bench, mischief)
        bench.between = lambda: None
        bench.settle()
        # Each directory is watched, or its next change would be missed. What a scanner watched and did not live to
        # tell may be left over, until its first event.
        assert bench.directories() <= bench.watched()
        assert died or bench.watched() <= bench.directories()
        if bench.difference():
            _assert_right(bench, mischief)
            bench.core.events(_overflow(), 0, drained=False)
            bench.settle()
        assert not bench.difference(), str(bench.difference())
        bench.tick(1)
        bench.deliver()
        assert bench.view.watermark is not None
        assert bench.view.watermark.state == "live"
        assert bench.core.phases.outstanding == 0
    finally:
        bench.close()


def _assert_right(bench: Bench, mischief: Mischief) -> None:
    """A change under a name that was gone before it was ever seen is the audit's job; all else has to be right."""
    found = bench.difference()
    assert not found.missing, str(found)
    assert not found.extra, str(found)
    assert all(disk.ino in mischief.linked for _, disk, _ in found.wrong), str(found)


def _listed_at_a_new_place(bench: Bench, root: Path) -> int:
    """
    A watched directory is moved to where nobody watches yet, and is listed there before anything is known of the move.

    Returns:
        The slot whose answer, with the watch that the directory had all the time, is under way.
    """
    (root / "old/x").mkdir(parents=True)
    bench.settle()
    (root / "new").mkdir()
    slot = _to_be_listed(bench, b"new")
    (root / "old/x").rename(root / "new/x")
    bench.scan(slot)
    bench.give()
    (slot,) = [slot for slot, works in bench.queues.items() if works]
    bench.look(slot)
    return slot


def _to_be_listed(bench: Bench, name: bytes) -> int:
    """A new directory below the root is found, and its listing is handed out; returns the slot that has it."""
    bench.read()
    bench.give()
    for slot in bench.queues:
        bench.scan(slot)
    bench.give()
    (slot,) = [slot for slot, works in bench.queues.items() if works]
    (task,) = bench.queues[slot][0].tasks
    assert (task.path, task.names) == (name, None)
    return slot


def test_changes_while_a_listing_of_the_new_place_is_under_way(bench: Bench, tmp_path: Path) -> None:
    """Their events come as those of the old place, for the watch is the same."""
    slot = _listed_at_a_new_place(bench, tmp_path / "root")
    (tmp_path / "root/new/x/late").touch()
    bench.read()
    bench.arrive(slot)
    bench.settle()
    assert not bench.difference()
    assert bench.watched() == bench.directories()


def test_old_place_dropped_while_a_listing_of_the_new_one_is_under_way(bench: Bench, tmp_path: Path) -> None:
    """The watch that the listing was given is removed before it is told of."""
    slot = _listed_at_a_new_place(bench, tmp_path / "root")
    bench.read()
    bench.give()
    bench.scan(1 - slot)
    bench.tick()
    bench.read()
    bench.arrive(slot)
    bench.settle()
    assert bench.watched() == bench.directories()
    (tmp_path / "root/new/x/late").touch()
    bench.settle()
    assert not bench.difference()


def test_moved_back_to_where_it_was_known(bench: Bench, tmp_path: Path) -> None:
    """The new place has taken the watch, and has gone again: the old one needs it back."""
    slot = _listed_at_a_new_place(bench, tmp_path / "root")
    bench.arrive(slot)
    (tmp_path / "root/new/x").rename(tmp_path / "root/old/x")
    bench.settle()
    assert bench.watched() == bench.directories()
    assert not bench.difference()


def test_watch_of_a_scanner_that_died_before_telling(bench: Bench, tmp_path: Path) -> None:
    """It is given up with the first event that nobody can place: here that the directory was moved."""
    bench.settle()
    (tmp_path / "root/d").mkdir()
    slot = _to_be_listed(bench, b"d")
    bench.look(slot)
    (tmp_path / "root/d").rename(tmp_path / "out")
    bench.die(slot)
    bench.settle()
    assert bench.watched() == bench.directories()


def test_new_epoch_matches_by_name(bench: Bench, tmp_path: Path) -> None:
    """A restarted watcher changes nothing that is the same, and drops what went while it was away."""
    root = tmp_path / "root"
    (root / "stays/deep").mkdir(parents=True)
    (root / "goes").mkdir()
    (root / "stays/deep/f").touch()
    bench.settle()
    stays = bench.view.root.dirs[b"stays"].dirs[b"deep"]
    (root / "goes").rmdir()
    again = Bench(str(root), epoch=2, view=bench.view)
    again.settle()
    assert not again.difference()
    assert again.view.root.dirs[b"stays"].dirs[b"deep"] is stays
    again.close()


def test_works_are_small_where_storage_is_slow_and_large_where_it_is_not(bench: Bench, tmp_path: Path) -> None:
    for i in range(200):
        (tmp_path / "root" / f"d{i}").mkdir()

    def sizes(seconds: float) -> list[int]:
        found = []
        for index in range(2, 202):
            bench.core._queue(index, bench.core.phases.begin())
        while bench.core.outstanding:
            bench.give()
            for slot, queue in bench.queues.items():
                found += [len(work.tasks) for work in queue]
                bench.core.now += seconds
                while bench.scan(slot):
                    pass
        return found

    bench.settle()
    assert max(sizes(0.001)) == bench.core.limits.dirs_per_work
    assert sizes(1.0)[-5:] == [1] * 5
    assert max(sizes(0.001)) == bench.core.limits.dirs_per_work
