"""The looking thread against real sockets, and its replacement on a storage that really hangs."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import zmq

from actors.scanner.look import Looker, Place
from actors.scanner.mounts import Mounts
from actors.scanner.worker import ScannerLimits, Worker
from fustor.runtime.sockets import open_socket
from protocols import data
from protocols.codec import DATA_LIMITS, encode
from protocols.data import Found, Stuck, Task, Unstuck, Work
from tests.support.fuse import HangingStorage, unavailable
from tests.support.watching import Rows, WatchingSide

PATIENCE = 15.0

needs_fuse = pytest.mark.skipif(bool(unavailable()), reason=unavailable() or "available")


@attrs.define
class FakeHost:
    """What a worker tells its host."""

    counters: dict[str, int] = attrs.Factory(lambda: {"entries": 0, "works": 0, "stuck": 0, "refused": 0})
    gauges: dict[str, int] = attrs.Factory(dict)
    outstanding: bool = False
    state: str = "running"


class Bench:
    """A worker on ``root`` with the watcher's end beside it."""

    def __init__(self, run_dir: Path, root: Path, **limits: Any) -> None:
        self.watching = WatchingSide(run_dir)
        self.root = root
        self.host = FakeHost()
        self.takes: Callable[[bytes, bool], bool] | None = None
        self._context = zmq.Context()
        self._found = open_socket(self._context, zmq.PUSH, connect=self.watching.found_endpoint, hwm=64)
        self._mounts = Mounts(os.fsencode(root))
        self.worker = Worker(
            0,
            self._open_work,
            self._found,
            self.watching.channel_path,
            self._make_looker,
            self.host,
            ScannerLimits(**{"stuck_seconds": 60.0, **limits}),
        )
        self.worker.start()
        self.hello = self.watching.accept()
        self._ending = threading.Event()
        self.error: Exception | None = None
        self._checking = threading.Thread(target=self._check)
        self._checking.start()

    def _make_looker(self, add_watch: Callable[[int], int], place: Place) -> Looker:
        return Looker(
            root=os.fsencode(self.root),
            takes=self.takes,
            one_filesystem=True,
            mounts=self._mounts,
            add_watch=add_watch,
            place=place,
        )

    def _check(self) -> None:
        """As the main thread of a scanner does it."""
        while not self._ending.wait(0.02):
            try:
                self.worker.check(time.monotonic())
            except Exception as error:
                self.error = error
                return

    def task(self, path: str = "", **fields: Any) -> Task:
        """Whatever directory is there; its id is the number of characters of its path."""
        return Task(dir=len(path), path=os.fsencode(path), dev=0, ino=0, **fields)

    def found(self, number: int) -> tuple[list[data.Result], dict[bytes, data.Row]]:
        """Everything found for work ``number``, until its end; anything else on the way is a failure."""
        results: list[data.Result] = []
        rows: dict[bytes, data.Row] = {}
        while True:
            message, frame = self.watching.take()
            assert isinstance(message, Found), message
            assert (message.number, message.slot, message.epoch) == (number, 0, 1)
            results += message.results
            rows |= flat(frame)
            if message.last:
                return results, rows

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for what another thread brings about."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def _open_work(self, endpoint: str) -> zmq.Socket[bytes]:
        self._work = open_socket(self._context, zmq.PULL, connect=endpoint, hwm=64, max_size=DATA_LIMITS.size)
        return self._work

    def wait_work(self) -> None:
        """In the worker's thread: wait until there is work that it has not read, and does not read meanwhile."""
        assert self._work.poll(int(PATIENCE * 1000))

    def close(self) -> None:
        self._ending.set()
        self._checking.join()
        if self.worker.stop(PATIENCE):
            self._found.close(0)
            self._context.term()
        self._mounts.close()
        self.watching.close()


def flat(frame: Rows) -> dict[bytes, data.Row]:
    return {row[data.NAME]: row for rows in frame for row in rows}


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    (tmp_path / "root").mkdir()
    made = Bench(tmp_path, tmp_path / "root")
    yield made
    made.close()


def test_work_is_answered_under_its_number(bench: Bench) -> None:
    (bench.root / "a").mkdir()
    (bench.root / "a/f").write_bytes(b"123")
    (bench.root / "g").touch()
    number = bench.watching.give(bench.task(), bench.task("a"), bench.task("missing"))
    results, rows = bench.found(number)
    assert [(r.dir, r.status) for r in results] == [(0, data.OK), (1, data.OK), (7, data.LOST)]
    assert rows.keys() == {b"a", b"f", b"g"}
    assert rows[b"f"][data.SIZE] == 3
    bench.until(lambda: not bench.host.outstanding)
    assert bench.host.counters == {"entries": 3, "works": 1, "stuck": 0, "refused": 0}


