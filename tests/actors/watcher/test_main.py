"""A real watcher and real scanners; the test plays the control actor, the syncer and the view."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import random
import shutil
import signal
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trio.testing
import zmq

from actors.scanner.channel import WatcherChannel
from actors.watcher.__main__ import Memory, Watcher, WatcherConfig, forget_parsers
from fustor.runtime.actor import Host
from fustor.runtime.mesh import MeshSocket
from fustor.runtime.sockets import open_socket
from fustor.runtime.source import SourceConfig
from protocols.codec import encode, pack
from protocols.data import Applied
from tests.support.actors import PATIENCE, Actors, actors_in, check, check_config, until
from tests.support.collector import Collector
from tests.support.mischief import Mischief


@attrs.define
class Source:
    """One source and everything that works on it."""

    root: Path
    state: Path
    actors: Actors
    view: Collector
    more: dict[str, Any] = attrs.Factory(dict)

    def config(self) -> dict[str, Any]:
        return {"name": "data", "root": str(self.root), "scanners": 2, **self.more}

    def watch(self, **limits: Any) -> int:
        config = {"source": self.config(), "state": str(self.state), "limits": limits}
        return self.actors.start("watcher.data", "actors.watcher", config)

    def scan(self, slot: int) -> int:
        config = {"source": self.config(), "slot": slot, "limits": {}}
        return self.actors.start(f"scanner.data.{slot}", "actors.scanner", config)

    async def up(self, **limits: Any) -> None:
        """Everything runs, and the syncer has said hello."""
        self.watch(**limits)
        self.scan(0)
        self.scan(1)
        await self.view.hello("one")


@pytest.fixture
async def source(tmp_path: Path) -> AsyncIterator[Source]:
    root, state, run = tmp_path / "root", tmp_path / "state", tmp_path / "run"
    for folder in (root, state, run):
        folder.mkdir()
    view = Collector(run)
    try:
        async with actors_in(run) as actors, trio.open_nursery() as nursery:
            nursery.start_soon(view.run)
            yield Source(root, state, actors, view)
            nursery.cancel_scope.cancel()
    finally:
        view.close()


def populate(root: Path, folders: int, files: int) -> None:
    for i in range(folders):
        (root / f"d{i}/sub").mkdir(parents=True)
        for j in range(files):
            (root / f"d{i}/f{j}").write_bytes(b"x" * j)


async def test_tree_and_changes_arrive(source: Source) -> None:
    populate(source.root, 20, 5)
    await source.up()
    await source.view.right(source.root)
    await source.view.state("live")
    shutil.rmtree(source.root / "d3")
    (source.root / "d4").rename(source.root / "d5/sub/moved")
    (source.root / "d5/sub/moved/f1").write_bytes(b"changed")
    os.symlink("nowhere", source.root / "link")
    await source.view.right(source.root)
    beats = source.actors.beats
    await source.actors.running("watcher.data", "scanner.data.0", "scanner.data.1")
    await until(lambda: not beats["watcher.data"].outstanding and beats["watcher.data"].counters.get("listed", 0) > 40)
    assert beats["watcher.data"].facts["epoch"] == "1"
    assert beats["watcher.data"].counters["overflows"] == 0
    await until(lambda: sum(beats[f"scanner.data.{slot}"].counters.get("entries", 0) for slot in (0, 1)) >= 140)


async def test_scanner_killed_in_the_middle_of_a_scan(source: Source) -> None:
    populate(source.root, 300, 10)
    await source.up(dirs_per_work=4)
    await until(lambda: source.view.view.applied > 5)
    source.actors.kill("scanner.data.0")
    await source.view.right(source.root)  # the other one does it alone
    source.scan(0)
    await source.actors.running("scanner.data.0")
    (source.root / "d7/late").touch()
    await source.view.right(source.root)
    await source.view.state("live")


async def test_all_scanners_killed(source: Source) -> None:
    populate(source.root, 30, 2)
    await source.up()
    await source.view.right(source.root)
    source.actors.kill("scanner.data.0")
    source.actors.kill("scanner.data.1")
    (source.root / "d1/while-away").touch()
    source.scan(0)
    source.scan(1)
    await source.view.right(source.root)


async def test_watcher_killed_and_restarted_begins_a_new_epoch(source: Source) -> None:
    """The syncer says no hello again: its acknowledgements are enough."""
    populate(source.root, 30, 3)
    await source.up()
    await source.view.right(source.root)
    source.actors.kill("watcher.data")
    shutil.rmtree(source.root / "d2")
    (source.root / "d9/new").touch()
    source.watch()
    await source.view.right(source.root)
    await source.view.state("live")
    assert source.view.view.epoch == 2
    assert source.actors.beats["watcher.data"].facts["epoch"] == "2"
    (source.root / "d9/newer").touch()
    await source.view.right(source.root)


async def test_a_view_with_a_later_epoch_makes_a_later_one_still(source: Source) -> None:
    """The watcher's own memory is gone; the view's is not."""
    populate(source.root, 3, 1)
    source.view.view.epoch, source.view.view.applied = 40, 7
    await source.up()
    await source.view.right(source.root)
    assert source.view.view.epoch == 41
    assert json.loads((source.state / "watcher.json").read_text())["epoch"] == 41


async def test_a_successor_gets_everything_that_is_not_applied(source: Source) -> None:
    """A new syncer's items begin at the first one that is not applied, whatever its predecessor was sent."""
    populate(source.root, 60, 3)
    await source.up(watermark_seconds=0.05)
    await source.view.right(source.root)
    source.view.acknowledging = False
    await trio.testing.wait_all_tasks_blocked()
    (source.root / "d1/more").touch()
    await source.view.right(source.root)
    applied = source.view.view.applied
    source.view.taken.clear()
    await source.view.hello("two")
    await until(lambda: (1, applied) in source.view.taken)
    numbers = [number for _, number in source.view.taken]
    assert numbers[0] <= applied
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    source.view.acknowledging = True
    (source.root / "d1/still-more").touch()
    await source.view.right(source.root)


