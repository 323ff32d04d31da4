"""A real scanner process; the test plays the watcher and the control actor."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from actors.scanner.__main__ import build
from fustor.runtime.config import ConfigFaults
from protocols import data
from protocols.data import Found, Stuck, Task, Unstuck
from protocols.errors import ConfigError
from tests.support.actors import Actors, actors_in, check, check_config, until
from tests.support.fuse import HangingStorage, unavailable
from tests.support.watching import Rows, WatchingSide

NAME = "scanner.data.0"


@attrs.define
class Scanner:
    """One scanner and what surrounds it."""

    root: Path
    actors: Actors
    watching: WatchingSide

    def start(self, **source: Any) -> int:
        return self.actors.start(NAME, "actors.scanner", self.config(**source))

    def config(self, **source: Any) -> dict[str, Any]:
        whole = {"name": "data", "root": str(self.root), **source}
        return {"source": whole, "slot": 0, "limits": {"stuck_seconds": 3600}}

    async def accept(self) -> dict[str, Any]:
        return await trio.to_thread.run_sync(self.watching.accept)

    async def take(self) -> tuple[Found | Stuck | Unstuck, Rows]:
        return await trio.to_thread.run_sync(self.watching.take)

    async def names(self) -> set[bytes]:
        """What the root has, as the scanner sees it."""
        number = self.watching.give(Task(dir=1, path=b"", dev=0, ino=0))
        message, frame = await self.take()
        assert isinstance(message, Found)
        assert (message.number, message.last) == (number, True)
        return {row[data.NAME] for rows in frame for row in rows}


@pytest.fixture
async def scanner(tmp_path: Path) -> AsyncIterator[Scanner]:
    run, root = tmp_path / "run", tmp_path / "root"
    run.mkdir()
    root.mkdir()
    watching = WatchingSide(run)
    try:
        async with actors_in(run) as actors:
            yield Scanner(root, actors, watching)
    finally:
        watching.close()


async def test_from_start_to_stop(scanner: Scanner) -> None:
    (scanner.root / "f").touch()
    pid = scanner.start()
    assert await scanner.accept() == {"slot": 0, "pid": pid, "rules": ""}
    await scanner.actors.running(NAME)
    assert await scanner.names() == {b"f"}
    await until(lambda: scanner.actors.beats[NAME].counters.get("works") == 1)
    assert scanner.actors.beats[NAME].counters == {"entries": 1, "works": 1, "stuck": 0, "refused": 0}
    assert scanner.actors.kill(NAME, signal.SIGTERM) == 0
    assert scanner.watching.scanner_is_gone()
    assert "Traceback" not in scanner.actors.log(NAME)


async def test_new_patterns_hold_without_a_new_process(scanner: Scanner) -> None:
    (scanner.root / "a.tmp").touch()
    (scanner.root / "b").touch()
    pid = scanner.start()
    await scanner.accept()
    assert await scanner.names() == {b"a.tmp", b"b"}
    scanner.actors.configure(NAME, scanner.config(exclude_regex=["tmp$"]))
    # The old run's end of file first: accepting hangs up on it, and it would come back at once.
    assert await trio.to_thread.run_sync(scanner.watching.scanner_is_gone)
    assert await scanner.accept() == {"slot": 0, "pid": pid, "rules": ""}
    assert await scanner.names() == {b"b"}
    await scanner.actors.running(NAME)
    await until(lambda: scanner.actors.beats[NAME].counters["works"] == 2)


async def test_a_bad_expression_is_refused_and_the_old_one_goes_on(scanner: Scanner) -> None:
    (scanner.root / "b").touch()
    scanner.start()
    await scanner.accept()
    await scanner.actors.running(NAME)
    scanner.actors.configure(NAME, scanner.config(exclude_regex=["fine", "a(b"]))
    why = await scanner.actors.refused(NAME)
    assert why.startswith("exclude_regex[1] = 'a(b'")
    assert "at position 0" in why
    assert await scanner.names() == {b"b"}


@pytest.mark.skipif(bool(unavailable()), reason=unavailable() or "available")
async def test_a_new_configuration_does_not_wait_for_a_storage_that_hangs(scanner: Scanner, tmp_path: Path) -> None:
    """The looking thread is given up; work goes to its successor alone."""
    storage = HangingStorage(tmp_path / "storage", {"slow": {}, "f": 1})
    try:
        scanner.root = storage.root
        scanner.start()
        await scanner.accept()
        storage.hang("slow")
        scanner.watching.give(Task(dir=2, path=b"slow", dev=0, ino=0))
        await trio.to_thread.run_sync(storage.wait_held, "slow")
        scanner.actors.configure(NAME, scanner.config(exclude=["slow"]))
        await scanner.actors.running(NAME)
        await scanner.accept()
        for _ in range(4):
            number = scanner.watching.give(Task(dir=1, path=b"", dev=0, ino=0, names=(b"f",)))
            message, frame = await scanner.take()
            assert isinstance(message, Found)
            assert message.number == number
            assert [row[data.SIZE] for rows in frame for row in rows] == [1]
    finally:
        storage.close()


async def test_no_watcher_is_waited_for(tmp_path: Path) -> None:
    """Whoever is started first."""
    run, root = tmp_path / "run", tmp_path / "root"
    run.mkdir()
    root.mkdir()
    (root / "f").touch()
    async with actors_in(run) as actors:
        scanner = Scanner(root, actors, None)  # type: ignore[arg-type]
        scanner.start()
        await actors.running(NAME)
        scanner.watching = WatchingSide(run)
        try:
            await scanner.accept()
            assert await scanner.names() == {b"f"}
        finally:
            scanner.watching.close()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"slot": -1}, "slot = -1: a number from 0 to 63 is accepted"),
        ({"slot": 64}, "slot = 64: a number from 0 to 63 is accepted"),
        ({"source": {"name": "data", "root": "/", "include_regex": ["("]}}, "include_regex[0] = '(': a regular"),
        ({"source": {"name": "data", "root": "/", "exclude": ["a["]}}, "exclude[0] = 'a[': a gitignore pattern"),
        ({"source": {"name": "data"}}, "source.root = (missing): it is required"),
        ({"limits": {"stuck_seconds": -1}}, "limits.stuck_seconds = -1"),
        ({"limits": {"most_stuk": 1}}, "limits.most_stuk = 1: unknown key"),
    ],
)
def test_a_fault_is_named(change: dict[str, Any], said: str) -> None:
    with pytest.raises((ConfigFaults, ConfigError)) as caught:
        build({"source": {"name": "data", "root": "/"}, "slot": 0, "limits": {}, **change})
    assert said in str(caught.value)


def test_check_accepts() -> None:
    good = {"source": {"name": "data", "root": "/", "exclude": ["*.tmp"]}, "slot": 0, "limits": {}}
    done = check_config("actors.scanner", good)
    assert (done.returncode, done.stdout) == (0, "")
    done = check_config("actors.scanner", {**good, "slot": 64})
    assert (done.returncode, done.stdout) == (2, "slot = 64: a number from 0 to 63 is accepted\n")
    assert check("actors.scanner", "no JSON").returncode == 2
