"""The packed table against plain dictionaries."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from actors.watcher.table import LISTED, ROOT, DirTable


def test_root_is_there_from_the_start() -> None:
    table = DirTable()
    assert table.live == 1
    assert table.path(ROOT) == b""
    assert table.index_of(table.id_of(ROOT)) == ROOT
    assert list(table.children(ROOT)) == []


@pytest.mark.parametrize("dir_id", [0, 2, 1 << 32, 1 << 32 | 1, 2**63, 2**32 - 1])
def test_an_id_that_was_never_given_is_nobody(dir_id: int) -> None:
    assert DirTable().index_of(dir_id) == 0


def test_an_index_is_used_again_and_its_id_is_not() -> None:
    table = DirTable()
    first = table.add(ROOT, b"a", 1, 10)
    first_id = table.id_of(first)
    table.flags[first] = LISTED
    table.mtime[first] = 5
    table.drop(first)
    second = table.add(ROOT, b"b", 1, 11)
    assert second == first
    assert table.index_of(first_id) == 0
    assert table.index_of(table.id_of(second)) == second
    assert (table.flags[second], table.mtime[second], table.name[second]) == (0, 0, b"b")


def test_dropping_a_tree_returns_its_watches() -> None:
    table = DirTable()
    a = table.add(ROOT, b"a", 1, 10)
    b = table.add(a, b"b", 1, 11)
    c = table.add(b, b"c", 1, 12)
    table.watch(a, 7)
    table.watch(c, 9)
    assert sorted(table.drop(a)) == [7, 9]
    assert table.live == 1
    assert (table.by_wd(7), table.by_wd(9)) == (0, 0)


def test_a_watch_seen_at_another_place_is_told() -> None:
    """The same directory has the same descriptor: whoever had it before no longer has it."""
    table = DirTable()
    a, b = table.add(ROOT, b"a", 1, 10), table.add(ROOT, b"b", 1, 10)
    assert table.watch(a, 3) == 0
    assert table.watch(a, 3) == 0
    assert table.watch(b, 3) == a
    assert (table.wd[a], table.wd[b], table.by_wd(3)) == (0, 3, b)


def test_a_new_watch_takes_the_place_of_the_old_one() -> None:
    table = DirTable()
    a = table.add(ROOT, b"a", 1, 10)
    table.watch(a, 3)
    table.watch(a, 4)
    assert (table.by_wd(3), table.by_wd(4)) == (0, a)
    assert table.unwatch(4) == a
    assert table.wd[a] == 0
    assert table.unwatch(4) == 0


@pytest.mark.parametrize("wd", [1, 1 << 20, (1 << 23) - 1, 1 << 23, 2**31 - 1])
def test_watch_descriptors_of_any_size(wd: int) -> None:
    """The kernel counts upwards for ever, up to INT_MAX."""
    table = DirTable()
    a = table.add(ROOT, b"a", 1, 10)
    assert table.by_wd(wd) == 0
    table.watch(a, wd)
    assert table.by_wd(wd) == a
    assert table.by_wd(wd + 1) == 0
    assert table.drop(a) == [wd]
    assert table.by_wd(wd) == 0


def test_children_may_be_removed_while_walking() -> None:
    table = DirTable()
    for i in range(5):
        table.add(ROOT, b"%d" % i, 1, i)
    for child in table.children(ROOT):
        table.drop(child)
    assert list(table.children(ROOT)) == []


@attrs.define(eq=False)
class Node:
    """A directory of the model."""

    dir_id: int
    name: bytes
    parent: Node | None
    dirs: dict[bytes, Node] = attrs.Factory(dict)
    wd: int = 0


NAMES = st.integers(0, 40).map(lambda i: b"n%d" % i)


class Table(RuleBasedStateMachine):
    """Any order of additions, moves, removals and watches; nodes are chosen by an index into the living ones."""

    def __init__(self) -> None:
        super().__init__()
        self.table = DirTable()
        self.root = Node(self.table.id_of(ROOT), b"", None)
        self.living = [self.root]
        self.dead: set[int] = set()
        self.next_wd = 1

    def at(self, node: Node) -> int:
        return self.table.index_of(node.dir_id)

    @rule(where=st.integers(0), name=NAMES)
    def add(self, where: int, name: bytes) -> None:
        parent = self.living[where % len(self.living)]
        if name in parent.dirs:
            return
        index = self.table.add(self.at(parent), name, 1, len(self.living))
        node = Node(self.table.id_of(index), name, parent)
        assert node.dir_id not in self.dead
        parent.dirs[name] = node
        self.living.append(node)

    @rule(names=st.sets(NAMES, min_size=20))
    def add_many(self, names: set[bytes]) -> None:
        """Enough for a directory to change its way of finding names."""
        for name in sorted(names):
            self.add(0, name)

    @precondition(lambda self: len(self.living) > 1)
    @rule(what=st.integers(0), where=st.integers(0), name=NAMES)
    def move(self, what: int, where: int, name: bytes) -> None:
        node = self.living[1 + what % (len(self.living) - 1)]
        parent = self.living[where % len(self.living)]
        below = self.table.is_below(self.at(parent), self.at(node))
        above: Node | None = parent
        while above is not None and above is not node:
            above = above.parent
        assert below == (above is node)
        if below or name in parent.dirs:
            return
        self.table.move(self.at(node), self.at(parent), name)
        assert node.parent is not None
        del node.parent.dirs[node.name]
        node.parent, node.name = parent, name
        parent.dirs[name] = node

    @precondition(lambda self: len(self.living) > 1)
    @rule(what=st.integers(0))
    def drop(self, what: int) -> None:
        node = self.living[1 + what % (len(self.living) - 1)]
        gone = [node]
        for each in gone:
            gone.extend(each.dirs.values())
        wds = self.table.drop(self.at(node))
        assert sorted(wds) == sorted(each.wd for each in gone if each.wd)
        assert node.parent is not None
        del node.parent.dirs[node.name]
        self.dead.update(each.dir_id for each in gone)
        self.living = [each for each in self.living if each not in gone]

    @rule(what=st.integers(0), again=st.booleans(), which=st.integers(0))
    def watch(self, what: int, again: bool, which: int) -> None:
        """A new watch, or one that belonged to another directory until now."""
        node = self.living[what % len(self.living)]
        wd = self.next_wd
        self.next_wd += 1
        owner = None
        if again:
            watched = [each for each in self.living if each.wd]
            if watched:
                owner = watched[which % len(watched)]
                wd = owner.wd
        before = self.table.watch(self.at(node), wd)
        if owner is not None and owner is not node:
            assert before == self.at(owner)
            owner.wd = 0
        else:
            assert before == 0
        node.wd = wd

    @invariant()
    def same(self) -> None:
        table = self.table
        assert table.live == len(self.living)
        for node in self.living:
            index = self.at(node)
            assert index
            assert {table.name[c] for c in table.children(index)} == set(node.dirs)
            assert table.children_count[index] == len(node.dirs)
            for name, child in node.dirs.items():
                assert table.child(index, name) == self.at(child)
            assert table.child(index, b"nobody") == 0
            assert table.wd[index] == node.wd
            if node.wd:
                assert table.by_wd(node.wd) == index
            parts: list[bytes] = []
            at: Node = node
            while at.parent is not None:
                parts.insert(0, at.name)
                at = at.parent
            assert table.path(index) == b"/".join(parts)
        assert not any(table.index_of(dir_id) for dir_id in self.dead)

    @invariant()
    def walk_meets_everybody_once(self) -> None:
        met, at = [], self.table.after(0)
        while at:
            met.append(at)
            at = self.table.after(at)
        assert sorted(met) == sorted(self.at(node) for node in self.living)


TestTable = Table.TestCase
TestTable.settings = settings(max_examples=40, stateful_step_count=40)
