"""The courier's judgement; how it comes to a running agent is in tests/correctness/test_upgrade.py."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from actors.courier.__main__ import Check, CourierConfig, build, prepare, trusted_keys
from fustor.bundle.keys import create
from fustor.runtime.config import ConfigFaults
from protocols.errors import BundleError
from tests.support.bundles import ANN, BOB, bundle_in, small


@pytest.fixture
def config(tmp_path: Path) -> CourierConfig:
    (tmp_path / "release").mkdir()
    create(ANN, str(tmp_path / "ann.key"), str(tmp_path / "release" / "ann.pub"))
    return CourierConfig(
        digest=bundle_in(small()).digest,
        versions=str(tmp_path / "versions"),
        release_keys=str(tmp_path / "release"),
        endpoint="tcp://127.0.0.1:1",
        server_key="",
        key_file="",
    )


def file_of(tmp_path: Path, content: bytes) -> str:
    (tmp_path / "it").write_bytes(content)
    return str(tmp_path / "it")


def test_one_that_is_trusted_and_runs_is_put_where_versions_are(config: CourierConfig, tmp_path: Path) -> None:
    prepare(config, file_of(tmp_path, small()))
    assert set(os.listdir(config.versions)) <= {config.digest, f"{config.digest}.incoming"}
    assert (tmp_path / "versions" / config.digest / "actors" / "x" / "__init__.py").exists()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (small(signers=(BOB,)), "not trusted"),
        (small()[:-10], "."),
        (small({"actors/__init__.py": b"# another"}), "another bundle"),
        (small(needs={"protocol": [99, 99], "shell": [1, 1]}), "can't run here"),
    ],
    ids=["a stranger's", "cut short", "another", "of a later protocol"],
)
def test_others_are_refused_and_leave_no_version(
    config: CourierConfig, tmp_path: Path, content: bytes, why: str
) -> None:
    with pytest.raises(BundleError, match=why):
        prepare(config, file_of(tmp_path, content))
    assert not (tmp_path / "versions" / config.digest).exists()


def test_one_that_does_not_run_is_no_version(config: CourierConfig, tmp_path: Path) -> None:
    import attrs

    tried = attrs.evolve(config, checks=(Check("actors.x", {}),))  # a package without __main__
    with pytest.raises(BundleError, match=r"does not run here: .*actors\.x"):
        prepare(tried, file_of(tmp_path, small()))
    assert not (tmp_path / "versions" / config.digest).exists()


def test_nobody_is_trusted_without_a_key(config: CourierConfig, tmp_path: Path) -> None:
    (tmp_path / "release" / "ann.pub").unlink()
    with pytest.raises(BundleError, match="trusts no release key"):
        trusted_keys(config.release_keys)
    with pytest.raises(BundleError, match="trusts no release key"):
        trusted_keys(str(tmp_path / "nowhere"))
    (tmp_path / "release" / "bad.pub").write_text("x")
    with pytest.raises(BundleError, match="can't be read"):
        trusted_keys(config.release_keys)


def test_a_digest_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigFaults, match="digest"):
        build({"digest": "x", "versions": "", "release_keys": "", "endpoint": "", "server_key": "", "key_file": ""})


def test_it_has_to_come_from_somewhere() -> None:
    with pytest.raises(ConfigFaults, match="endpoint to fetch it from"):
        build({"digest": "a" * 64, "versions": "", "release_keys": ""})