def test_a_watch_is_on_the_watchers_own_instance(bench: Bench) -> None:
    results, _ = bench.found(bench.watching.give(bench.task()))
    (bench.root / "new").touch()
    assert bench.watching.events()[0][0] == results[0].wd > 0


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of 9,001 entries; not to be changed."""
    folder = tmp_path_factory.mktemp("big")
    for i in range(9000):
        os.close(os.open(folder / f"{i:04}", os.O_CREAT | os.O_WRONLY))
    (folder / "d").mkdir()
    return folder


def test_a_big_listing_comes_in_several_messages(bench: Bench, big: Path) -> None:
    bench.root = big
    number = bench.watching.give(bench.task())
    messages = 0
    rows: dict[bytes, data.Row] = {}
    while True:
        message, frame = bench.watching.take()
        assert isinstance(message, Found)
        assert message.number == number
        messages += 1
        rows |= flat(frame)
        if message.last:
            break
    assert messages == 3
    assert len(rows) == 9001


def test_names_do_not_wait_for_the_end_of_a_long_listing(bench: Bench, big: Path) -> None:
    """Work for single names that comes during a listing is done between two of its parts."""
    bench.root = big
    handed: list[int] = []

    def takes(path: bytes, is_directory: bool) -> bool:
        if path == b"0001" and not handed:
            handed.append(bench.watching.give(bench.task("d", names=(b"x",))))
            bench.wait_work()
        return True

    bench.takes = takes
    number = bench.watching.give(bench.task())
    order: list[tuple[int, bool]] = []
    while not order or order[-1] != (number, True):
        message, _ = bench.watching.take()
        assert isinstance(message, Found)
        order.append((message.number, message.last))
    assert order.index((handed[0], True)) < order.index((number, True))
    assert order[0] == (number, False)


def test_garbage_is_counted_and_work_of_other_epochs_passed_over(bench: Bench) -> None:
    for garbage in (b"", b"\xc1", encode(Unstuck(slot=0, epoch=1, dir=1, name=b"")), b"x" * 1000):
        bench.watching.give_raw(garbage)
    bench.watching.give_raw(encode(Work(epoch=9, number=77, tasks=(bench.task(),))))
    number = bench.watching.give(bench.task())
    assert bench.found(number)[0][0].status == data.OK
    assert bench.host.counters["refused"] == 4
    assert bench.host.counters["works"] == 1


def test_another_watcher_takes_the_place_of_the_first(bench: Bench) -> None:
    bench.found(bench.watching.give(bench.task()))
    bench.watching.hang_up()
    bench.watching.epoch = 2
    assert bench.watching.accept() == bench.hello
    bench.watching.give(bench.task())
    message, _ = bench.watching.take()
    assert isinstance(message, Found)
    assert message.epoch == 2


def test_a_fault_of_the_thread_reaches_the_main_thread(bench: Bench) -> None:
    """A thread that died silently would be a scanner that never does anything again."""

    def takes(path: bytes, is_directory: bool) -> bool:
        raise ZeroDivisionError("a fault")

    bench.takes = takes
    (bench.root / "f").touch()
    bench.watching.give(bench.task())
    bench.until(lambda: bench.error is not None)
    assert isinstance(bench.error, ZeroDivisionError)


def test_stop_is_prompt_and_ends_the_connection(bench: Bench) -> None:
    bench.found(bench.watching.give(bench.task()))
    assert bench.worker.stop(PATIENCE)
    assert bench.watching.scanner_is_gone()


# -- a storage that hangs ---------------------------------------------------------------------------------------------

TREE = {"a": 1, "slow": 2, "z": 3, "d": {"x": 4}, "e": {"y": 5}}


@contextlib.contextmanager
def hanging(tmp_path: Path, tree: dict[str, Any] = TREE, **limits: Any) -> Iterator[tuple[Bench, HangingStorage]]:
    storage = HangingStorage(tmp_path / "storage", tree)
    try:
        bench = Bench(tmp_path, storage.root, **{"stuck_seconds": 0.2, **limits})
        try:
            yield bench, storage
        finally:
            storage.release()
            bench.close()
    finally:
        storage.close()


@needs_fuse
def test_a_name_that_hangs_is_named_left_and_taken_up_again(tmp_path: Path) -> None:
    with hanging(tmp_path) as (bench, storage):
        storage.hang("slow")
        number = bench.watching.give(bench.task("d"), bench.task())
        storage.wait_held("slow")
        message, frame = bench.watching.take()
        # What was found of this work before is not lost.
        assert isinstance(message, Found)
        assert (message.number, message.last, [r.dir for r in message.results]) == (number, False, [1])
        assert flat(frame).keys() == {b"x"}
        message, _ = bench.watching.take()
        assert message == Stuck(slot=0, epoch=1, number=number, dir=0, name=b"slow")
        # The rest goes on, in another thread.
        results, rows = bench.found(bench.watching.give(bench.task("e"), bench.task(skip=(b"slow",))))
        assert [r.status for r in results] == [data.OK, data.OK]
        assert rows.keys() == {b"y", b"a", b"z", b"d", b"e"}
        bench.until(lambda: bench.host.gauges["stuck"] == 1)
        assert (bench.host.counters["stuck"], bench.host.state) == (1, "running")
        storage.release()
        assert bench.watching.take()[0] == Unstuck(slot=0, epoch=1, dir=0, name=b"slow")
        _, rows = bench.found(bench.watching.give(bench.task(names=(b"slow",))))
        assert rows[b"slow"][data.SIZE] == 2
        bench.until(lambda: bench.host.gauges["stuck"] == 0)


@needs_fuse
def test_a_directory_that_hangs_has_no_name(tmp_path: Path) -> None:
    with hanging(tmp_path) as (bench, storage):
        storage.hang("d")
        number = bench.watching.give(bench.task("d"))
        storage.wait_held("d")
        assert isinstance(bench.watching.take()[0], Found)
        assert bench.watching.take()[0] == Stuck(slot=0, epoch=1, number=number, dir=1, name=b"")
        storage.release()
        assert bench.watching.take()[0] == Unstuck(slot=0, epoch=1, dir=1, name=b"")


@needs_fuse
def test_more_than_may_hang_makes_it_wait_and_say_so(tmp_path: Path) -> None:
    with hanging(tmp_path, {name: {} for name in "abc"} | {"slow": 1}, most_stuck=2) as (bench, storage):
        storage.hang("slow")
        numbers = [bench.watching.give(bench.task(names=(b"slow",))) for _ in range(2)]
        for number in numbers:
            assert isinstance(bench.watching.take()[0], Found)
            assert bench.watching.take()[0] == Stuck(slot=0, epoch=1, number=number, dir=0, name=b"slow")
        number = bench.watching.give(bench.task(names=(b"slow",)))
        # Slow makes it wait as well: both have to be so at one look.
        bench.until(lambda: (bench.host.gauges["stuck"], bench.host.state) == (2, "waiting"))
        storage.release()
        messages = [bench.watching.take()[0] for _ in range(3)]
        assert messages.count(Unstuck(slot=0, epoch=1, dir=0, name=b"slow")) == 2
        last = next(message for message in messages if isinstance(message, Found))
        assert (last.number, last.last) == (number, True)
        bench.until(lambda: bench.host.state == "running")


@needs_fuse
def test_a_hang_amid_a_long_listing_gives_the_listing_back(tmp_path: Path) -> None:
    """Names that are looked at between two parts of a listing hang: what is left of the listing is answered for."""
    tree: dict[str, Any] = {f"{i:04}": 0 for i in range(5000)} | {"slow": 1}
    with hanging(tmp_path, {"big": tree, "other": {"slow": 7}}, stuck_seconds=0.5) as (bench, storage):
        storage.hang("slow")
        handed: list[int] = []

        def takes(path: bytes, is_directory: bool) -> bool:
            if path == b"big/0001" and not handed:
                handed.append(bench.watching.give(bench.task("other", names=(b"slow",))))
                bench.wait_work()
            return True

        bench.takes = takes
        number = bench.watching.give(bench.task("big"))
        said = [bench.watching.take()[0] for _ in range(4)]
        assert isinstance(said[0], Found)
        assert (said[0].number, said[0].last) == (number, False)
        assert isinstance(said[1], Found)
        assert (said[1].number, said[1].last, said[1].results) == (handed[0], False, ())
        assert said[2] == Stuck(slot=0, epoch=1, number=handed[0], dir=5, name=b"slow")
        assert isinstance(said[3], Found)
        assert (said[3].number, said[3].last, said[3].results) == (number, True, ())


@needs_fuse
def test_a_thread_that_wakes_after_its_watcher_is_gone(tmp_path: Path) -> None:
    """It hung before it could add its watch: it finds the channel closed, and says that the storage answers."""
    with hanging(tmp_path) as (bench, storage):
        storage.hang("d")
        bench.watching.give(bench.task("d"))
        assert isinstance(bench.watching.take()[0], Found)
        assert isinstance(bench.watching.take()[0], Stuck)
        bench.watching.hang_up()
        bench.watching.epoch = 2
        bench.watching.accept()
        storage.release()
        assert bench.watching.take()[0] == Unstuck(slot=0, epoch=1, dir=1, name=b"")
        bench.until(lambda: bench.host.gauges["stuck"] == 0)
        assert bench.error is None


@needs_fuse
def test_stop_does_not_wait_for_the_storage(tmp_path: Path) -> None:
    """The sockets are free although the thread that had them hangs: a successor in this process may have the place."""
    with hanging(tmp_path, stuck_seconds=3600) as (bench, storage):
        storage.hang("d")
        bench.watching.give(bench.task("d"))
        storage.wait_held("d")
        assert bench.worker.stop(0.05)
        assert bench.watching.scanner_is_gone()
