"""What a document for Fusion may say, and in which order its payloads follow it."""

from __future__ import annotations

import pytest

from fustor.fusion.config import FusionConfig, build
from fustor.fusion.program import FusionGround, FusionSide, parse, render
from fustor.runtime.config import ConfigFaults
from fustor.runtime.daemon import check_payload
from fustor.runtime.document import MOST_BYTES, Software
from protocols.errors import ConfigError

DIGEST = "ab" * 32


def config() -> FusionConfig:
    return build({"fusion": {"state": "/s"}, "views": [{"name": "a"}, {"name": "b"}]})


def ground() -> FusionGround:
    return FusionGround(config(), bundle=lambda digest: f"/b/{digest}", ask=lambda revision: None)


@pytest.mark.parametrize("bundle", ["", DIGEST])
@pytest.mark.parametrize("shell", ["", "cd" * 32])
def test_what_is_rendered_is_read(bundle: str, shell: str) -> None:
    side = FusionSide(Software(bundle, shell))
    assert parse(render(side).encode()) == side


def test_nothing_is_said() -> None:
    assert parse(b"") == FusionSide(Software(""))


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (b"[software", "it is not TOML"),
        (b"\xff", "it is not TOML"),
        (b"[software]\nbundle = 'x'\n", "software.bundle = 'x': the digest of a bundle"),
        (b"sources = []\n", "sources"),
        (b"#" * (MOST_BYTES + 1), "bytes are accepted"),
    ],
)
def test_anything_else_is_refused(text: bytes, error: str) -> None:
    with pytest.raises((ConfigError, ConfigFaults)) as refused:
        parse(text, "f.toml")
    assert error in str(refused.value)
    assert "f.toml" in str(refused.value)


def test_query_workers_come_first_and_views_last() -> None:
    specs = ground().specs(FusionSide(Software(DIGEST)))
    assert [spec.name for spec in specs] == ["query.0", "query.1", "view.a", "view.b"]
    assert {spec.program for spec in specs} == {f"/s/versions/{DIGEST}"}
    assert all(f"PYTHONPATH=/s/versions/{DIGEST}" in spec.argv for spec in specs)
    installed = ground().specs(FusionSide())
    assert {spec.program for spec in installed} == {""}
    assert all(one.revision != other.revision for one, other in zip(specs, installed, strict=True))


def test_its_courier_reads_what_fusion_has_and_tries_all_that_would_run() -> None:
    spec = ground().courier(FusionSide(Software(DIGEST)), DIGEST)
    assert spec is not None
    assert (spec.name, spec.config["file"], spec.config["digest"]) == ("courier", f"/b/{DIGEST}", DIGEST)
    assert spec.config["release_keys"] == "/s/keys/release"
    assert [one["module"] for one in spec.config["checks"]] == ["actors.query", "actors.view", "actors.view"]


def test_a_bundle_for_the_shell_is_tried_as_one() -> None:
    spec = ground().courier(FusionSide(Software("", DIGEST)), DIGEST)
    assert spec is not None
    (only,) = spec.config["checks"]
    assert only["module"] == "fustor.fusion"
    assert check_payload("fustor.fusion", only["config"]) == []
    assert check_payload("fustor.fusion", {"fusion": {"statx": 1}}) != []
