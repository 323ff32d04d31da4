"""The table alone: no process is needed to know what may run."""

from __future__ import annotations

import pytest

from fustor.guardian.errors import RefusedError
from fustor.guardian.table import Exit, Slot, Table

ENDED = Exit(0, 9, 1 << 20, 0.25)


def test_one_process_per_name() -> None:
    table = Table(10)
    table.check_free("a")
    table.add(Slot("a", 100, "t", 5))
    with pytest.raises(RefusedError, match="pid 100"):
        table.check_free("a")
    assert table.is_running(100)
    slot = table.exited(100, ENDED)
    assert slot is not None
    assert slot.exit is ENDED
    assert not table.is_running(100)
    table.check_free("a")


def test_a_slot_used_again_forgets_the_exit() -> None:
    table = Table(10)
    table.add(Slot("a", 100, "t", 5))
    table.exited(100, ENDED)
    table.add(Slot("a", 101, "u", 6))
    assert [(slot.pid, slot.exit) for slot in table.slots()] == [(101, None)]
    assert table.running("a").token == "u"


def test_an_unknown_pid_is_an_orphan() -> None:
    table = Table(10)
    assert table.exited(100, ENDED) is None


def test_exits_are_told_once() -> None:
    table = Table(10)
    table.add(Slot("a", 100, "t", 5))
    assert table.exited(100, ENDED) is not None
    assert table.exited(100, ENDED) is None


def test_only_running_slots_can_be_signalled() -> None:
    table = Table(10)
    with pytest.raises(RefusedError, match="no such slot"):
        table.running("a")
    table.add(Slot("a", 100, "t", 5))
    table.exited(100, ENDED)
    with pytest.raises(RefusedError, match="is not running"):
        table.running("a")


def test_only_exited_slots_can_be_forgotten() -> None:
    table = Table(10)
    with pytest.raises(RefusedError, match="no such slot"):
        table.forget("a")
    table.add(Slot("a", 100, "t", 5))
    with pytest.raises(RefusedError, match="is running"):
        table.forget("a")
    table.exited(100, ENDED)
    table.forget("a")
    assert table.slots() == []


def test_the_limit_counts_names() -> None:
    table = Table(1)
    table.add(Slot("a", 100, "t", 5))
    with pytest.raises(RefusedError, match="1 slots are in use"):
        table.check_free("b")
    table.exited(100, ENDED)
    table.check_free("a")
    table.forget("a")
    table.check_free("b")


def test_remove_undoes_add() -> None:
    table = Table(10)
    slot = Slot("a", 100, "t", 5)
    table.add(slot)
    table.remove(slot)
    assert (table.slots(), table.alive()) == ([], [])


def test_a_late_remove_spares_the_successor() -> None:
    table = Table(10)
    first, second = Slot("a", 100, "t", 5), Slot("a", 101, "u", 6)
    table.add(first)
    table.exited(100, ENDED)
    table.add(second)
    table.remove(first)
    assert table.slots() == [second]
    assert table.alive() == [second]


def test_as_json() -> None:
    slot = Slot("a", 100, "t", 5)
    told = {"name": "a", "pid": 100, "token": "t", "born": 5, "fds": [], "exit": None}
    assert slot.as_json() == Slot.from_json(told).as_json() == told
    slot.exit = ENDED
    told["exit"] = {"code": 0, "signal": 9, "maxrss": 1 << 20, "cpu": 0.25, "known": True}
    assert slot.as_json() == Slot.from_json(told).as_json() == told
    unknown = Slot("b", 1, "t", 2, ("http",))
    unknown.exit = Exit(0, 0, 0, 0.0, known=False)
    again = Slot.from_json(unknown.as_json())
    assert (again.fds, again.exit is not None and again.exit.known) == (("http",), False)


@pytest.mark.parametrize(
    "change",
    [
        {"name": 1},
        {"token": None},
        {"token": ""},
        {"pid": "1"},
        {"pid": True},
        {"born": -1},
        {"fds": None},
        {"fds": [1]},
        {"exit": 1},
        {"exit": {"code": 0, "signal": 0, "maxrss": 0}},
        {"exit": {"code": None, "signal": 0, "maxrss": 0, "cpu": 0}},
    ],
)
def test_what_is_no_slot(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="= "):
        Slot.from_json(Slot("a", 100, "t", 5).as_json() | change)
    with pytest.raises(ValueError, match="where an object is accepted"):
        Slot.from_json([])


def test_what_could_not_be_executed_was_never_there() -> None:
    table = Table(10)
    slot = Slot("a", 100, "t", 5)
    table.add(slot)
    assert table.of(100) is slot
    assert table.of(101) is None
    table.remove(slot)
    assert table.of(100) is None
    assert table.slots() == table.alive() == []


def test_one_that_has_ended_already_can_be_entered() -> None:
    table = Table(10)
    slot = Slot("a", 100, "t", 5)
    slot.exit = ENDED
    table.add(slot)
    assert table.slots() == [slot]
    assert table.alive() == []
    table.check_free("a")


def test_an_abandoned_process_leaves_its_name_and_is_still_known() -> None:
    table = Table(2)
    table.add(Slot("a", 7, "t", 1))
    assert table.abandon("a").name == "a.abandoned.7"
    table.check_free("a")
    with pytest.raises(RefusedError, match="no such slot"):
        table.abandon("a")
    table.add(Slot("a", 8, "u", 2))
    with pytest.raises(RefusedError, match="2 slots"):
        table.abandon("a")
    gone = table.exited(7, Exit(0, 9, 0, 0.0))
    assert gone is not None
    assert gone.name == "a.abandoned.7"
    table.forget("a.abandoned.7")
    assert [slot.pid for slot in table.slots()] == [8]
