"""Which payloads an agent wants, and what each is told."""

from __future__ import annotations

from typing import Any

from fustor.agent.config import AgentConfig, build
from fustor.agent.payloads import payloads
from protocols.messages import Endpoints


def config(**agent: Any) -> AgentConfig:
    sources = [
        {"name": "data", "root": "/srv/data", "exclude": ["*.tmp"]},
        {"name": "more", "root": "/srv/more", "scanners": 1},
    ]
    limits = {"watcher": {"a": 1}, "scanner": {"b": 2}, "syncer": {"c": 3}}
    return build({"agent": {"state": "/s", **agent}, "sources": sources, "limits": limits})


def endpoints(data: str = "tcp://127.0.0.1:7710") -> Endpoints:
    return Endpoints("data", data, "tcp://127.0.0.1:7711", "k" * 40)


def test_a_syncer_only_where_endpoints_are_known() -> None:
    assert [p.name for p in payloads(config(), config().data_side, [])] == [
        "watcher.data",
        "scanner.data.0",
        "scanner.data.1",
        "watcher.more",
        "scanner.more.0",
    ]
    assert "syncer.data" in [p.name for p in payloads(config(), config().data_side, [endpoints()])]
    assert "syncer.more" not in [p.name for p in payloads(config(), config().data_side, [endpoints()])]


def test_superseded_means_no_syncer() -> None:
    assert not [
        p for p in payloads(config(), config().data_side, [endpoints()], superseded=True) if p.name.startswith("syncer")
    ]


def test_endpoints_of_unknown_sources_are_passed_over() -> None:
    other = Endpoints("other", "tcp://127.0.0.1:1", "tcp://127.0.0.1:2", "k")
    assert len(payloads(config(), config().data_side, [other])) == 5


def test_the_syncer_is_stopped_last_and_the_watcher_first() -> None:
    ranks = {p.name.partition(".")[0]: p.stop_rank for p in payloads(config(), config().data_side, [endpoints()])}
    assert ranks["watcher"] < ranks["scanner"] < ranks["syncer"]


def test_each_parser_is_a_payload_and_only_where_there_are_some_the_watcher_knows() -> None:
    plain = config()
    parsers = [{"name": "run", "path": "(?P<a>x)"}, {"name": "table", "format": "table", "options": {"header": False}}]
    source = {"name": "data", "root": "/srv/data", "scanners": 1, "parsers": parsers}
    made = build({"agent": {"state": "/s"}, "sources": [source], "limits": {"parser": {"cache_bytes": 5}}})
    specs = {p.name: p for p in payloads(made, made.data_side, [])}
    assert list(specs) == ["watcher.data", "scanner.data.0", "parser.data.run", "parser.data.table"]
    assert specs["watcher.data"].config["parsers"] == ["run", "table"]
    assert "parsers" not in specs["watcher.data"].config["source"]
    told = specs["parser.data.table"].config
    assert (told["parser"]["format"], told["parser"]["options"]) == ("table", {"header": False})
    assert (told["state"], told["limits"]) == ("/s/sources/data", {"cache_bytes": 5})
    assert all("parsers" not in {**p.config, **p.config["source"]} for p in payloads(plain, plain.data_side, []))


def test_what_kills_one_version_of_a_parser_another_is_given() -> None:
    def group(**parser: Any) -> str:
        source = {"name": "data", "root": "/srv/data", "parsers": [{"name": "one", "format": "json", **parser}]}
        made = build({"agent": {"state": "/s"}, "sources": [source]})
        return {p.name: p.group for p in payloads(made, made.data_side, [])}["parser.data.one"]

    assert group() == group()
    assert group() != group(path="x")
    assert group().startswith("parser.data.one@")


def test_what_each_is_told() -> None:
    told = {p.name: p.config for p in payloads(config(id="me"), config().data_side, [endpoints()])}
    assert told["watcher.data"]["state"] == "/s/sources/data"
    assert told["watcher.data"]["limits"] == {"a": 1}
    assert told["watcher.data"]["source"]["exclude"] == ("*.tmp",)
    assert told["scanner.data.1"]["slot"] == 1
    assert told["scanner.data.1"]["limits"] == {"b": 2}
    assert told["syncer.data"] == {
        "agent": "me",
        "source": "data",
        "data": "tcp://127.0.0.1:7710",
        "acks": "tcp://127.0.0.1:7711",
        "server_key": "k" * 40,
        "key_file": "/s/keys/agent.key",
        "limits": {"c": 3},
    }


def test_a_wildcard_host_is_the_host_where_fusion_was_reached() -> None:
    wanted = payloads(config(fusion="tcp://fusion.example:7700"), config().data_side, [endpoints("tcp://*:7710")])
    (syncer,) = [p for p in wanted if p.name == "syncer.data"]
    assert syncer.config["data"] == "tcp://fusion.example:7710"
    assert syncer.config["acks"] == "tcp://127.0.0.1:7711"


def test_changed_endpoints_are_another_revision() -> None:
    def revision(data: str) -> int:
        return next(
            p.revision for p in payloads(config(), config().data_side, [endpoints(data)]) if p.name == "syncer.data"
        )

    assert revision("tcp://127.0.0.1:7710") == revision("tcp://127.0.0.1:7710")
    assert revision("tcp://127.0.0.1:7710") != revision("tcp://127.0.0.1:7712")
