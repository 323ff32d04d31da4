"""When audits are due and how much they may do, under a virtual clock."""

from __future__ import annotations

from actors.watcher.audits import Audits
from actors.watcher.sweep import Sweep
from actors.watcher.table import ROOT, DirTable


class World:
    """A table of directories and audits over it; everything asked for is looked at at once."""

    def __init__(self, directories: int, *, fast: float, full: float, per_second: int) -> None:
        self.table = DirTable()
        for number in range(directories - 1):
            self.table.add(ROOT, b"%d" % number, 1, number + 2)
        self.audits = Audits(self.table, fast_period=fast, full_period=full, per_second=per_second)
        self.looked: list[tuple[float, int, bool]] = []
        self.now = 0.0

    def pass_time(self, seconds: float, step: float = 0.25) -> None:
        end = self.now + seconds
        while self.now < end:
            self.audits.tick(self.now, int(self.now * 1e9) + 1)
            while self.audits.take(32, self._take):
                pass
            self.now += step

    def _take(self, sweep: Sweep, most: int) -> list[int]:
        taken = sweep.take(self.table, most)
        for index in taken:
            self.looked.append((self.now, index, sweep.full))
            sweep.returned(index)
        return taken

    def count(self, *, full: bool) -> dict[int, int]:
        counts: dict[int, int] = {}
        for _, index, was_full in self.looked:
            if was_full == full:
                counts[index] = counts.get(index, 0) + 1
        return counts


def test_everything_is_looked_at_once_in_a_period() -> None:
    world = World(100, fast=1e6, full=50.0, per_second=1000)
    world.pass_time(55)
    counts = world.count(full=True)
    assert set(counts) == set(range(1, 101))
    assert max(counts.values()) <= 2


def test_a_full_audit_is_spread_over_its_period() -> None:
    world = World(100, fast=1e6, full=50.0, per_second=1000)
    world.pass_time(10)
    assert 15 <= sum(world.count(full=True).values()) <= 25


def test_everything_is_looked_at_anew_when_it_has_to_be() -> None:
    world = World(100, fast=1e6, full=1e6, per_second=50)
    world.pass_time(5)
    assert len(world.count(full=True)) < 5
    world.looked.clear()
    world.audits.everything()
    world.pass_time(4)
    assert set(world.count(full=True)) == set(range(1, 101))
    world.looked.clear()
    world.pass_time(4)
    assert len(world.count(full=True)) < 5


def test_the_fast_pass_comes_with_its_period_and_not_before() -> None:
    world = World(10, fast=20.0, full=1e6, per_second=1000)
    world.pass_time(19)
    assert not world.count(full=False)
    world.pass_time(5)
    assert world.count(full=False) == dict.fromkeys(range(1, 11), 1)
    world.pass_time(20)
    assert world.count(full=False) == dict.fromkeys(range(1, 11), 2)


def test_both_together_stay_below_the_rate() -> None:
    world = World(1000, fast=1.0, full=1.0, per_second=10)
    world.pass_time(20)
    assert len(world.looked) <= 10 * 20 + 10


def test_what_is_finished_is_the_beginning_of_the_last_complete_audit() -> None:
    world = World(10, fast=1e6, full=5.0, per_second=1000)
    world.pass_time(3)
    assert world.audits.finished == 0
    world.pass_time(4)
    assert world.audits.finished == 1
    world.pass_time(6)
    assert world.audits.finished > 4e9


def test_other_periods_hold_from_now_on() -> None:
    world = World(10, fast=1000.0, full=1e6, per_second=1000)
    world.pass_time(10)
    assert world.count(full=False) == {}
    world.audits.adjust(fast_period=2.0, full_period=4.0, per_second=1000)
    world.pass_time(10)
    assert len(world.count(full=False)) == 10
    assert all(count >= 3 for count in world.count(full=False).values())
    assert sum(world.count(full=True).values()) >= 15
    assert world.audits.finished
