"""``fustor bundle``, from a key to a bundle that is verified, and what is said when something is wrong."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fustor.admin.app import build
from fustor.admin.exits import exit_code
from fustor.bundle.keys import create, load_public, load_secret
from protocols.errors import FustorError
from tests.support.bundles import ANN, BOB, key_of, small

Run = Callable[..., subprocess.CompletedProcess[str]]


def run(*arguments: str | Path) -> tuple[int, str]:
    """Exit code and output of ``fustor bundle ARGUMENTS``, in this process; of a failure what it says."""
    result = CliRunner().invoke(build(), ["bundle", *map(str, arguments)])
    if isinstance(result.exception, FustorError):
        return int(exit_code(result.exception)), str(result.exception)
    return result.exit_code, result.output


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A folder with two release keys."""
    for key in (ANN, BOB):
        assert create(key, str(tmp_path / f"{key.name}.key"), str(tmp_path / f"{key.name}.pub"))
    return tmp_path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A bundle that nobody has signed."""
    path = tmp_path / "small.bundle"
    path.write_bytes(small(signers=()))
    return path


def test_from_a_key_to_a_bundle_that_is_believed(tmp_path: Path) -> None:
    code, said = run("keygen", "-o", tmp_path / "release.key", "--json")
    assert code == 0, said
    key, pub = tmp_path / "release.key", tmp_path / "release.pub"
    assert load_secret(str(key)).public == load_public(str(pub)).public == json.loads(said)["public"]
    assert stat.S_IMODE(os.stat(key).st_mode) == 0o600
    file = tmp_path / "fustor.bundle"
    code, said = run("build", "-o", file, "--sign", key, "--days", "30", "--json")
    assert code == 0, said
    made = json.loads(said)
    assert (made["name"], made["unmet"], made["signatures"][0]["genuine"]) == ("fustor", [], True)
    code, said = run("verify", file, "--key", pub)
    assert (code, "whole, signed by release until" in said) == (0, True), said
    assert made["digest"] in said
    shown = json.loads(run("inspect", file, "--json", "--files")[1])
    assert {**shown, "paths": None} == {**made, "paths": None}
    assert len(shown["paths"]) == made["files"]


def test_a_bundle_without_a_signature(tmp_path: Path, run_fustor: Run) -> None:
    done = run_fustor("bundle", "build", "--output", str(tmp_path / "x"))
    assert done.returncode == 0, done.stderr
    assert "sign it" not in done.stdout
    assert "it is not signed: fustor bundle sign" in done.stderr
    done = run_fustor("bundle", "inspect", str(tmp_path / "x"))
    assert "\x1b" not in done.stdout
    assert [line.split()[0] for line in done.stdout.splitlines()] == [
        "bundle", "digest", "files", "python", "platform", "needs", "signature",
    ]  # fmt: skip


def test_several_sign(file: Path, keys: Path) -> None:
    before = json.loads(run("inspect", file, "--json")[1])["digest"]
    code, said = run("sign", file, "--key", keys / "ann.key", "--days", "1")
    assert (code, "signed by ann until" in said, before in said) == (0, True, True), said
    made = json.loads(run("sign", file, "--key", keys / "bob.key", "--json")[1])
    assert [one["key"] for one in made["signatures"]] == sorted([ANN.public, BOB.public])
    both = run("verify", file, "--key", keys / "ann.pub", "--key", keys / "bob.pub", "--json")
    assert {one["name"] for one in json.loads(both[1])["signers"]} == {"ann", "bob"}
    assert run("verify", file, "-k", keys / "bob.pub")[0] == 0
    # Once more is a renewal.
    assert len(json.loads(run("sign", file, "-k", keys / "bob.key", "--json")[1])["signatures"]) == 2


def test_who_is_not_believed(file: Path, keys: Path) -> None:
    pub = keys / "ann.pub"
    code, said = run("verify", file, "-k", pub)
    assert (code, "it is not signed" in said) == (1, True), said
    run("sign", file, "-k", keys / "bob.key")
    code, said = run("verify", file, "-k", pub)
    assert (code, "it is not trusted" in said) == (1, True), said
    file.write_bytes(small())
    assert run("verify", file, "-k", pub)[0] == 0


def test_damage_is_said_with_its_place(file: Path, keys: Path) -> None:
    content = small()
    place = content.index(b"x = 1")
    file.write_bytes(content[:place] + b"y" + content[place + 1 :])
    for command in (
        ("verify", file, "-k", keys / "ann.pub"),
        ("inspect", file),
        ("sign", file, "-k", keys / "ann.key"),
    ):
        code, said = run(*command)
        assert (code, f"{file}: actors/x/__init__.py: its content is damaged" in said) == (1, True), said
    file.write_bytes(content[:100])
    code, said = run("inspect", file)
    assert (code, "it is truncated" in said) == (1, True), said
    file.write_text("#!/bin/sh\n" * 9)
    assert "another kind of file" in run("inspect", file)[1]


def test_what_it_says_of_itself(file: Path) -> None:
    file.write_bytes(
        small(
            signers=(ANN,),
            platform="cpython-311-s390x-linux-gnu",
            wheels=["extra-1-py3-none-any.whl"],
            needs={"protocol": [7, 8], "shell": [1, 1]},
        )
    )
    code, said = run("inspect", file)
    assert code == 0, said
    flat = " ".join(said.split())
    assert f"signature key {ANN.public}, until" in flat
    assert "wheel extra-1-py3-none-any.whl" in flat
    assert "not here it needs protocol 7 to 8, here is 1" in flat
    assert "not here its extension modules are for cpython-311-s390x-linux-gnu" in flat
    said = run("inspect", file, "--files")[1]
    assert "actors/x/__init__.py" in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("keygen", "-o", "x.pem"), "a file name that ends in .key is accepted"),
        (("keygen", "-o", "ann.key"), "exists and is kept"),
        (("keygen", "-o", "x.key", "--name", "a/b"), "letters, digits"),
        (("build", "-o", "x", "--name", "a/b"), "--name = 'a/b'"),
        (("build", "-o", "x", "--sign", "ann.pub"), "chmod 600"),
        (("build", "-o", "x", "--wheels", "none"), "does not exist"),
        (("sign", "small.bundle", "-k", "none.key"), "it can't be read"),
        (("sign", "small.bundle", "-k", "ann.key", "--days", "0"), "--days"),
        (("sign", "none", "-k", "ann.key"), "does not exist"),
        (("verify", "small.bundle"), "--key"),
        (("verify", "small.bundle", "-k", "small.bundle"), "it is not TOML"),
        (("inspect", "."), "is a directory"),
    ],
)
def test_what_is_not_accepted_is_said(
    file: Path, keys: Path, arguments: tuple[str, ...], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(keys)
    code, said = run(*arguments)
    assert code == 2, said
    assert words in " ".join(said.replace("│", " ").split())


def test_keys_are_never_replaced(keys: Path) -> None:
    os.unlink(keys / "ann.pub")
    assert run("keygen", "-o", keys / "ann.key")[0] == 2
    assert load_secret(str(keys / "ann.key")) == ANN
    os.rename(keys / "ann.key", keys / "bob.key")
    assert run("keygen", "-o", keys / "bob.key")[0] == 2
    assert key_of("bob").public == load_public(str(keys / "bob.pub")).public


def test_what_can_not_be_written_is_this_hosts_fault(file: Path, tmp_path: Path) -> None:
    code, said = run("build", "-o", tmp_path / "none" / "x")
    assert (code, "can't be written" in said) == (1, True), said
