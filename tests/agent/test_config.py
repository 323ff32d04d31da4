"""agent.toml: defaults, paths, and every fault at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import pytest

from fustor.agent.config import AgentConfig, build, load
from fustor.runtime.config import ConfigFaults
from protocols.errors import ConfigError

SMALL: dict[str, Any] = {"agent": {"state": "/s"}, "sources": [{"name": "data", "root": "/srv"}]}


def faults(data: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(ConfigFaults) as caught:
        build(data, file="agent.toml")
    assert all(fault.file == "agent.toml" for fault in caught.value.faults)
    return {fault.field: fault.accepted for fault in caught.value.faults}


def test_defaults_are_those_of_the_architecture() -> None:
    config = build(SMALL)
    assert (config.agent.id, config.agent.fusion) == ("local", "tcp://127.0.0.1:7700")
    source = config.sources[0]
    assert (source.scanners, source.fast_audit_seconds, source.full_audit_seconds) == (2, 600, 86400)
    assert config.limits.shell.backoff.first_seconds == 0.2


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    path.write_text(
        '[agent]\nstate = "state"\nfusion_key_file = "f/fusion.pub"\n[[sources]]\nname = "data"\nroot = "../here"\n'
    )
    config = load(str(path))
    assert config.agent.state == str(tmp_path / "state")
    assert config.fusion_key_file == str(tmp_path / "f" / "fusion.pub")
    assert config.sources[0].root == str(tmp_path.parent / "here")


def test_the_key_file_has_a_default_unless_the_key_is_there() -> None:
    assert build(SMALL).fusion_key_file == "/s/keys/fusion.pub"
    assert build({**SMALL, "agent": {"state": "/s", "fusion_key": "k" * 40}}).fusion_key_file == ""


def test_every_fault_at_once() -> None:
    found = faults(
        {
            "agent": {"id": "no dots.", "fusion": "udp://x", "fusion_key": "short", "colour": 1},
            "sources": [{"name": "data", "root": "/srv", "scanners": 65}],
            "limits": {"shell": {"stop_seconds": 0.0}},
        }
    )
    assert set(found) == {
        "agent.state",
        "agent.id",
        "agent.fusion",
        "agent.fusion_key",
        "agent.colour",
        "sources[0].scanners",
        "limits.shell.stop_seconds",
    }
    assert "tcp://HOST:PORT" in found["agent.fusion"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"sources": []}, "sources"),
        ({"sources": "data"}, "sources"),
        ({"agent": []}, "agent"),
        ({"agent": {"state": ""}}, "agent.state"),
        ({"sources": [{"name": "data", "root": ""}]}, "sources[0].root"),
        ({"sources": [{"name": "data", "root": "/a"}, {"name": "data", "root": "/b"}]}, "sources"),
        ({"agent": {"state": "/s", "fusion_key": "k" * 40, "fusion_key_file": "f"}}, "agent.fusion_key_file"),
    ],
)
def test_each_of_these_is_refused(change: dict[str, Any], field: str) -> None:
    assert field in faults({**SMALL, **change})


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing\.toml"):
        load(str(tmp_path / "missing.toml"))
    (tmp_path / "bad.toml").write_text("[agent\n")
    with pytest.raises(ConfigError, match="TOML"):
        load(str(tmp_path / "bad.toml"))


def test_the_effective_configuration_survives_json() -> None:
    config = build(SMALL)
    again: AgentConfig = build(json.loads(json.dumps(attrs.asdict(config))))
    assert again == config
