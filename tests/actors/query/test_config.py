"""What a query worker may be told."""

from __future__ import annotations

from typing import Any

import pytest

from actors.query.config import parse
from fustor.runtime.config import ConfigFaults

GOOD: dict[str, Any] = {
    "views": {"main": "/var/lib/x"},
    "default_view": "main",
    "query": "tcp://127.0.0.1:7720",
    "key_file": "k",
    "authorized": "d",
    "limits": {"http_url_bytes": 1024, "query_slice_bytes": 4096},
}


def test_a_whole_configuration() -> None:
    config = parse(GOOD)
    assert config.limits.http().url_bytes == 1024
    assert config.limits.body().slice_bytes == 4096
    assert config.limits.body().spool_folder is None


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"default_view": "other"}, "default_view"),
        ({"views": {"a/b": "/x"}, "default_view": "a/b"}, "views"),
        ({"key_file": ""}, "key_file"),
        ({"authorized": ""}, "authorized"),
        ({"lease_seconds": 0}, "lease_seconds"),
        ({"lease_seconds": True}, "lease_seconds"),
        ({"limits": {"http_connections": 0}}, "limits.http_connections"),
        ({"limits": {"http_conections": 5}}, "limits.http_conections"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigFaults) as caught:
        parse({**GOOD, **change})
    assert named in [fault.field for fault in caught.value.faults]


def test_without_zmq_no_key_is_needed() -> None:
    assert parse({"views": {"main": "/x"}, "default_view": "main"}).query == ""