async def test_a_replaced_store_is_filled_again(source: Source) -> None:
    populate(source.root, 20, 3)
    await source.up()
    await source.view.right(source.root)

    def forgotten() -> bool:
        # A beat of before its items were counted would say the same, and what is kept is the syncer's to send again.
        beat = source.actors.beats["watcher.data"]
        return beat.counters.get("items", 0) >= source.view.view.applied and beat.gauges["unapplied_items"] < 20

    await until(forgotten)
    source.view.view = type(source.view.view)()
    source.view.store = "another"
    await source.view.right(source.root)
    assert source.view.view.epoch == 2
    (source.root / "d1/after").touch()
    await source.view.right(source.root)


async def test_missing_root_is_offline_and_nothing_is_deleted(source: Source) -> None:
    populate(source.root, 5, 2)
    await source.up(probe_seconds=0.05)
    await source.view.right(source.root)
    before = source.view.view.entries()
    away = source.root.with_name("away")
    source.root.rename(away)
    await source.view.state("offline")
    assert source.view.view.entries() == before
    assert source.view.view.watermark is not None
    assert not source.view.view.watermark.complete
    (away / "while-away").touch()
    away.rename(source.root)
    await source.view.right(source.root)
    await source.view.state("live")


async def test_root_that_never_was_is_offline(source: Source) -> None:
    source.root.rmdir()
    await source.up(probe_seconds=0.05)
    await source.view.state("offline")
    source.root.mkdir()
    (source.root / "first").touch()
    await source.view.right(source.root)
    await source.view.state("live")


async def test_no_claim_is_false_while_writing(source: Source) -> None:
    """Whatever existed before the moment that a watermark claims is in the view when it comes."""
    populate(source.root, 10, 2)
    await source.up(watermark_seconds=0.05)
    await source.view.state("live")
    written: dict[bytes, int] = {}
    checked = 0
    for i in range(300):
        name = f"d{i % 10}/w{i}"
        (source.root / name).touch()
        written[name.encode()] = time.time_ns()
        await trio.lowlevel.checkpoint()
        mark = source.view.view.watermark
        assert mark is not None
        known = source.view.view.entries()
        claimed = {path for path, at in written.items() if at < mark.as_of_ns}
        assert claimed <= known.keys()
        checked += len(claimed)
        if i % 20 == 0:
            await source.view.claims(written[name.encode()])
    assert checked > 0
    await source.view.right(source.root)


