"""Changes are carried up once, in order, by the parents as they are at the end."""

from __future__ import annotations

import random

from fustor.treestore.rollup import Change, Rollup


def test_sums_go_up_deepest_first() -> None:
    parents = {1: 0, 2: 1, 3: 2, 4: 1, 9: 0}
    rollup = Rollup()
    rollup.add(3, files=1, size=10)
    rollup.add(3, files=1, size=5)
    rollup.add(2, directories=1)
    rollup.add(4)
    rollup.add(9, files=7)
    assert rollup
    carried = list(rollup.carry(parents.__getitem__))
    order = [at for at, _ in carried]
    assert order.index(3) < order.index(2) < order.index(1)
    assert dict(carried) == {
        3: Change(2, 0, 15), 2: Change(2, 1, 15), 4: Change(), 1: Change(2, 1, 15), 9: Change(7),
    }  # fmt: skip
    assert not rollup


def test_what_is_dropped_does_not_count() -> None:
    rollup = Rollup()
    rollup.add(2, files=1)
    rollup.drop(2)
    rollup.drop(5)
    assert list(rollup.carry(lambda at: at - 1)) == []


def test_each_directory_above_is_asked_for_once() -> None:
    chance = random.Random(1)
    parents = {at: chance.randrange(at) for at in range(1, 500)}
    rollup = Rollup()
    for at in range(300, 500):
        rollup.add(at, files=1)
    asked: list[int] = []

    def parent(at: int) -> int:
        asked.append(at)
        return parents[at]

    carried = dict(rollup.carry(parent))
    assert len(asked) == len(set(asked)) == len(carried)
    tops = [at for at in carried if parents[at] == 0]
    assert sum(carried[at].files for at in tops) == 200
