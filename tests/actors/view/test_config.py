"""What a view may be told."""

from __future__ import annotations

from typing import Any

import pytest

from actors.view.config import ViewConfig
from fustor.runtime.config import ConfigFaults, structure
from protocols.errors import ConfigError

GOOD: dict[str, Any] = {
    "view": "main",
    "store": "/var/lib/x",
    "sources": [{"index": 0, "agent": "a", "source": "s", "mount": "/"}],
    "data": "tcp://127.0.0.1:7710",
    "acks": "tcp://127.0.0.1:7711",
    "key_file": "k",
    "authorized": "d",
    "limits": {"commit_seconds": 0.01},
}


def source(index: int, mount: str, agent: str = "a") -> dict[str, Any]:
    return {"index": index, "agent": agent, "source": f"s{index}", "mount": mount}


def test_a_whole_configuration() -> None:
    config = structure(ViewConfig, GOOD)
    assert config.limits.commit_seconds == 0.01
    assert config.sources[0].spec().mount == "/"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"sources": [source(0, "projects")]}, "sources[0].mount"),
        ({"sources": [source(0, "/a/b")]}, "sources[0].mount"),
        ({"sources": [source(0, "/..")]}, "sources[0].mount"),
        ({"sources": [source(-1, "/")]}, "sources[0].index"),
        ({"sources": [source(0, "/"), source(1, "/x")]}, "sources"),
        ({"sources": [source(0, "/x"), source(1, "/x")]}, "sources"),
        ({"sources": [source(0, "/x"), source(0, "/y")]}, "sources"),
        ({"limits": {"map_bytes": 5}}, "limits.map_bytes"),
        ({"limits": {"ack_seconds": 0.0}}, "limits.ack_seconds"),
        ({"store": 5}, "store"),
    ],
)
def test_a_fault_names_its_field(change: dict[str, Any], named: str) -> None:
    with pytest.raises((ConfigFaults, ConfigError)) as caught:
        structure(ViewConfig, GOOD | change)
    assert isinstance(caught.value, ConfigFaults)
    assert [fault.field for fault in caught.value.faults] == [named]