async def test_random_changes_while_everybody_dies_in_turn(source: Source, tmp_path: Path) -> None:
    """Half a minute of a bad day, shortened: each actor is killed amid random changes; the end is right."""
    rng = random.Random(7)
    mischief = Mischief(os.fsencode(source.root), os.fsencode(tmp_path), rng)
    for _ in range(200):
        mischief.do()
    await source.up()
    for victim in ("scanner.data.0", "watcher.data", "scanner.data.1"):
        for _ in range(150):
            mischief.do()
            await trio.lowlevel.checkpoint()
        source.actors.kill(victim)
        for _ in range(50):
            mischief.do()
        if victim == "watcher.data":
            source.watch()
        else:
            source.scan(int(victim[-1]))
        for _ in range(50):
            mischief.do()
            await trio.lowlevel.checkpoint()
    # A change under a name that was gone before it was ever seen is the audit's job: let it look at everything.
    source.actors.kill("watcher.data")
    source.watch()
    await source.view.right(source.root)
    await source.view.state("live")


async def test_garbage_is_refused_and_nobody_dies(source: Source) -> None:
    populate(source.root, 5, 1)
    await source.up()
    await source.view.right(source.root)
    back = source.view.back
    await back.send([b"\xc1"])
    await back.send([b""])
    await back.send([b"x", b"y", b"z"])
    await back.send([encode(Applied(incarnation="stranger", store="s", epoch=99, applied=99))])
    await until(lambda: source.actors.beats["watcher.data"].counters.get("refused") == 3)
    for greeting in (b"\xc1", pack({"slot": 99}), pack({"slot": 1e999}), pack([1]), pack({})):
        with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)) as stranger:
            stranger.setblocking(False)
            stranger.connect(str(source.actors.run / "inotify.data"))
            stranger.send(greeting)
            await trio.lowlevel.wait_readable(stranger)
            assert stranger.recv(10) == b""
    (source.root / "d1/after").touch()
    await source.view.right(source.root)
    assert source.view.view.epoch == 1


async def test_patterns_decide_what_belongs(source: Source) -> None:
    source.more = {"exclude": ["*.tmp", "cache/"]}
    populate(source.root, 2, 1)
    await source.up()
    await source.view.right(source.root)
    (source.root / "cache").mkdir()
    (source.root / "cache/inside").touch()
    (source.root / "x.tmp").touch()
    (source.root / "y").touch()
    (source.root / "z").touch()
    (source.root / "z").rename(source.root / "z.tmp")
    await until(lambda: b"y" in source.view.view.entries() and b"z" not in source.view.view.entries())
    missing = source.view.difference(source.root).missing
    await until(lambda: source.view.difference(source.root).missing >= {b"cache", b"cache/inside", b"x.tmp", b"z.tmp"})
    assert not source.view.difference(source.root).extra, missing


async def test_bounds_periods_and_scanners_change_while_it_works(source: Source) -> None:
    populate(source.root, 5, 2)
    await source.up()
    await source.view.right(source.root)
    pid = source.actors.beats["watcher.data"].pid
    source.more = {"fast_audit_seconds": 5.0, "scanners": 3}
    source.actors.configure(
        "watcher.data", {"source": source.config(), "state": str(source.state), "limits": {"links": 5}}
    )
    for slot in (0, 1):
        source.actors.configure(
            f"scanner.data.{slot}", {"source": source.config(), "slot": slot, "limits": {"stuck_seconds": 3}}
        )
    source.scan(2)
    source.actors.kill("scanner.data.0")
    source.actors.kill("scanner.data.1")
    await source.actors.running("watcher.data", "scanner.data.2")
    (source.root / "d1/later").touch()
    await source.view.right(source.root)
    assert source.view.view.epoch == 1
    beat = source.actors.beats["watcher.data"]
    assert (beat.pid, beat.facts["epoch"]) == (pid, "1")


