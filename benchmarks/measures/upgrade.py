"""Other programs for payloads and shells, good and bad, while files are made: what it costs, how long it takes."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import attrs

from benchmarks import writer
from benchmarks.beats import Beats
from benchmarks.bench import Bench, Measure
from benchmarks.errors import WrongAnswerError
from benchmarks.eye import PAYLOADS, Eye
from benchmarks.sample import Sample
from benchmarks.subjects.base import Subject
from benchmarks.subjects.fustor import Fustor
from benchmarks.web import until
from fustor.admin.state import State
from tests.support.cluster import Cluster, Poller
from tests.support.programs import broken, made, push, trust, version

#: Probation, and the patience with payloads that do not come, of a side; seconds.
_LIMITS = "\n[limits.probation]\nprobation_seconds = 1.0\n[limits.guardian]\nproof_seconds = 1.0\n"
#: Seconds between two looks, and that an upgrade may take.
_LOOK, _PATIENCE = 0.01, 120.0
#: Files made a second meanwhile, for at most so many seconds.
_RATE, _MOST_SECONDS = 1000, 600
#: Side → its name as a target, and where its program goes wrong.
_SIDES = {
    "agent": ("local", "actors/watcher/core.py", "actors/watcher/__main__.py"),
    "fusion": ("fusion", "actors/query/service.py", "actors/query/__main__.py"),
}


@attrs.frozen
class _Ground:
    """What each upgrade is made on."""

    cluster: Cluster
    eye: Eye
    beats: Beats
    key: Path
    folder: Path

    def bundle(self, name: str, change: Callable[[Path], None]) -> str:
        """A pushed bundle; its digest."""
        folder = self.folder / name.replace(" ", "-")
        folder.mkdir()
        return push(self.cluster, made(folder, self.key, change))

    def status(self, target: str) -> dict[str, object]:
        """What a side makes of what is desired of it."""
        found: dict[str, object] = self.eye.ask("config", agent=target)["status"] or {}
        return found

    def software(self, target: str) -> dict[str, str]:
        """Version of each payload that runs."""
        (side,) = self.eye.ask("payloads", agent=target)["sides"]
        return {one["name"]: one["software"] for one in side["payloads"] if one["state"] == "running"}

    def runs(self, target: str, number: str, *, any_of_it: bool = False) -> None:
        """Wait until a version runs everywhere, or in one payload."""

        def does() -> bool:
            found = self.software(target)
            if any_of_it:
                return number in found.values()
            return found == dict.fromkeys(PAYLOADS[target], number)

        until(does, f"{number} on {target}", _PATIENCE, _LOOK)

    def start(self, target: str, digest: str, what: str = "payloads") -> float:
        """Begin a rollout; when that was."""
        at = time.monotonic()
        self.eye.ask("rollout-start", bundle=digest, agents=target, reason="benchmark", what=what)
        return at

    def has_shell(self, side: str, digest: str) -> bool:
        """Control actor and guardian run this program, proved."""
        found = json.loads((self.cluster.state / side / "shell.json").read_text())
        parts = (found["control"], found["guardian"])
        programs = [found["runs"], *(part["program"] for part in parts if not part["trial"])]
        return [Path(program).name for program in programs] == [digest] * 3

    def ended(self, target: str, *outcomes: str) -> None:
        """Wait until the last attempt has come to an end, and the rollout knows it."""
        until(lambda: self.status(target).get("outcome") in outcomes, f"{outcomes} of {target}", _PATIENCE, _LOOK)
        until(lambda: self.eye.ask("rollout")["rollout"]["served"], "the end of the rollout", _PATIENCE, _LOOK)


def run(subject: Subject, bench: Bench) -> Iterator[Sample]:
    """Both sides, one after the other, while files are made and fs/tree is asked."""
    assert isinstance(subject, Fustor)
    with bench.state() as folder:
        try:
            subject.start_with(bench.tree, folder, limits=_LIMITS, fusion=_LIMITS)
            subject.wait_complete(bench.tree)
            cluster = subject.cluster
            assert cluster is not None
            key = folder.parent / "release.key"
            cluster.command("bundle", "keygen", "--output", str(key))
            eye = Eye(State(cluster.state))
            eye.wait_all()
            with bench.scratch(subject) as below, Beats(eye.state) as beats, Poller(cluster) as poller:
                ground = _Ground(cluster, eye, beats, key, folder.parent)
                path = Path(bench.tree.root) / below
                writes = writer.start(str(path), _RATE * _MOST_SECONDS, _RATE)
                try:
                    for side in _SIDES:
                        yield from _upgrades(ground, side, bench.scale.upgrades)
                    # Before the shells change: each of their sessions counts anew.
                    link = eye.link()
                    yield Sample("heartbeats missed", link["seq"] - link["beats"], "beats", "less")
                    for side in _SIDES:
                        yield from _shells(ground, side, bench.scale.upgrades)
                finally:
                    writes.terminate()
                    writes.communicate()
                yield from _lost(subject, below, path, bench.scale.settle_seconds)
            yield Sample("answers other than 200", len(poller.failures), "answers", "less")
            yield Sample("answers", len(poller.answers), "answers", "more")
            eye.close()
        finally:
            subject.stop()


def _upgrades(ground: _Ground, side: str, count: int) -> Iterator[Sample]:
    """A good one, bad ones of each kind ``count`` times, and back."""
    target, module, main = _SIDES[side]
    trust(ground.cluster, side, ground.key)
    bad = {
        "crashes": broken("6.6.6", module, "import os, sys\n'--check' in sys.argv or os.abort()"),
        "hangs": broken("6.6.7", module, "import sys, time\n'--check' in sys.argv or time.sleep(10_000)"),
        "refused": broken("6.6.8", main, "raise SystemExit('no')"),
    }
    bundles = {kind: ground.bundle(f"{side} {kind}", change) for kind, change in bad.items()}
    good = {number: ground.bundle(f"{side} {number}", version(number)) for number in ("9.0.1", "9.0.2")}
    since, took = time.monotonic(), dict[str, list[float]]()

    def note(what: str, at: float) -> None:
        took.setdefault(what, []).append(time.monotonic() - at)

    for turn in range(count):
        number = "9.0.2" if turn % 2 else "9.0.1"
        at = ground.start(target, good[number])
        ground.runs(target, number, any_of_it=True)
        note("order to the first payload of the new program", at)
        ground.ended(target, "good")
        ground.runs(target, number)
        note("order to good everywhere", at)
        for kind, digest in bundles.items():
            at = ground.start(target, digest)
            ground.ended(target, "failed", "refused")
            ground.runs(target, number)
            note(f"order to back on the old program ({kind})", at)
            ground.eye.ask("rollout-abort", reason="benchmark")
    at = time.monotonic()
    ground.start(target, "")
    ground.ended(target, "good")
    note("order to installed everywhere", at)
    for what, seconds in took.items():
        yield Sample(what, sorted(seconds)[len(seconds) // 2], "s", "less", case=side)
    interval = ground.eye.ask("status")["heartbeat_ms"] / 1e3
    yield Sample("longest silence", ground.beats.longest(since) / interval, "intervals", "less", case=side)


def _shells(ground: _Ground, side: str, count: int) -> Iterator[Sample]:
    """The same with control actor and guardian."""
    target, *_ = _SIDES[side]
    crash, hang = "import os, sys\n'--check' in sys.argv or os.abort()", "import sys, time\n'--check' in sys.argv or "
    control, guardian = f"fustor/{side}/control.py", "fustor/guardian/loop.py"
    bad = {
        "control actor crashes": broken("6.7.6", control, crash),
        "control actor hangs": broken("6.7.7", control, hang + "time.sleep(10_000)"),
        "guardian crashes": broken("6.7.8", guardian, crash),
    }
    bundles = {kind: ground.bundle(f"{side} {kind}", change) for kind, change in bad.items()}
    good = [ground.bundle(f"{side} shell {number}", version(number)) for number in ("9.1.1", "9.1.2")]
    since, took = time.monotonic(), dict[str, list[float]]()
    for turn in range(count):
        digest = good[turn % 2]
        at = ground.start(target, digest, "shell")
        ground.ended(target, "good")
        until(partial(ground.has_shell, side, digest), "the new shell", _PATIENCE, _LOOK)
        took.setdefault("order to a new shell, proved", []).append(time.monotonic() - at)
        for kind, wrong in bundles.items():
            at = ground.start(target, wrong, "shell")
            ground.ended(target, "failed", "refused")
            took.setdefault(f"order to back on the old shell ({kind})", []).append(time.monotonic() - at)
            ground.eye.ask("rollout-abort", reason="benchmark")
    at = ground.start(target, "", "shell")
    ground.ended(target, "good")
    took.setdefault("order to the installed shell", []).append(time.monotonic() - at)
    for what, seconds in took.items():
        yield Sample(what, sorted(seconds)[len(seconds) // 2], "s", "less", case=side)
    interval = ground.eye.ask("status")["heartbeat_ms"] / 1e3
    silence = ground.beats.longest(since) / interval
    yield Sample("longest silence while shells change", silence, "intervals", "less", case=side)


def _lost(subject: Fustor, below: str, path: Path, seconds: float) -> Iterator[Sample]:
    """What was made and is not shown."""
    there = sum(1 for found in path.rglob("*") if found.is_file())
    shown = 0

    def all_of_them() -> bool:
        nonlocal shown
        shown = subject.files_below(below)
        return shown == there

    with contextlib.suppress(WrongAnswerError):
        until(all_of_them, "every file", seconds, 0.1)
    yield Sample("files made", there, "files", "more")
    yield Sample("files lost", there - shown, "files", "less")


MEASURE = Measure(
    "upgrade",
    "Hot upgrades",
    "An agent's payloads, then Fusion's own, get another program as a signed bundle, while 1,000 files a second are "
    "made and fs/tree is asked 20 times a second: a good one, one that crashes, one that hangs, one that its trial "
    "refuses; and what is installed again. Then control actor and guardian do. Probations and proofs of 1 s. From "
    "the order until the first payload runs the new "
    "one, until all of them do and it is good, or until everything runs the old one again. Heartbeats of the agent "
    "that did not come, files that are not shown, answers that were not 200.",
    run,
    lambda subject: isinstance(subject, Fustor),
    "own",
)
