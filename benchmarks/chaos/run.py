"""
A run from end to end: load and change, the schedule, quiet, then each side killed whole and started again.

What this module does not do: start the Fusion and the agent, or judge what was found (``found`` does).
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

import attrs

from benchmarks.chaos import asking
from benchmarks.chaos.answers import Asked, Phase
from benchmarks.chaos.asking import Asker
from benchmarks.chaos.ends import Ends
from benchmarks.chaos.faults import Faults
from benchmarks.chaos.found import AGAIN, CHAOS, DOWN, LOST, QUIET, ROOT, STEADY, WHOLE, Claims, Equality, Found
from benchmarks.chaos.ground import Links
from benchmarks.chaos.lives import Lives
from benchmarks.chaos.schedule import Step
from benchmarks.eye import Eye
from benchmarks.subjects.base import Web
from benchmarks.trees import SCRATCH, SCRATCH_WRITTEN, SMALL, Tree
from benchmarks.web import until
from fustor.admin.prepare import toml_text
from fustor.admin.state import State
from tests.support.cluster import Cluster
from tests.support.mischief import Mischief
from tests.support.writers import Change, Ledger, Truth

#: Lines for both sides: delays that a loop of kills does not stretch, nobody parked or quarantined for what we do.
LIMITS = """
[limits.shell.backoff]
cap_seconds = 0.5
stable_seconds = 1.0
[limits.shell.ladder]
park_seconds = 86400
[limits.quarantine]
deaths = 100
"""
#: Directories of the tree in which there is change: of the ledgers, and one for everything else a file system can do.
STEADY_IN, CHAOS_IN, MISCHIEF_IN = (f"{SCRATCH}/{name}" for name in SCRATCH_WRITTEN[:3])
#: Questions a second of one poller, and of one reader; how many readers.
_POLLS, _READS, _READERS = 20.0, 25.0, 4
#: Whole trees a second, and entries above which nobody asks for one.
_WHOLES, _WHOLE_MOST = 0.5, 200_000
#: Changes after each step, and directories above which one is removed.
_CHANGES, _DIRECTORIES = 20, 200
#: Names that are said of a listing that was not as it claimed.
_SOME = 5
#: Seconds that anything may take before the run is given up, and between two looks.
_PATIENCE, _LOOK = 150.0, 0.02

_T = TypeVar("_T")


@attrs.frozen
class Plan:
    """
    Attributes:
        steps: of the chaos.
        seed: of the changes.
        steady_seconds, steady_rate: of the ledger before the chaos, changes a second; 0 seconds: there is none.
        rate: changes a second of the ledger during the chaos.
        whole: each side is killed whole and started again in the end.
    """

    steps: Sequence[Step]
    seed: int
    steady_seconds: float
    steady_rate: float
    rate: float
    whole: bool = True


def run(cluster: Cluster, tree: Tree, plan: Plan, folder: Path, *, links: Links, room: Path | None) -> Found:
    """
    Do it.

    Args:
        cluster: started on ``tree``, and complete.
        tree: its scratch directories are empty, and are so again in the end.
        plan: what.
        folder: for what is written down, on the file system of the tree.
        links: the ways of the agent to Fusion.
        room: a small file system that holds the store; None: there is none.

    Raises:
        BenchError, FustorError, AssertionError: it could not be done to its end.
    """
    with _field(tree):
        return _Run(cluster, tree, plan, folder, links, room).all()


def read_claims(path: Path, ledgers: dict[str, Sequence[Change]]) -> Claims:
    """
    Compare the listings in a file of :func:`benchmarks.chaos.asking.start` with the ledger of each asker.

    What is claimed is followed in the order of its moments, not in that of coming.
    """
    order: list[tuple[float, int]] = []
    with path.open("rb") as file:
        place = 0
        for line in file:
            order.append((json.loads(line)[1], place))
            place += len(line)
        order.sort()
        truths = {asker: Truth(changes) for asker, changes in ledgers.items()}
        lies = []
        for _, place in order:
            file.seek(place)
            asker, as_of, received, sizes = json.loads(file.readline())
            if found := truths[asker].lies(as_of, received, sizes):
                some = "; ".join(found[:_SOME])
                lies.append(f"{asker}: as of {as_of:.6f}, come at {received:.6f}, {len(found)} names: {some}")
    return Claims(len(order), tuple(lies))


@contextmanager
def _field(tree: Tree) -> Iterator[None]:
    """The directories of the changes are empty in the end."""
    try:
        yield
    finally:
        for path in (STEADY_IN, CHAOS_IN, MISCHIEF_IN):
            shutil.rmtree(os.path.join(tree.root, path))
            os.mkdir(os.path.join(tree.root, path))


class _Run:
    def __init__(self, cluster: Cluster, tree: Tree, plan: Plan, folder: Path, links: Links, room: Path | None) -> None:
        self._cluster, self._tree, self._plan, self._folder = cluster, tree, plan, folder
        state = State(cluster.state)
        self._lives, self._eye = Lives(state), Eye(state)
        self._ends = Ends(self._lives)
        self._faults = Faults(
            self._lives,
            self._eye,
            self._ends,
            document=self._document,
            store=state.fusion.folder / "views" / "main",
            links=links,
            room=room,
        )
        self._phases: list[Phase] = []
        self._equalities: list[Equality] = []
        self._ledgers: dict[str, Sequence[Change]] = {}
        self._running_seconds = 0.0

    def all(self) -> Found:
        """Every phase, and what was found."""
        self._eye.wait_all()
        with ExitStack() as stack:
            stack.callback(self._eye.close)
            stack.enter_context(self._ends)
            askers = self._ask()
            try:
                self._steady()
                self._chaos()
                self._quiet()
                if self._plan.whole:
                    self._agent_lost()
                    self._fusion_down()
            finally:
                for process in askers.values():
                    process.communicate()
        asked: list[Asked] = []
        for name, process in askers.items():
            if process.returncode:
                self._faults.problems.append(f"who asks ended with {process.returncode}")
            asked += map(Asked.of, (self._folder / f"{name}.answers").read_text().splitlines())
        return Found(
            phases=self._phases,
            asked=asked,
            ends=self._ends.found,
            marks=self._faults.marks,
            rate=self._plan.steady_rate,
            done=self._faults.done,
            claims=read_claims(self._folder / "small.files", self._ledgers),
            equalities=self._equalities,
            problems=self._faults.problems,
            running_seconds=self._running_seconds,
        )

    # -- phases -------------------------------------------------------------------------------------------------------

    def _steady(self) -> None:
        plan = self._plan
        if not plan.steady_seconds:
            self._ledgers[STEADY] = []
            return
        with self._phase(STEADY):
            ledger = Ledger(self._path(STEADY_IN), plan.steady_seconds, plan.steady_rate)
            self._ledgers[STEADY] = ledger.changes()

    def _chaos(self) -> None:
        draw = random.Random(self._plan.seed)
        outside = self._folder / "outside"
        outside.mkdir()
        top = os.fsencode(self._path(MISCHIEF_IN))
        mischief = Mischief(top, os.fsencode(outside), draw, links=False)
        with self._phase(CHAOS):
            ledger = Ledger(self._path(CHAOS_IN), 1e9, self._plan.rate)
            try:
                for step in self._plan.steps:
                    self._faults.do(step)
                    for _ in range(_CHANGES):
                        mischief.do()
                    _thin(top, draw)
                    if twice := self._lives.twice():
                        self._faults.problems.append(f"two at a time after {step}: {twice}")
            finally:
                ledger.stop()
                self._ledgers[CHAOS] = ledger.changes()

    def _quiet(self) -> None:
        with self._phase(QUIET):
            start = time.monotonic()
            self._equal(QUIET)
            self._eye.wait_all()
            self._running_seconds = time.monotonic() - start

    def _agent_lost(self) -> None:
        with self._phase(LOST):
            self._lives.kill_whole("agent", _PATIENCE)
            until(lambda: self._state() == "stale", "the tree to be called stale", _PATIENCE, _LOOK)
        with self._phase("agent started again"):
            self._cluster.up()
            self._equal("agent started again")
            self._eye.wait_all()

    def _fusion_down(self) -> None:
        with self._phase(DOWN, away=True):
            self._lives.kill_whole("fusion", _PATIENCE)
            self._eye.close()
            self._cluster.up()
        with self._phase(AGAIN):
            self._equal(AGAIN)
            self._eye.wait_all()

    @contextmanager
    def _phase(self, name: str, *, away: bool = False) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self._phases.append(Phase(name, start, time.perf_counter(), away))

    # -- looks --------------------------------------------------------------------------------------------------------

    def _equal(self, phase: str) -> None:
        """Wait for the claim; what differs then does so for good, for nothing is changed meanwhile."""
        start = time.monotonic()
        _again(self._cluster.settled)
        seconds = time.monotonic() - start
        found = _again(self._cluster.difference)
        said = str(found) if found else ""
        self._equalities.append(Equality(phase, seconds, len(found.missing), len(found.extra), len(found.wrong), said))

    def _state(self) -> str:
        return str(_again(lambda: self._cluster.tree(max_depth=0))["state"])

    # -- who asks, and for what ---------------------------------------------------------------------------------------

    def _ask(self) -> dict[str, subprocess.Popen[str]]:
        web = Web(self._cluster.address, "/fs/tree")
        pollers = {ROOT: "", STEADY: STEADY_IN, CHAOS: CHAOS_IN, "small": SMALL}
        askers = [
            Asker(name, (web.target(path, max_depth=1),), _POLLS, lists=name in (STEADY, CHAOS))
            for name, path in pollers.items()
        ]
        paths = [path for path, _ in self._tree.remembered]
        random.Random(self._plan.seed).shuffle(paths)
        for number in range(_READERS):
            targets = tuple(web.target(path, max_depth=1) for path in paths[number::_READERS]) or (web.target(SMALL),)
            askers.append(Asker(f"reader {number}", targets, _READS, keeps=True))
        made = {"small": asking.start(web.address, askers, self._folder, "small")}
        if self._tree.entries <= _WHOLE_MOST:
            whole = Asker(WHOLE, (web.target(""),), _WHOLES)
            made[WHOLE] = asking.start(web.address, [whole], self._folder, WHOLE)
        return made

    def _document(self, number: int) -> str:
        """The same source with a pattern that fits nothing."""
        root = toml_text(os.path.realpath(self._tree.root))
        return f'[[sources]]\nname = "data"\nroot = {root}\nexclude = ["*.never{number}"]\n'

    def _path(self, below: str) -> Path:
        return Path(self._tree.root, below)


def _again(ask: Callable[[], _T]) -> _T:
    """A worker that had been stopped may be ended while it has our question."""
    for _ in range(3):
        with contextlib.suppress(ConnectionError, http.client.HTTPException):
            return ask()
    return ask()


def _thin(top: bytes, draw: random.Random) -> None:
    """Mischief makes more than it removes."""
    if sum(1 for _ in os.walk(top)) > _DIRECTORIES:
        folders = sorted(entry.path for entry in os.scandir(top) if entry.is_dir(follow_symlinks=False))
        shutil.rmtree(draw.choice(folders))
