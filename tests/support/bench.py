"""
A watcher and its scanners in one process: the pure core, the real looking, a real inotify, a model view.

No sockets and no threads: each step is taken by the test, so that it decides what happens between any two of them.
"""

from __future__ import annotations

import os
import random
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from inotify_simple import INotify

from actors.scanner.look import Looker, Part, Place
from actors.scanner.mounts import Mounts
from actors.watcher import checkpoint
from actors.watcher.core import WatcherCore
from actors.watcher.inotify import MASK
from fustor.selection.forbidden import Forbidden
from protocols.codec import DATA_LIMITS, decode, encode, pack
from protocols.data import OK, Found, Task, Work
from tests.support.model import ModelView
from tests.support.oracle import Difference, compare, walk


class Bench:
    """One source in one process. ``between`` is called before every single look and watch: the place for mischief."""

    def __init__(
        self, root: str, *, scanners: int = 2, seed: int = 0, epoch: int = 1, view: ModelView | None = None, **core: Any
    ) -> None:
        self.root = os.fsencode(root)
        self.random = random.Random(seed)
        self.inotify = INotify(nonblocking=True)
        self.settings = core
        self.core = WatcherCore(epoch, **core)
        self.view = view or ModelView()
        self.mounts = Mounts(self.root)
        self.queues: dict[int, deque[Work]] = {slot: deque() for slot in range(scanners)}
        self.answers: dict[int, deque[tuple[bytes, bytes]]] = {slot: deque() for slot in range(scanners)}
        self.between: Callable[[], None] = lambda: None
        self.takes: Callable[[bytes, bool], bool] | None = None
        self.forbidden = Forbidden()
        self.looked: list[Task] = []
        self.clock = 0.0
        self.delivered = 0
        for slot in self.queues:
            self.core.scanner_up(slot)

    def close(self) -> None:
        """Give the descriptors back."""
        self.inotify.close()
        self.mounts.close()

    def add_watch(self, fd: int) -> int:
        """As a scanner does it."""
        self.between()
        try:
            return int(self.inotify.add_watch(f"/proc/self/fd/{fd}", MASK))
        except OSError as error:
            return -(error.errno or 1)

    def read(self, most: int = 1 << 18) -> None:
        """Read inotify once."""
        wall = time.time_ns()
        try:
            records = os.read(self.inotify.fileno(), most)
        except BlockingIOError:
            records = b""
        self.core.events(records, wall, drained=len(records) + 272 < most)

    def give(self) -> None:
        """Hand out work."""
        for slot, work in self.core.take_work():
            self.queues[slot].append(decode(encode(work), Work, limits=DATA_LIMITS))

    def scan(self, slot: int) -> bool:
        """One scanner does one work message, and its answers arrive."""
        did = self.look(slot)
        while self.answers[slot]:
            self.arrive(slot)
        return did

    def arrive(self, slot: int) -> None:
        """The oldest answer of a scanner arrives, if there is one."""
        if self.answers[slot]:
            frame, rows = self.answers[slot].popleft()
            self.core.found(decode(frame, Found, limits=DATA_LIMITS), rows)

    def die(self, slot: int) -> None:
        """A scanner dies with all that it had, and another one takes its place."""
        self.queues[slot].clear()
        self.answers[slot].clear()
        self.core.scanner_down(slot)
        self.core.scanner_up(slot)

    def succeed(self, path: Path) -> bool:
        """
        The watcher is stopped, and another one goes on from what it has left in the file ``path``; False when it leaves
        nothing. Scanners go on with what they had, which is of no use any more.
        """
        self.read()
        self._unwatch()
        rest = self.core.leave()
        if rest is None:
            return False
        checkpoint.write(path, rest, "n", "s", {})
        rest, _ = checkpoint.take(path, "n", "s")
        self.core = WatcherCore(rest.epoch, rest=rest, **self.settings)
        for slot in self.queues:
            self.core.scanner_up(slot)
        return True

    def look(self, slot: int) -> bool:
        """One scanner does one work message; what it found is under way."""
        if not self.queues[slot]:
            return False
        work = self.queues[slot].popleft()
        looker = Looker(
            root=self.root,
            takes=self.takes,
            one_filesystem=True,
            mounts=self.mounts,
            add_watch=self.add_watch,
            place=Place(),
            forbidden=self.forbidden,
        )
        parts: list[Part] = []
        for task in work.tasks:
            self.between()
            self.looked.append(task)
            for part in looker.look(task):
                parts.append(part)
                self.between()
        found = Found(slot=slot, epoch=work.epoch, number=work.number, results=tuple(r for r, _ in parts), last=True)
        self.answers[slot].append((encode(found), pack([rows for r, rows in parts if r.status == OK])))
        return True

    def deliver(self) -> None:
        """The view applies what there is and acknowledges it."""
        for number, frame, rows in list(self.core.items):
            if number > self.delivered:
                self.view.apply(frame, rows)
                self.delivered = number
        self.core.acknowledged(self.core.epoch, self.delivered)

    def tick(self, seconds: float = 0.05) -> None:
        """Time passes."""
        self._unwatch()
        self.clock += seconds
        self.core.tick(self.clock, time.time_ns())

    def _unwatch(self) -> None:
        for wd in self.core.unwatch:
            try:
                self.inotify.rm_watch(wd)
            except OSError:
                continue
        self.core.unwatch.clear()

    def step(self) -> None:
        """One random step of the machinery."""
        kind = self.random.randrange(6)
        slot = self.random.choice(list(self.queues))
        if kind == 0:
            self.read(self.random.choice([300, 600, 1 << 18]))
        elif kind == 1:
            self.give()
        elif kind == 2:
            self.look(slot)
        elif kind == 3:
            self.arrive(slot)
        elif kind == 4:
            self.tick(0.001)
        else:
            self.deliver()

    @property
    def busy(self) -> bool:
        """Whether anything is left to do."""
        return self.core.outstanding or any(self.queues.values()) or any(self.answers.values())

    def settle(self, most: int = 20_000) -> None:
        """Until nothing moves any more."""
        for _ in range(most):
            before = self.core.counters["events"]
            self.read()
            self.give()
            did = [self.scan(slot) for slot in self.queues]
            self.tick(0.001)
            self.deliver()
            if not any(did) and not self.busy and self.core.counters["events"] == before:
                return
        raise AssertionError(f"not quiet after {most} rounds: {self.core.gauges()}")

    def watched(self) -> set[int]:
        """Inodes of the directories that the kernel watches for us; see proc(5), fdinfo."""
        with open(f"/proc/self/fdinfo/{self.inotify.fileno()}") as info:
            lines = [line.split() for line in info if line.startswith("inotify")]
        return {int(field[4:], 16) for line in lines for field in line if field.startswith("ino:")}

    def directories(self) -> set[int]:
        """Inodes of the directories on the disk."""
        return {entry.ino for entry in walk(self.root).values() if entry.type == "directory"}

    def difference(self) -> Difference:
        """The view against the disk."""
        return compare(walk(self.root), self.view.entries())
