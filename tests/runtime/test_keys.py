from __future__ import annotations

import concurrent.futures
import logging
import os
import resource
import stat
from pathlib import Path

import pytest
import zmq

from fustor.runtime.config import ConfigFaults
from fustor.runtime.keys import AuthorizedKeys, KeyPair, is_key, load_or_create, load_public, load_secret, write_public
from protocols.errors import ConfigError, MachineError


@pytest.fixture
def private(tmp_path: Path) -> str:
    return str(tmp_path / "agent.key")


def pair_of(name: str, role: str = "agent") -> KeyPair:
    public, secret = zmq.curve_keypair()
    return KeyPair(name=name, role=role, public=public.decode(), secret=secret.decode())


def test_made_once_and_found_again(private: str) -> None:
    made = load_or_create(private, "local", "agent")
    assert stat.S_IMODE(os.stat(private).st_mode) == 0o600
    assert load_or_create(private, "local", "agent") == made == load_secret(private)
    assert os.listdir(os.path.dirname(private)) == ["agent.key"]
    assert zmq.curve_public(made.secret.encode()).decode() == made.public


def test_two_at_once_get_the_same_key(private: str) -> None:
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        made = {pool.submit(load_or_create, private, "local", "agent") for _ in range(8)}
        assert len({future.result().secret for future in made}) == 1


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o610, 0o777])
def test_a_secret_that_others_may_use_is_refused(private: str, mode: int) -> None:
    load_or_create(private, "local", "agent")
    os.chmod(private, mode)
    with pytest.raises(ConfigError) as caught:
        load_or_create(private, "local", "agent")
    assert f"{mode:04o}" in str(caught.value)
    assert f"chmod 600 {private}" in str(caught.value)


@pytest.mark.parametrize(("name", "role", "field"), [("other", "agent", "name"), ("local", "fusion", "role")])
def test_somebody_elses_key_is_refused(private: str, name: str, role: str, field: str) -> None:
    load_or_create(private, "local", "agent")
    with pytest.raises(ConfigError, match="is configured") as caught:
        load_or_create(private, name, role)
    assert caught.value.field == field


def test_the_public_half(private: str, tmp_path: Path) -> None:
    made = load_or_create(private, "local", "agent")
    path = str(tmp_path / "local.pub")
    write_public(path, made)
    write_public(path, made)
    assert made.secret not in Path(path).read_text()
    assert load_public(path) == load_public(private) == KeyPair(name="local", role="agent", public=made.public)
    os.chmod(path, 0o600)
    with pytest.raises(ConfigError, match="the secret key is required here"):
        load_secret(path)


def test_halves_must_belong_together(private: str) -> None:
    one, two = pair_of("a"), pair_of("a")
    Path(private).write_text(f"name='a'\nrole='agent'\npublic='{one.public}'\nsecret='{two.secret}'\n")
    os.chmod(private, 0o600)
    with pytest.raises(ConfigError, match="does not belong"):
        load_secret(private)


def test_a_secret_is_never_shown(private: str) -> None:
    made = load_or_create(private, "local", "agent")
    assert made.secret not in repr(made)
    text = Path(private).read_text().replace(made.secret, made.secret[:-1])
    Path(private).write_text(text)
    with pytest.raises(ConfigFaults) as caught:
        load_secret(private)
    assert made.secret[:-1] not in str(caught.value)


def test_every_fault_of_a_key_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.pub"
    path.write_text("name = 'a/b'\nrole = 'king'\npublic = 'short'\n")
    with pytest.raises(ConfigFaults) as caught:
        load_public(str(path))
    assert [(f.file, f.field) for f in caught.value.faults] == [(str(path), f) for f in ("name", "role", "public")]


def test_a_folder_that_is_not_there_is_a_fault_of_the_machine(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="can't be written: No such file"):
        load_or_create(str(tmp_path / "none" / "x.key"), "a", "agent")


def test_is_key() -> None:
    assert is_key(pair_of("a").public)
    assert not is_key("#" * 40)  # five of these say more than 32 bits
    assert not is_key("é" + "0" * 39)
    assert not is_key("0" * 39)
    assert not is_key('"' + "0" * 39)


def test_authorized_keys_follow_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "authorized"
    keys = AuthorizedKeys(str(folder))
    ann, bob = pair_of("ann", "operator"), pair_of("bob")
    assert keys.lookup(ann.public) is None
    folder.mkdir()
    write_public(str(folder / "ann.pub"), ann)
    assert keys.lookup(ann.public) == ("ann", "operator")
    assert keys.lookup(bob.public) is None
    write_public(str(folder / "bob.pub"), bob)
    assert keys.lookup(bob.public) == ("bob", "agent")
    # Another key in the same file: the old one is out, the new one in.
    new = pair_of("bob")
    write_public(str(folder / "bob.pub"), new)
    assert keys.lookup(bob.public) is None
    assert keys.lookup(new.public) == ("bob", "agent")
    (folder / "ann.pub").unlink()
    assert keys.lookup(ann.public) is None


def test_only_pub_files_count(tmp_path: Path) -> None:
    ann = pair_of("ann")
    write_public(str(tmp_path / "ann.pub.off"), ann)
    assert AuthorizedKeys(str(tmp_path)).lookup(ann.public) is None


def test_a_bad_file_is_told_once_and_spoils_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ann = pair_of("ann")
    write_public(str(tmp_path / "ann.pub"), ann)
    (tmp_path / "bad.pub").write_text("nonsense")
    (tmp_path / "again.pub").write_bytes((tmp_path / "ann.pub").read_bytes())
    keys = AuthorizedKeys(str(tmp_path))
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert keys.lookup(pair_of("x").public) is None
        assert keys.lookup(ann.public) == ("ann", "agent")
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2
    assert any("bad.pub" in message for message in messages)
    assert any("authorized twice" in message for message in messages)


def test_without_descriptors_who_is_known_stays_and_who_is_removed_does_not(tmp_path: Path) -> None:
    keys = AuthorizedKeys(str(tmp_path))
    pairs = [load_or_create(str(tmp_path / f"{name}.key"), name, "agent") for name in ("one", "two", "three", "four")]
    one, two, three, four = pairs
    for pair in (one, two, three):
        write_public(str(tmp_path / f"{pair.name}.pub"), pair)
        assert keys.lookup(pair.public) == (pair.name, "agent")
    write_public(str(tmp_path / "four.pub"), four)
    os.unlink(tmp_path / "two.pub")
    os.utime(tmp_path / "three.pub", (1, 1))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        found = [keys.lookup(pair.public) for pair in pairs]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert found == [("one", "agent"), None, None, None]
    assert [keys.lookup(pair.public) for pair in pairs] == [
        ("one", "agent"),
        None,
        ("three", "agent"),
        ("four", "agent"),
    ]
