"""Files of release keys."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import attrs
import pytest

from fustor.bundle.keys import ReleaseKey, create, generate, load_public, load_secret
from fustor.runtime.config import ConfigFaults
from fustor.runtime.keys import load_or_create
from fustor.runtime.keys import load_public as load_curve_public
from protocols.errors import ConfigError
from tests.support.bundles import ANN, BOB


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    paths = str(tmp_path / "ann.key"), str(tmp_path / "ann.pub")
    assert create(ANN, *paths)
    return paths


def write(path: str, key: ReleaseKey, **changes: str) -> None:
    values = {**attrs.asdict(key), **changes}
    Path(path).write_text("".join(f"{name} = '{value}'\n" for name, value in values.items()))
    os.chmod(path, 0o600)


def test_there_and_back(files: tuple[str, str]) -> None:
    assert load_secret(files[0]) == ANN
    assert load_public(files[1]) == load_public(files[0]) == attrs.evolve(ANN, secret="")
    assert stat.S_IMODE(os.stat(files[0]).st_mode) == 0o600
    assert ANN.secret not in Path(files[1]).read_text()
    assert ANN.secret not in repr(ANN)


def test_a_new_key_is_new() -> None:
    one, two = generate("ann"), generate("ann")
    assert one.secret != two.secret
    assert one.public != two.public


def test_a_secret_is_never_replaced(files: tuple[str, str]) -> None:
    assert not create(BOB, *files)
    assert load_secret(files[0]) == ANN
    assert load_public(files[1]).name == "ann"


def test_others_must_not_read_it(files: tuple[str, str]) -> None:
    os.chmod(files[0], 0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        load_secret(files[0])


def test_halves_must_belong_together(files: tuple[str, str]) -> None:
    write(files[0], ANN, public=BOB.public)
    with pytest.raises(ConfigError, match="does not belong"):
        load_secret(files[0])
    with pytest.raises(ConfigError, match="0644"):
        load_secret(files[1])
    os.chmod(files[1], 0o600)
    with pytest.raises(ConfigError, match="the secret key is required"):
        load_secret(files[1])


def test_every_fault_is_named_and_no_secret_shown(files: tuple[str, str]) -> None:
    write(files[0], ANN, name="a/b", role="agent", public="x", secret="s3cret")
    with pytest.raises(ConfigFaults) as caught:
        load_secret(files[0])
    assert [fault.field for fault in caught.value.faults] == ["name", "role", "public", "secret"]
    assert "s3cret" not in str(caught.value)
    with pytest.raises(ConfigError, match="can't be read"):
        load_public(f"{files[0]}.gone")


def test_neither_kind_of_key_is_taken_for_the_other(files: tuple[str, str], tmp_path: Path) -> None:
    with pytest.raises(ConfigFaults, match="role = 'release'"):
        load_curve_public(files[1])
    load_or_create(str(tmp_path / "x.key"), "x", "agent")
    with pytest.raises(ConfigFaults, match="role = 'agent'"):
        load_secret(str(tmp_path / "x.key"))
