"""
The payloads an agent wants: per source a watcher, its scanners and parsers, and a syncer once Fusion has
said where to send.

What this module does not do: start or validate them.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from fustor.agent.config import AgentConfig
from fustor.runtime.daemon import command_of
from fustor.runtime.document import DataSide
from fustor.runtime.endpoint import parse_endpoint
from fustor.runtime.payload import PayloadSpec
from fustor.runtime.program import courier_spec, program_folder
from fustor.runtime.source import ParserConfig, SourceConfig, told
from protocols.messages import BUNDLES, Endpoints

#: Stop order: who makes items first, who delivers them last.
_WATCHER, _SCANNER, _SYNCER = 0, 1, 2
_PARSER = _SCANNER


def _way_of(program: str, parser: ParserConfig) -> str:
    """A digest of what reads files: what kills one version, another one may read, so it is tried again."""
    content = json.dumps([os.path.basename(program), attrs.asdict(parser)], sort_keys=True)
    return hashlib.blake2b(content.encode(), digest_size=4).hexdigest()


def rules_of(source: SourceConfig, deny: Mapping[str, Any]) -> str:
    """A digest of what decides which entries belong to ``source``; a watcher takes scanners of its own rules only."""
    decides = ("root", "include", "exclude", "include_regex", "exclude_regex", "one_filesystem")
    content = json.dumps([[getattr(source, name) for name in decides], dict(deny)], sort_keys=True)
    return hashlib.blake2b(content.encode(), digest_size=8).hexdigest()


def state_folder(config: AgentConfig, source: str) -> str:
    """Where the watcher of ``source`` keeps its state."""
    return os.path.join(config.agent.state, "sources", source)


def courier(config: AgentConfig, side: DataSide, digest: str, endpoints: Iterable[Endpoints]) -> PayloadSpec | None:
    """
    Who brings the bundle ``digest`` that ``side`` needs, and tries what of it would run; None while Fusion has not said
    where.

    Raises:
        ValueError: the endpoint is no tcp endpoint.
    """
    there = next((e for e in endpoints if e.source == BUNDLES), None)
    if there is None:
        return None
    host = parse_endpoint(config.agent.fusion).host
    checks: list[dict[str, Any]] = []
    if digest == side.software.shell:
        checks.append({"module": "fustor.agent", "config": attrs.asdict(config)})
    for source in side.sources if digest == side.software.bundle else ():
        checks.append({"module": "actors.watcher", "config": watcher_config(config, side, source)})
        checks.append({"module": "actors.scanner", "config": scanner_config(config, side, source, 0)})
        for parser in source.parsers:
            checks.append({"module": "actors.parser", "config": parser_config(config, side, source, parser)})
    way = {
        "endpoint": parse_endpoint(there.data).reached_by(host).zmq,
        "server_key": there.server_key,
        "key_file": os.path.join(config.agent.state, "keys", "agent.key"),
    }
    return courier_spec(config.agent.state, digest, way, checks, config.limits.process.syncer)


def watcher_config(config: AgentConfig, side: DataSide, source: SourceConfig) -> dict[str, Any]:
    """What the watcher of ``source`` is told."""
    deny = config.deny.data
    return {
        "source": told(source),
        "state": state_folder(config, source.name),
        "deny": deny,
        "rules": rules_of(source, deny),
        "limits": side.limits.watcher,
        # Watchers of programs before 0.2 know no parsers: they are not told of none.
        **({"parsers": [parser.name for parser in source.parsers]} if source.parsers else {}),
    }


def scanner_config(config: AgentConfig, side: DataSide, source: SourceConfig, slot: int) -> dict[str, Any]:
    """What scanner ``slot`` of ``source`` is told."""
    deny = config.deny.data
    return {
        "source": told(source),
        "slot": slot,
        "deny": deny,
        "rules": rules_of(source, deny),
        "limits": side.limits.scanner,
    }


def parser_config(config: AgentConfig, side: DataSide, source: SourceConfig, parser: ParserConfig) -> dict[str, Any]:
    """What ``parser`` of ``source`` is told."""
    return {
        "source": told(source),
        "parser": attrs.asdict(parser),
        "state": state_folder(config, source.name),
        "deny": config.deny.data,
        "limits": side.limits.parser,
    }


def syncer_config(config: AgentConfig, side: DataSide, endpoints: Endpoints) -> dict[str, Any]:
    """What the syncer of a source is told. A wildcard host in ``endpoints`` is the host where Fusion was reached."""
    host = parse_endpoint(config.agent.fusion).host
    return {
        "agent": config.agent.id,
        "source": endpoints.source,
        "data": parse_endpoint(endpoints.data).reached_by(host).zmq,
        "acks": parse_endpoint(endpoints.acks).reached_by(host).zmq,
        "server_key": endpoints.server_key,
        "key_file": os.path.join(config.agent.state, "keys", "agent.key"),
        "limits": side.limits.syncer,
    }


def payloads(
    config: AgentConfig, side: DataSide, endpoints: Iterable[Endpoints], *, superseded: bool = False
) -> list[PayloadSpec]:
    """
    Every payload that is wanted.

    Args:
        config: the agent's configuration: who and where it is.
        side: what its payloads shall do.
        endpoints: where each source sends its data, as far as Fusion has said.
        superseded: a later session of this agent exists, so nothing may be sent.

    Raises:
        ValueError: endpoints that are no tcp endpoints.
    """
    known = {e.source: e for e in endpoints}
    program = program_folder(config.agent.state, side.software)

    def argv(kind: str) -> tuple[str, ...]:
        return command_of(f"actors.{kind}", program)

    limits = config.limits.process
    wanted: list[PayloadSpec] = []
    for source in side.sources:
        own = watcher_config(config, side, source)
        name = f"watcher.{source.name}"
        wanted.append(
            PayloadSpec(name, argv("watcher"), own, stop_rank=_WATCHER, program=program, limits=limits.watcher)
        )
        for slot in range(source.scanners):
            own = scanner_config(config, side, source, slot)
            name = f"scanner.{source.name}.{slot}"
            wanted.append(
                PayloadSpec(
                    name,
                    argv("scanner"),
                    own,
                    stop_rank=_SCANNER,
                    group=f"scanner.{source.name}",
                    program=program,
                    limits=limits.scanner,
                )
            )
        for parser in source.parsers:
            own = parser_config(config, side, source, parser)
            name = f"parser.{source.name}.{parser.name}"
            wanted.append(
                PayloadSpec(
                    name,
                    argv("parser"),
                    own,
                    stop_rank=_PARSER,
                    group=f"{name}@{_way_of(program, parser)}",
                    program=program,
                    limits=limits.parser,
                )
            )
        if source.name in known and not superseded:
            own = syncer_config(config, side, known[source.name])
            name = f"syncer.{source.name}"
            wanted.append(
                PayloadSpec(
                    name,
                    argv("syncer"),
                    own,
                    stop_rank=_SYNCER,
                    group=name,
                    program=program,
                    limits=limits.syncer,
                )
            )
    return wanted
