"""The ledger: that it finds a lie where there is one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.cluster import until
from tests.support.writers import Change, Ledger, Truth, lies

SECOND = 10**9
LEDGER = [
    Change("create", "n", 0, 1 * SECOND, 2 * SECOND),
    Change("grow", "g", 5, 3 * SECOND, 4 * SECOND),
    Change("unlink", "n", 0, 5 * SECOND, 6 * SECOND),
    Change("grow", "g", 9, 7 * SECOND, 8 * SECOND),
]


@pytest.mark.parametrize(
    ("as_of", "received", "sizes", "found"),
    [
        (2.5, 2.6, {"n": 0}, 0),
        (2.5, 2.6, {}, 1),
        (1.5, 2.6, {}, 0),  # not claimed
        (4.5, 4.6, {"n": 0, "g": 4}, 1),
        (4.5, 7.5, {"g": 9}, 0),  # more than was claimed
        (6.5, 6.6, {"n": 0, "g": 5}, 1),
        (6.5, 6.6, {"g": 5}, 0),
        (8.5, 8.6, {"g": 5}, 1),
        (8.5, 8.6, {"g": 9, "never": 0}, 1),
    ],
)
def test_lies(as_of: float, received: float, sizes: dict[str, int], found: int) -> None:
    assert len(lies(LEDGER, as_of, received, sizes)) == found


def test_claims_are_followed_one_after_the_other() -> None:
    truth = Truth(LEDGER)
    assert truth.lies(2.5, 2.6, {"n": 0}) == []
    assert truth.lies(2.5, 7.5, {"g": 9}) == []
    assert truth.lies(6.5, 6.6, {"n": 0, "g": 5}) == ["n: is there"]
    assert truth.lies(8.5, 8.6, {"g": 5}) == ["g: 5, not 9"]


def test_a_ledger_ends_when_it_is_told_to(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, 1e6, 500)
    until(lambda: any(tmp_path.glob("n*")), "the first new file")
    ledger.stop()
    changes = ledger.changes()
    assert {path.name for path in tmp_path.iterdir()} == {
        *(change.name for change in changes if change.kind == "create")
    } - {change.name for change in changes if change.kind == "unlink"}


def test_a_ledger_tells_what_is_there_in_the_end(tmp_path: Path) -> None:
    changes = Ledger(tmp_path, 0.5, 500).changes()
    there = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    end = changes[-1].after / SECOND + 1
    assert not lies(changes, end, end, there)
    assert {change.kind for change in changes} >= {"grow", "create"}
    assert lies(changes, end, end, {**there, changes[-1].name: -1})
