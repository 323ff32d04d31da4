"""fusion.toml: defaults, ports, and every fault at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import pytest

from fustor.fusion.config import FusionConfig, build, load
from fustor.runtime.config import ConfigFaults

SMALL: dict[str, Any] = {"fusion": {"state": "/s"}}


def view(name: str, *sources: tuple[str, str, str]) -> dict[str, Any]:
    return {"name": name, "sources": [{"agent": a, "source": s, "mount": m} for a, s, m in sources]}


def faults(data: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(ConfigFaults) as caught:
        build(data, file="fusion.toml")
    assert all(fault.file == "fusion.toml" for fault in caught.value.faults)
    return {fault.field: fault.accepted for fault in caught.value.faults}


def test_defaults_are_those_of_the_architecture() -> None:
    config = build(SMALL)
    section = config.fusion
    assert (section.control, section.admin) == ("tcp://127.0.0.1:7700", "tcp://127.0.0.1:7701")
    assert (section.http, section.query_workers, section.lease_seconds) == ("127.0.0.1:8101", 2, 3.0)
    (only,) = config.views
    assert (only.name, only.sources[0].agent, only.sources[0].source, only.sources[0].mount) == (
        "main",
        "local",
        "data",
        "/",
    )


def test_the_state_is_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "fusion.toml").write_text('[fusion]\nstate = "f"\n')
    assert load(str(tmp_path / "fusion.toml")).fusion.state == str(tmp_path / "f")


def test_every_fault_at_once() -> None:
    found = faults(
        {
            "fusion": {"http": "8101", "query_workers": 0, "heartbeat_seconds": "1", "lease_seconds": float("nan")},
            "views": [view("a b", ("x", "y", "/p/q"))],
            "limit": {},
        }
    )
    assert set(found) == {
        "fusion.state",
        "fusion.http",
        "fusion.query_workers",
        "fusion.heartbeat_seconds",
        "fusion.lease_seconds",
        "views[0].name",
        "views[0].sources[0].mount",
        "limit",
    }
    assert "HOST:PORT" in found["fusion.http"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"views": []}, "views"),
        ({"views": [view("a"), view("a")]}, "views"),
        ({"views": [view("a", ("x", "y", "/")), view("b", ("x", "y", "/"))]}, "views"),
        ({"views": [view("a", ("x", "y", "/"), ("x", "z", "/p"))]}, "views[0].sources"),
        ({"views": [view("a", ("x", "y", "/p"), ("x", "z", "/p"))]}, "views[0].sources"),
        ({"views": [view("a", ("x", "y", "/.."))]}, "views[0].sources[0].mount"),
        ({"views": [view("a", ("x", "y", "/" + "ä" * 128))]}, "views[0].sources[0].mount"),
        ({"fusion": {"state": "/s", "data": "tcp://127.0.0.1:7701"}}, "data.main"),
        ({"fusion": {"state": "/s", "query": "tcp://127.0.0.1:65535"}}, "query.1"),
    ],
)
def test_each_of_these_is_refused(change: dict[str, Any], field: str) -> None:
    assert field in faults({**SMALL, **change})


def test_the_effective_configuration_survives_json() -> None:
    config = build({**SMALL, "views": [view("a", ("x", "y", "/p"), ("x", "z", "/q"))], "limits": {"view": {"n": 1}}})
    again: FusionConfig = build(json.loads(json.dumps(attrs.asdict(config))))
    assert again == config
