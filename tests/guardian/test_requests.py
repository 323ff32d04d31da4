"""Requests field by field."""

from __future__ import annotations

from typing import Any

import pytest

from fustor.guardian.errors import RefusedError
from fustor.guardian.requests import Join, Spawn, name, parse, signal_number

GOOD: dict[str, Any] = {"name": "view.main", "argv": ["/bin/true", "ä"], "token": "0aF"}


def test_a_spawn_with_defaults() -> None:
    spawn = Spawn(GOOD)
    assert (spawn.name, spawn.token) == ("view.main", "0aF")
    assert spawn.argv == [b"/bin/true", "ä".encode()]
    assert (spawn.env, spawn.fds, spawn.data_bytes) == ({}, [], 0)


def test_a_spawn_with_everything() -> None:
    spawn = Spawn(GOOD | {"env": {"A": "1"}, "fds": ["http"], "data_bytes": 1 << 30})
    assert (spawn.env, spawn.fds, spawn.data_bytes) == ({b"A": b"1"}, ["http"], 1 << 30)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": "guardian"}, "name"),
        ({"name": "control"}, "name"),
        ({"argv": None}, "argv"),
        ({"argv": ["true"]}, "argv[0]"),
        ({"env": None}, "env"),
        ({"env": {"FUSTOR_FDS": "{}"}}, "env.FUSTOR_FDS"),
        ({"fds": "http"}, "fds"),
        ({"fds": [3]}, "fds"),
        ({"token": None}, "token"),
        ({"token": ""}, "token"),
        ({"token": "a b"}, "token"),
        ({"token": "ä"}, "token"),
        ({"token": "x" * 129}, "token"),
        ({"data_bytes": -1}, "data_bytes"),
        ({"data_bytes": True}, "data_bytes"),
        ({"nice": 1}, "nice"),
    ],
)
def test_a_spawn_that_is_refused_names_the_field(change: dict[str, Any], field: str) -> None:
    with pytest.raises(RefusedError) as caught:
        Spawn(GOOD | change)
    assert caught.value.field == field


@pytest.mark.parametrize("value", [None, 1, "", ".x", "-x", "a/b", "a\n", "ä", "x" * 101])
def test_bad_names(value: object) -> None:
    with pytest.raises(RefusedError, match="name = "):
        name({"name": value})


@pytest.mark.parametrize("value", ["a", "_", "scanner.data.0", "x" * 100])
def test_good_names(value: str) -> None:
    assert name({"name": value}) == value


@pytest.mark.parametrize("value", [None, 0, 65, True, "9", 9.0])
def test_bad_signals(value: object) -> None:
    with pytest.raises(RefusedError, match="signal = "):
        signal_number({"signal": value})


def test_good_signals() -> None:
    assert [signal_number({"signal": value}) for value in (1, 9, 64)] == [1, 9, 64]


@pytest.mark.parametrize("packet", [b"", b"1", b"null", b"[]", b"\xff", b"{", b"[" * 60_000])
def test_packets_that_are_no_object(packet: bytes) -> None:
    with pytest.raises(RefusedError, match="a JSON object is accepted"):
        parse(packet)


def test_an_object() -> None:
    assert parse(b'{"op": "list"}') == {"op": "list"}


JOIN: dict[str, Any] = {"join": "view.main", "pid": 5, "born": 7, "token": "0aF", "fds": ["http"]}


def test_a_greeting() -> None:
    join = Join(JOIN)
    assert (join.name, join.pid, join.born, join.token, join.fds) == ("view.main", 5, 7, "0aF", ["http"])
    assert Join(JOIN | {"join": "control", "fds": []}).name == "control"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"join": ""}, "name"),
        ({"join": 1}, "name"),
        ({"pid": 0}, "pid"),
        ({"pid": True}, "pid"),
        ({"born": -1}, "born"),
        ({"born": "7"}, "born"),
        ({"token": ""}, "token"),
        ({"fds": [3]}, "fds"),
        ({"op": "list"}, "op"),
    ],
)
def test_a_greeting_that_is_refused_names_the_field(change: dict[str, Any], field: str) -> None:
    with pytest.raises(RefusedError) as caught:
        Join(JOIN | change)
    assert caught.value.field == field
