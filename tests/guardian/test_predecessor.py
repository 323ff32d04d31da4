"""What a killed guardian's table tells."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fustor.guardian.predecessor import boot_id, recorded
from fustor.guardian.table import Exit, Slot


def slot(name: str, pid: int, ended: Exit | None = None) -> dict[str, object]:
    one = Slot(name, pid, f"t{name}", pid + 1, ("http",))
    one.exit = ended
    return one.as_json()


TABLE: dict[str, Any] = {
    "boot": boot_id(),
    "control": slot("control", 10),
    "slots": [slot("a", 11), slot("b", 12, Exit(3, 0, 4096, 0.5))],
    "listen": {"http": ["127.0.0.1", 8101]},
    "oom_score": -100,
}


def table(**changes: Any) -> bytes:
    return json.dumps(TABLE | changes).encode()


def test_all_of_it_is_read() -> None:
    found = recorded(table())
    assert found.control is not None
    assert (found.control.name, found.control.pid, found.control.born) == ("control", 10, 11)
    assert [(one.name, one.token, one.fds) for one in found.slots] == [("a", "ta", ("http",)), ("b", "tb", ("http",))]
    ended = found.slots[1].exit
    assert ended is not None
    assert (ended.code, ended.maxrss, ended.known) == (3, 4096, True)
    assert [one.name for one in found.running()] == ["a", "control"]
    assert found.listen == {"http": ("127.0.0.1", 8101)}
    assert found.oom_score == -100


def test_without_control_actor() -> None:
    found = recorded(table(control=None))
    assert found.control is None
    assert [one.name for one in found.running()] == ["a"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        table(boot="another"),
        table(slots=1),
        table(slots=[1]),
        table(slots=[{}]),
        table(slots=[slot("a", 11) | {"token": ""}]),
        table(slots=[slot("a", 11) | {"pid": -1}]),
        table(slots=[slot("a", 11) | {"exit": 1}]),
        table(slots=[slot("a", 11) | {"exit": {"code": 0}}]),
        table(slots=[slot("a", 11) | {"fds": [1]}]),
        table(control=1),
        table(listen=[]),
        table(listen={"http": 1}),
        table(oom_score=None),
    ],
)
def test_what_cannot_be_trusted_tells_nothing(content: bytes) -> None:
    found = recorded(content)
    assert (found.slots, found.control, found.listen, found.oom_score) == ([], None, {}, 0)
