"""Which payloads Fusion wants, what each is told, and where agents find the views."""

from __future__ import annotations

from typing import Any

from fustor.fusion.config import FusionConfig, build
from fustor.fusion.payloads import agent_endpoints, payloads
from protocols.messages import BUNDLES


def config(**fusion: Any) -> FusionConfig:
    views = [
        {"name": "one", "sources": [{"agent": "x", "source": "data", "mount": "/"}]},
        {
            "name": "two",
            "sources": [
                {"agent": "x", "source": "more", "mount": "/more"},
                {"agent": "y", "source": "data", "mount": "/data"},
            ],
        },
    ]
    return build({"fusion": {"state": "/s", **fusion}, "views": views, "limits": {"view": {"a": 1}, "query": {"b": 2}}})


def test_one_view_actor_per_view_and_the_query_workers() -> None:
    wanted = payloads(config(query_workers=3))
    assert [p.name for p in wanted] == ["view.one", "view.two", "query.0", "query.1", "query.2"]
    assert [p.fds for p in wanted] == [
        ("data.one", "acks.one", "http"),
        ("data.two", "acks.two", "http"),
        ("http", "query.0"),
        ("http", "query.1"),
        ("http", "query.2"),
    ]


def test_what_each_is_told() -> None:
    told = {p.name: p.config for p in payloads(config())}
    assert told["view.two"] == {
        "view": "two",
        "store": "/s/views/two/front",
        "sources": [
            {"index": 0, "agent": "x", "source": "more", "mount": "/more"},
            {"index": 1, "agent": "y", "source": "data", "mount": "/data"},
        ],
        "data": "tcp://127.0.0.1:7712",
        "acks": "tcp://127.0.0.1:7713",
        "data_listen": "data.two",
        "acks_listen": "acks.two",
        "key_file": "/s/keys/fusion.key",
        "authorized": "/s/keys/authorized",
        "limits": {"a": 1},
    }
    assert told["query.1"] == {
        "views": {"one": "/s/views/one/front", "two": "/s/views/two/front"},
        "default_view": "one",
        "listen": "http",
        "query": "tcp://127.0.0.1:7721",
        "query_listen": "query.1",
        "key_file": "/s/keys/fusion.key",
        "authorized": "/s/keys/authorized",
        "api_keys": "/s/keys/api",
        "own_key": "",
        "is_open": True,
        "bundles": "/s/bundles",
        "lease_seconds": 3.0,
        "limits": {"b": 2},
    }


def test_an_agent_is_told_about_its_own_sources() -> None:
    told = agent_endpoints(config(), "k")
    assert [(e.source, e.data, e.acks) for e in told["x"]] == [
        ("data", "tcp://127.0.0.1:7710", "tcp://127.0.0.1:7711"),
        ("more", "tcp://127.0.0.1:7712", "tcp://127.0.0.1:7713"),
        (BUNDLES, "tcp://127.0.0.1:7720", "tcp://127.0.0.1:7720"),
    ]
    assert [e.source for e in told["y"]] == ["data", BUNDLES]
    assert set(told) == {"x", "y"}


def test_what_is_advertised_is_told() -> None:
    told = agent_endpoints(config(advertise_data="tcp://0.0.0.0:17710", advertise_query="tcp://f.example:17720"), "k")
    assert [(e.source, e.data, e.acks) for e in told["x"]] == [
        ("data", "tcp://*:17710", "tcp://*:17711"),
        ("more", "tcp://*:17712", "tcp://*:17713"),
        (BUNDLES, "tcp://f.example:17720", "tcp://f.example:17720"),
    ]


def test_a_wildcard_is_told_as_one() -> None:
    for host in ("0.0.0.0", "[::]", "*"):
        first, *_, last = agent_endpoints(config(data=f"tcp://{host}:7710", query=f"tcp://{host}:7720"), "k")["x"]
        assert (first.data, last.data) == ("tcp://*:7710", "tcp://*:7720")
