"""What CONFIG.json accepts, and what it says of the rest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fustor.guardian.config import Config, environment, load, text
from fustor.guardian.errors import RefusedError, StartError

GOOD: dict[str, Any] = {"run": "/run/x", "log": "log", "control": ["/bin/true", "-v"]}


def test_defaults() -> None:
    config = Config(GOOD)
    assert config.control == [b"/bin/true", b"-v"]
    assert config.run == "/run/x"
    assert config.log == str(Path.cwd() / "log")
    assert (config.env, config.listen, config.control_fds) == ({}, {}, ())
    assert (config.beat_timeout, config.hang_timeout, config.start_timeout, config.grace) == (1.5, 4.0, 15.0, 10.0)
    assert (config.restart_delay, config.restart_delay_max, config.young) == (0.2, 5.0, 5.0)
    assert config.log_bytes == 8 << 20
    assert config.slots == 1024
    assert config.by_survivors
    assert (config.rejoin_timeout, config.adopt_timeout) == (10.0, 5.0)


def test_everything_given() -> None:
    config = Config(GOOD | {"listen": {"http": ["::1", 0]}, "env": {"A": "ä"}, "beat_timeout": 0, "slots": 1})
    assert config.listen == {"http": ("::1", 0)}
    assert config.env == {b"A": "ä".encode()}
    assert config.beat_timeout == 0
    assert config.slots == 1
    assert Config(GOOD | {"listen": {"a": ["::1", 0], "b": ["::1", 0]}, "control_fds": ["b"]}).control_fds == ("b",)
    assert not Config(GOOD | {"successor": "supervisor"}).by_survivors


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"run": 1}, "run"),
        ({"run": ""}, "run"),
        ({"log": "a\0b"}, "log"),
        ({"control": []}, "control"),
        ({"control": "/bin/true"}, "control"),
        ({"control": ["true"]}, "control[0]"),
        ({"control": ["/bin/true", 1]}, "control[1]"),
        ({"control": ["/bin/true", "\0"]}, "control[1]"),
        ({"env": []}, "env"),
        ({"env": {"A": 1}}, "env.A"),
        ({"env": {"A=B": "1"}}, "env.A=B"),
        ({"env": {"FUSTOR_TOKEN": "1"}}, "env.FUSTOR_TOKEN"),
        ({"listen": ["127.0.0.1", 80]}, "listen"),
        ({"listen": {"http": "127.0.0.1:80"}}, "listen.http"),
        ({"listen": {"http": ["127.0.0.1", 65536]}}, "listen.http"),
        ({"listen": {"http": ["127.0.0.1", True]}}, "listen.http"),
        ({"listen": {"http": ["", 80]}}, "listen.http"),
        ({"listen": {"http": ["höst", 80]}}, "listen.http"),
        ({"control_fds": "http"}, "control_fds"),
        ({"control_fds": ["http"]}, "control_fds"),
        ({"control_fds": [["http"]], "listen": {"http": ["::1", 0]}}, "control_fds"),
        ({"beat_timeout": -1}, "beat_timeout"),
        ({"successor": "nobody"}, "successor"),
        ({"successor": None}, "successor"),
        ({"rejoin_timeout": -1}, "rejoin_timeout"),
        ({"adopt_timeout": "5"}, "adopt_timeout"),
        ({"beat_timeout": True}, "beat_timeout"),
        ({"grace": float("nan")}, "grace"),
        ({"grace": float("inf")}, "grace"),
        ({"log_bytes": 0}, "log_bytes"),
        ({"slots": 1.5}, "slots"),
        ({"bind": 1}, "bind"),
    ],
)
def test_faults_name_the_key(change: dict[str, Any], field: str) -> None:
    with pytest.raises(RefusedError) as caught:
        Config(GOOD | change)
    assert caught.value.field == field
    assert caught.value.errno == 0


@pytest.mark.parametrize("key", ["run", "log", "control"])
def test_required_keys(key: str) -> None:
    with pytest.raises(RefusedError, match=f"{key} = None: is required"):
        Config({name: value for name, value in GOOD.items() if name != key})


def test_an_array_is_no_configuration() -> None:
    with pytest.raises(RefusedError, match="a JSON object is accepted"):
        Config([])


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[]", b'{"run": 1}', b"[" * 100_000])
def test_unusable_files_are_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "guardian.json"
    path.write_bytes(content)
    with pytest.raises(StartError, match=r"guardian\.json: ") as caught:
        load(str(path))
    assert caught.value.code == 2


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="No such file") as caught:
        load(str(tmp_path / "guardian.json"))
    assert caught.value.code == 2


def test_a_good_file(tmp_path: Path) -> None:
    path = tmp_path / "guardian.json"
    path.write_text(json.dumps(GOOD))
    assert load(str(path)).control[0] == b"/bin/true"


def test_names_that_are_not_utf8_survive() -> None:
    assert text("x", b"\xff".decode("utf-8", "surrogateescape")) == b"\xff"


def test_lone_surrogates_are_refused() -> None:
    with pytest.raises(RefusedError):
        text("x", "\ud800")
    with pytest.raises(RefusedError):
        environment("env", {"\ud800": "1"})
