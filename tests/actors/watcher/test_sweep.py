"""A sweep meets every directory that stays, exactly once, whatever comes and goes meanwhile."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from actors.watcher.sweep import Sweep
from actors.watcher.table import ROOT, DirTable


def grown(count: int) -> DirTable:
    table = DirTable()
    for i in range(count):
        table.add(ROOT, b"%d" % i, 1, i)
    return table


def test_everything_once_in_portions() -> None:
    table = grown(10)
    sweep = Sweep(full=True, began=5)
    met: list[int] = []
    while not sweep.done(table):
        portion = sweep.take(table, 3)
        assert 0 < len(portion) <= 3
        met += portion
        for index in portion:
            sweep.returned(index)
    assert sorted(met) == list(range(1, 12))
    assert sweep.looked == 11
    assert (sweep.full, sweep.began) == (True, 5)


def test_not_done_while_something_is_out() -> None:
    table = grown(0)
    sweep = Sweep(full=False)
    assert sweep.take(table, 5) == [ROOT]
    assert sweep.take(table, 5) == []
    assert not sweep.done(table)
    sweep.returned(ROOT)
    assert sweep.done(table)


def test_what_could_not_be_looked_at_is_offered_again() -> None:
    table = grown(2)
    sweep = Sweep(full=True)
    first = sweep.take(table, 9)
    sweep.later(first[1])
    sweep.returned(first[0])
    sweep.returned(first[2])
    assert not sweep.done(table)
    assert sweep.take(table, 9) == [first[1]]
    sweep.returned(first[1])
    assert sweep.done(table)


def test_what_is_gone_is_not_offered_again() -> None:
    table = grown(1)
    sweep = Sweep(full=True)
    root, child = sweep.take(table, 9)
    sweep.returned(root)
    sweep.later(child)
    table.drop(child)
    assert sweep.take(table, 9) == []
    assert sweep.done(table)


def test_nothing_is_taken_where_nothing_may_be() -> None:
    table = grown(3)
    sweep = Sweep(full=True)
    assert sweep.take(table, 0) == []
    assert not sweep.done(table)


@settings(max_examples=100)
@given(seed=st.integers(0, 2**32 - 1))
def test_whoever_stays_is_met(seed: int) -> None:
    rng = random.Random(seed)
    table = grown(rng.randrange(30))
    stays = {table.id_of(i) for i in range(1, len(table.parent))}
    sweep = Sweep(full=True)
    out: list[int] = []
    met: set[int] = set()
    fresh = 0
    for _ in range(1000):
        kind = rng.randrange(5)
        if kind == 0 and table.live > 1:
            index = rng.choice([i for i in range(2, len(table.parent)) if table.parent[i]])
            stays.discard(table.id_of(index))
            if index in out:  # the watcher takes back what it had out
                out.remove(index)
                sweep.returned(index)
            table.drop(index)
        elif kind == 1 and table.live < 40:
            fresh += 1
            table.add(ROOT, b"new%d" % fresh, 1, fresh)
        elif kind == 2 and out:
            index = out.pop(rng.randrange(len(out)))
            if rng.random() < 0.3:
                sweep.later(index)
            else:
                met.add(table.id_of(index))
                sweep.returned(index)
        else:
            out += sweep.take(table, rng.randrange(4))
        if sweep.done(table):
            break
    while not sweep.done(table):
        for index in [*out, *sweep.take(table, 100)]:
            met.add(table.id_of(index))
            sweep.returned(index)
        out.clear()
    assert stays <= met