async def test_a_scanner_of_other_rules_waits_until_both_have_the_same(source: Source) -> None:
    """Whoever of the two is configured first: nothing is found by the old patterns for the new ones."""
    populate(source.root, 3, 2)
    (source.root / "x.tmp").touch()
    await source.up()
    await source.view.right(source.root)
    source.more = {"exclude": ["*.tmp"]}
    told = {"source": source.config(), "rules": "new", "limits": {}}
    source.actors.configure("watcher.data", {**told, "state": str(source.state)})
    await until(lambda: "a scanner of other rules" in source.actors.log("watcher.data"))
    await until(lambda: source.view.view.epoch == 2)
    assert b"x.tmp" in source.view.view.entries()  # nobody has looked yet
    for slot in (0, 1):
        source.actors.configure(f"scanner.data.{slot}", {**told, "slot": slot})
    await until(lambda: b"x.tmp" not in source.view.view.entries())
    (source.root / "x.tmp").unlink()
    await source.view.right(source.root)


async def test_stop_is_clean(source: Source) -> None:
    populate(source.root, 2, 1)
    await source.up()
    await source.view.right(source.root)
    await source.actors.running("watcher.data", "scanner.data.0", "scanner.data.1")
    for name in ("scanner.data.0", "scanner.data.1", "watcher.data"):
        assert source.actors.kill(name, signal.SIGTERM) == 0
        assert "Traceback" not in source.actors.log(name)


async def connect(path: str) -> WatcherChannel:
    """As a scanner does: between two epochs nobody listens."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return await trio.to_thread.run_sync(WatcherChannel.connect, path, 0)
        except OSError:
            assert time.monotonic() < deadline
            await trio.lowlevel.checkpoint()


async def test_events_of_a_new_epoch_are_read_when_they_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mock_clock: trio.testing.MockClock
) -> None:
    """
    The inotify is another one under the same number: whoever waited for the old one must wait for it. The clock stands
    still, so that nothing is read because a period is over.
    """
    monkeypatch.chdir(tmp_path)
    host = Host("watcher.data", {}, logging.getLogger("test"), lambda: None)
    config = WatcherConfig(source=SourceConfig(name="data", root=str(tmp_path)), state=str(tmp_path))
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    back = MeshSocket(open_socket(context, zmq.PUSH, connect="ipc://found.data"))
    folder = tmp_path / "watched"
    folder.mkdir()
    deadline = time.monotonic() + PATIENCE
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Watcher(config, host).run)
            await back.send([encode(Applied(incarnation="one", store="s", epoch=40, applied=1))])
            channel = await connect("inotify.data")
            while channel.epoch != 41:
                channel.close()
                channel = await connect("inotify.data")
            fd = os.open(folder, os.O_RDONLY)
            assert channel.add_watch(fd) > 0
            os.close(fd)
            (folder / "new").touch()
            while host.counters["events"] == 0:
                assert time.monotonic() < deadline
                await trio.lowlevel.checkpoint()
            channel.close()
            nursery.cancel_scope.cancel()
    finally:
        back.close()
        context.term()


def test_unreadable_state_counts_as_nothing_remembered(tmp_path: Path) -> None:
    path = tmp_path / "watcher.json"
    for text in ("", "{", "[]", "null", '{"epoch": Infinity, "mount": true}', '{"epoch": 3}'):
        path.write_text(text)
        assert Memory.load(path) == Memory(path)
    Memory(path, epoch=5, mount=True).save()
    assert Memory.load(path) == Memory(path, epoch=5, mount=True)


@pytest.fixture
def good(tmp_path: Path) -> dict[str, Any]:
    return {"source": {"name": "data", "root": str(tmp_path)}, "state": str(tmp_path), "limits": {}}


def test_check(good: dict[str, Any]) -> None:
    assert check_config("actors.watcher", good).returncode == 0
    good["source"]["root"] = "relative"
    good["limits"]["dirty_names"] = "many"
    done = check_config("actors.watcher", good)
    assert done.returncode == 2
    assert "source.root = 'relative': an absolute path" in done.stdout
    assert "limits.dirty_names = 'many'" in done.stdout
    assert check("actors.watcher", "no JSON").returncode == 2


def test_what_parsers_kept_goes_with_them(tmp_path: Path) -> None:
    for name in ("parser.one", "parser.two", "other"):
        (tmp_path / name / "inside").mkdir(parents=True)
    (tmp_path / "watcher.json").touch()
    forget_parsers(str(tmp_path), ["two", "three"])
    assert sorted(os.listdir(tmp_path)) == ["other", "parser.two", "watcher.json"]
    forget_parsers(str(tmp_path / "gone"), [])
