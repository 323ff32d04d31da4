"""Every address of Fusion has a name under which its guardian keeps the socket."""

from __future__ import annotations

from fustor.fusion.config import build
from fustor.fusion.listening import listening
from fustor.fusion.payloads import payloads

CONFIG = build(
    {
        "fusion": {"state": "/s"},
        "views": [{"name": name, "sources": [{"agent": "x", "source": name, "mount": "/"}]} for name in ("a", "b")],
    }
)


def test_every_port_that_is_bound() -> None:
    assert {name: address.port for name, address in listening(CONFIG).items()} == {
        "control": 7700,
        "admin": 7701,
        "http": 8101,
        "data.a": 7710,
        "acks.a": 7711,
        "data.b": 7712,
        "acks.b": 7713,
        "query.0": 7720,
        "query.1": 7721,
    }


def test_payloads_ask_for_what_is_kept_and_each_only_for_its_own() -> None:
    asked = [(payload.name, name) for payload in payloads(CONFIG) for name in payload.fds]
    own = [name for _, name in asked if name != "http"]
    assert sorted(own) == sorted(set(listening(CONFIG)) - {"control", "admin", "http"})
    # Whoever of Fusion lives keeps the socket of fs/tree.
    assert [payload for payload, name in asked if name == "http"] == [payload.name for payload in payloads(CONFIG)]
