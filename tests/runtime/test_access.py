"""API keys in files: what they open, and who is let in while they change."""

from __future__ import annotations

import errno
import logging
import os
import resource
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from fustor.runtime import access
from fustor.runtime.access import (
    EVERYTHING,
    ApiKey,
    ApiKeys,
    Grant,
    api_folder,
    digest,
    load_key,
    make_key,
    make_own_key,
    own_digest,
    own_key,
    write_key,
)
from fustor.runtime.config import ConfigFaults
from protocols.errors import ConfigError

GOOD = digest(b"x")


@pytest.fixture(autouse=True)
def always_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "LOOK_SECONDS", 0.0)


@pytest.fixture
def add(tmp_path: Path) -> Callable[..., bytes]:
    def make(name: str, views: tuple[str, ...] = (), paths: tuple[str, ...] = ()) -> bytes:
        secret, key = make_key(name, views, paths)
        write_key(str(tmp_path), key)
        return secret.encode()

    return make


def test_a_secret_is_long_and_kept_nowhere(tmp_path: Path) -> None:
    secret, key = make_key("ann", ("main",), ("/a b/ü", '/"'))
    assert len(secret) >= 43
    assert make_key("ann")[0] != secret
    write_key(str(tmp_path), key)
    path = tmp_path / "ann.toml"
    assert secret not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_key(str(path)) == key


@pytest.mark.parametrize(
    ("text", "field"),
    [
        (f'sha256 = "{GOOD}"', "name"),
        (f'name = "a/b"\nsha256 = "{GOOD}"', "name"),
        ('name = "a"\nsha256 = "ABC"', "sha256"),
        (f'name = "a"\nsha256 = "{GOOD}"\npaths = ["/ok", "relative"]', "paths[1]"),
        (f'name = "a"\nsha256 = "{GOOD}"\npaths = ["/a/../b"]', "paths[0]"),
        (f'name = "a"\nsha256 = "{GOOD}"\nviews = 1', "views"),
        (f'name = "a"\nsha256 = "{GOOD}"\nroles = []', "roles"),
    ],
)
def test_every_fault_of_a_file_is_named(tmp_path: Path, text: str, field: str) -> None:
    path = tmp_path / "a.toml"
    path.write_text(text)
    with pytest.raises((ConfigFaults, ConfigError)) as error:
        load_key(str(path))
    assert field in str(error.value)
    assert str(path) in str(error.value)


def test_names_of_owners_are_names_of_files() -> None:
    for name in ("", "a/b", "..", "a b"):
        with pytest.raises(ConfigError, match="name"):
            make_key(name)


@pytest.mark.parametrize(
    ("views", "paths", "asked", "covered"),
    [
        ((), (), ("any", ()), True),
        (("main",), (), ("main", (b"a",)), True),
        (("main",), (), ("other", ()), False),
        ((), ("/a/b",), ("main", (b"a", b"b")), True),
        ((), ("/a/b",), ("main", (b"a", b"b", b"c")), True),
        ((), ("/a/b",), ("main", (b"a",)), False),
        ((), ("/a/b",), ("main", ()), False),
        ((), ("/a/b",), ("main", (b"a", b"bc")), False),
        ((), ("/a", "/b//c/"), ("main", (b"b", b"c")), True),
        ((), ("/a", "/"), ("main", ()), True),
        ((), ("/ü",), ("main", ("ü".encode(), b"\xff")), True),
        (("main",), ("/a",), ("other", (b"a",)), False),
    ],
)
def test_what_a_key_covers(
    views: tuple[str, ...], paths: tuple[str, ...], asked: tuple[str, tuple[bytes, ...]], covered: bool
) -> None:
    assert Grant.of(ApiKey("a", GOOD, views, paths)).covers(*asked) is covered


def test_keys_come_change_and_go_while_they_are_used(tmp_path: Path, add: Callable[..., bytes]) -> None:
    keys = ApiKeys(str(tmp_path), is_open=True)
    assert keys.grant(b"") is EVERYTHING
    assert keys.grant(b"anything") is EVERYTHING
    ann, bob = add("ann"), add("bob", ("main",), ("/b",))
    assert keys.grant(b"") is None
    assert keys.grant(ann) == EVERYTHING
    assert keys.grant(bob) == Grant(frozenset({"main"}), ((b"b",),))
    assert keys.grant(bob[:-1]) is None
    assert keys.grant(ann + b"," + bob) is None
    assert keys.grant(b"x" * 1000) is None
    path = tmp_path / "bob.toml"
    path.write_text(path.read_text().replace("/b", "/c/d"))
    assert keys.grant(bob) == Grant(frozenset({"main"}), ((b"c", b"d"),))
    again = add("ann")
    assert (keys.grant(ann), keys.grant(again)) == (None, EVERYTHING)


def test_the_last_key_that_is_withdrawn_opens_nothing_to_everybody(tmp_path: Path, add: Callable[..., bytes]) -> None:
    keys = ApiKeys(str(tmp_path), is_open=True)
    ann = add("ann")
    os.rename(tmp_path / "ann.toml", tmp_path / "ann.withdrawn")
    assert (keys.grant(ann), keys.grant(b"")) == (None, None)


def test_what_is_no_key_opens_nothing_and_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "bad.toml").write_text("name = 1")
    keys = ApiKeys(str(tmp_path), is_open=True)
    with caplog.at_level(logging.ERROR):
        assert [keys.grant(b""), keys.grant(b"x")] == [None, None]
    assert len(caplog.records) == 1
    assert "bad.toml" in caplog.text


def test_nothing_is_open_unless_it_was_said(tmp_path: Path) -> None:
    assert ApiKeys(str(tmp_path / "missing")).grant(b"") is None
    assert ApiKeys(str(tmp_path / "missing"), is_open=True).grant(b"") is EVERYTHING


def test_own_programs_have_a_key_that_is_not_counted(tmp_path: Path) -> None:
    state = str(tmp_path)
    os.makedirs(api_folder(state))
    assert (own_key(state), own_digest(state)) == ("", "")
    make_own_key(state)
    key = own_key(state)
    make_own_key(state)
    assert own_key(state) == key
    assert stat.S_IMODE((tmp_path / "keys" / "http.key").stat().st_mode) == 0o600
    keys = ApiKeys(api_folder(state), own=own_digest(state), is_open=True)
    assert keys.grant(b"") is EVERYTHING
    _, ann = make_key("ann")
    write_key(api_folder(state), ann)
    assert (keys.grant(b""), keys.grant(key.encode())) == (None, EVERYTHING)


def test_without_descriptors_who_was_let_in_still_is(
    tmp_path: Path, add: Callable[..., bytes], caplog: pytest.LogCaptureFixture
) -> None:
    keys = ApiKeys(str(tmp_path))
    ann = add("ann")
    assert keys.grant(ann) == EVERYTHING
    bob = add("bob")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        granted = [keys.grant(ann), keys.grant(bob), keys.grant(ann)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert granted == [EVERYTHING, None, EVERYTHING]
    assert len(caplog.records) == 1
    assert keys.grant(bob) == EVERYTHING


def test_a_key_that_could_not_be_read_for_want_of_descriptors_is_read_later(
    tmp_path: Path, add: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They ran out between the look at the folder and the file."""
    keys = ApiKeys(str(tmp_path))
    ann = add("ann")

    def none_left(path: str) -> ApiKey:
        raise ConfigError("(file)", path, "it can't be read") from OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patched:
        patched.setattr(access, "load_key", none_left)
        assert keys.grant(ann) is None
    assert keys.grant(ann) == EVERYTHING
