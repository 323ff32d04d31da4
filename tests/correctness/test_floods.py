"""More changes than the queue of inotify holds, or as many as the disk takes: declared, and right in the end."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support import writers
from tests.support.cluster import Cluster, Poller, until


@contextlib.contextmanager
def paused(cluster: Cluster, name: str) -> Iterator[None]:
    """A payload that gets no processor meanwhile, and is not taken for hung."""
    cluster.command("pause", f"local/{name}")
    try:
        yield
    finally:
        cluster.command("resume", f"local/{name}")


def counts(cluster: Cluster) -> dict[str, int]:
    """The counts of the source, as an answer shows them."""
    found: dict[str, int] = cluster.source()["counts"]
    return found


def never_claims_too_much(answers: list[dict[str, Any]], began: float, files: int) -> None:
    """Whoever says that everything is contained must not be asked to prove it in vain."""
    for answer in answers:
        if answer["complete"] and answer["as_of"] is not None and answer["as_of"] > began:
            assert answer["rollup"]["files"] == files, answer


def test_an_overflow_is_declared_counted_and_repaired(cluster: Cluster, place: Path) -> None:
    (place / "before").mkdir()
    for number in range(300):
        (place / f"before/{number}").touch()
    for number in range(60):
        (place / f"new/{number}").mkdir(parents=True)
    cluster.assert_right()
    before = counts(cluster)["overflows"]
    with Poller(cluster, os.fsencode(f"/{place.name}")) as poller:
        with paused(cluster, "watcher.data"):
            writers.finish(writers.start("files", place / "new", 60_000))
            for number in range(100):
                (place / f"before/{number}").unlink()
                (place / f"before/{number + 100}").write_bytes(b"in place")
            ended = os.stat(place / "new/59/59999").st_mtime
        cluster.assert_right()
    assert counts(cluster)["overflows"] > before
    never_claims_too_much(poller.answers, ended, 60_200)
    reasons = [reason for answer in poller.answers for reason in answer["sources"][0]["reasons"]]
    assert any("events were lost" in reason for reason in reasons), set(reasons)
    assert "live" not in {a["state"] for a in poller.answers if a["sources"][0]["reasons"]}


def test_two_writers(cluster: Cluster, place: Path) -> None:
    for writer in ("one", "two"):
        (place / writer).mkdir()
    cluster.assert_right()
    with Poller(cluster, os.fsencode(f"/{place.name}")):
        writers.finish(*[writers.start("files", place / writer, 30_000) for writer in ("one", "two")])
        cluster.assert_right()


def test_a_burst_as_fast_as_the_disk_takes_it(cluster: Cluster, place: Path) -> None:
    cluster.assert_right()
    with Poller(cluster, os.fsencode(f"/{place.name}")) as poller:
        writers.finish(writers.start("files", place, 50_000))
        ended = os.stat(place / "49/49999").st_mtime
        cluster.assert_right()
    never_claims_too_much(poller.answers, ended, 50_000)
    rollup = cluster.tree(os.fsencode(f"/{place.name}"), max_depth=0)["rollup"]
    assert (rollup["files"], rollup["directories"]) == (50_000, 50)


def test_the_watcher_of_a_flood_keeps_no_history(cluster: Cluster, place: Path) -> None:
    """What is kept for the view is bounded: after a flood nothing of it is left."""
    writers.finish(writers.start("files", place, 5_000))
    cluster.assert_right()

    def nothing_left() -> bool:
        gauges = [p["gauges"] for p in cluster.status()["status"]["agents"][0]["payloads"] if "watcher" in p["name"]]
        return bool(gauges[0]) and all(gauges[0][name] == 0 for name in ("dirty", "queued", "early", "handed"))

    until(nothing_left, "an idle watcher")
