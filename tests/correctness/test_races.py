"""Directories that appear, move and vanish faster than they can be watched."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from tests.support import writers
from tests.support.cluster import Cluster, Poller


def test_mkdir_p_by_two_writers(cluster: Cluster, place: Path) -> None:
    for writer in ("one", "two"):
        (place / writer).mkdir()
    cluster.assert_right()
    with Poller(cluster, os.fsencode(f"/{place.name}")):
        writers.finish(*[writers.start("chains", place / writer, 1_000) for writer in ("one", "two")])
        cluster.assert_right()
    rollup = cluster.tree(os.fsencode(f"/{place.name}"), max_depth=0)["rollup"]
    assert (rollup["files"], rollup["directories"]) == (2_000, 2 + 2 * 1_000 * 4)


class Renames:
    """Renames one directory on each of three levels to and fro, and makes files in them by whatever name they have."""

    def __init__(self, top: Path) -> None:
        self._top = top
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.rounds = 0
        for side in ("x", "y"):
            (top / f"a{side}").mkdir()
            for number in range(20):
                (top / f"a{side}/keep{number}").mkdir()
                (top / f"a{side}/keep{number}/f").touch()
        (top / "ax/b0/c0").mkdir(parents=True)

    def __enter__(self) -> Renames:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        a, b, c = "ax", "b0", "c0"
        # Paced: as fast as one can is more than a slow machine can follow, and what never pauses is never contained.
        while not self._stop.wait(0.005):
            self.rounds += 1
            number = self.rounds
            # The lowest, the middle one to the other top and back, and the top itself.
            os.rename(self._top / a / b / c, self._top / a / b / f"c{number % 3}x")
            c = f"c{number % 3}x"
            (self._top / a / b / c / f"file{number % 500}").touch()
            other = "ay" if a == "ax" else "ax"
            os.rename(self._top / a / b, self._top / other / f"b{number % 2}")
            a, b = other, f"b{number % 2}"
            (self._top / a / b / f"file{number % 500}").touch()
            os.rename(self._top / "ax", self._top / "az")
            (self._top / "az" / f"file{number % 500}").touch()
            os.rename(self._top / "az", self._top / "ax")
            (self._top / a / b / c / f"d{number}").mkdir()
            if number > 20:
                os.rmdir(self._top / a / b / c / f"d{number - 20}")


def test_renames_on_three_levels_during_creates(cluster: Cluster, place: Path) -> None:
    cluster.assert_right()
    with Poller(cluster, os.fsencode(f"/{place.name}")):
        (place / "creates").mkdir()
        with Renames(place) as renames:
            writers.finish(writers.start("files", place / "creates", 10_000))
        assert renames.rounds > 20
        cluster.assert_right()


def test_renames_on_three_levels_during_a_scan(cluster: Cluster, place: Path) -> None:
    (place / "big").mkdir()
    writers.finish(writers.start("files", place / "big", 5_000))
    cluster.assert_right()
    with Poller(cluster, os.fsencode(f"/{place.name}")), Renames(place) as renames:
        # A new watcher knows nothing: everything is listed while it moves.
        cluster.kill("watcher.data")
        cluster.settled()
    assert renames.rounds > 20
    cluster.assert_right()
