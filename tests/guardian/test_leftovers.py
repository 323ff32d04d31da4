"""Processes of a killed predecessor."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from fustor.guardian.leftovers import boot_id, end, recorded
from fustor.guardian.process import born

TABLE: dict[str, Any] = {
    "boot": boot_id(),
    "control": {"pid": 10, "born": 1, "exit": None},
    "slots": [{"pid": 11, "born": 2, "exit": None}, {"pid": 12, "born": 3, "exit": {"code": 0}}],
}


def table(**changes: Any) -> bytes:
    return json.dumps(TABLE | changes).encode()


def test_what_ran_is_told() -> None:
    assert sorted(recorded(table())) == [(10, 1), (11, 2)]
    assert recorded(table(control=None)) == [(11, 2)]


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"{}", b"\xff", table(boot="another"), table(slots=1), table(slots=[1]), table(slots=[{}])],
)
def test_what_cannot_be_trusted_tells_nothing(content: bytes) -> None:
    assert recorded(content) == []


def test_those_that_exit_are_waited_for() -> None:
    with subprocess.Popen(["/bin/sleep", "0.2"]) as child:
        assert end([(child.pid, born(child.pid))], patience=30) == (0, 0)


def test_those_that_do_not_are_killed() -> None:
    with subprocess.Popen(["/bin/sleep", "1000"]) as child:
        assert end([(child.pid, born(child.pid))], patience=0.2) == (1, 0)
        assert child.wait(30) == -9


def test_another_process_of_the_same_pid_is_spared() -> None:
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE) as child:
        assert end([(child.pid, born(child.pid) - 1), (child.pid, 0)], patience=0.1) == (0, 0)
        assert child.poll() is None


def test_those_that_are_gone_are_no_trouble() -> None:
    with subprocess.Popen(["/bin/true"]) as child:
        start = born(child.pid)
    assert end([(child.pid, start)]) == (0, 0)
