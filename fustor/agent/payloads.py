"""
The payloads an agent wants: per source a watcher, its scanners, and a syncer once Fusion has said where to send.

What this module does not do: start or validate them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any

import attrs

from fustor.agent.config import AgentConfig
from fustor.runtime.endpoint import parse_endpoint
from fustor.runtime.payload import PayloadSpec
from fustor.runtime.source import SourceConfig
from protocols.messages import Endpoints

#: Stop order: who makes items first, who delivers them last.
_WATCHER, _SCANNER, _SYNCER = 0, 1, 2


def _argv(kind: str) -> tuple[str, ...]:
    return (sys.executable, "-P", "-m", f"actors.{kind}")


def watcher_config(config: AgentConfig, source: SourceConfig) -> dict[str, Any]:
    """What the watcher of ``source`` is told."""
    state = os.path.join(config.agent.state, "sources", source.name)
    return {"source": attrs.asdict(source), "state": state, "deny": config.deny.data, "limits": config.limits.watcher}


def scanner_config(config: AgentConfig, source: SourceConfig, slot: int) -> dict[str, Any]:
    """What scanner ``slot`` of ``source`` is told."""
    return {"source": attrs.asdict(source), "slot": slot, "deny": config.deny.data, "limits": config.limits.scanner}


def syncer_config(config: AgentConfig, endpoints: Endpoints) -> dict[str, Any]:
    """What the syncer of a source is told. A wildcard host in ``endpoints`` is the host where Fusion was reached."""
    host = parse_endpoint(config.agent.fusion).host
    return {
        "agent": config.agent.id,
        "source": endpoints.source,
        "data": parse_endpoint(endpoints.data).reached_by(host).zmq,
        "acks": parse_endpoint(endpoints.acks).reached_by(host).zmq,
        "server_key": endpoints.server_key,
        "key_file": os.path.join(config.agent.state, "keys", "agent.key"),
        "limits": config.limits.syncer,
    }


def payloads(config: AgentConfig, endpoints: Iterable[Endpoints], *, superseded: bool = False) -> list[PayloadSpec]:
    """
    Every payload that is wanted.

    Args:
        config: the agent's configuration.
        endpoints: where each source sends its data, as far as Fusion has said.
        superseded: a later session of this agent exists, so nothing may be sent.

    Raises:
        ValueError: endpoints that are no tcp endpoints.
    """
    known = {e.source: e for e in endpoints}
    limits = config.limits.process
    wanted: list[PayloadSpec] = []
    for source in config.sources:
        told = watcher_config(config, source)
        name = f"watcher.{source.name}"
        wanted.append(PayloadSpec(name, _argv("watcher"), told, stop_rank=_WATCHER, limits=limits.watcher))
        for slot in range(source.scanners):
            told = scanner_config(config, source, slot)
            name = f"scanner.{source.name}.{slot}"
            wanted.append(
                PayloadSpec(
                    name,
                    _argv("scanner"),
                    told,
                    stop_rank=_SCANNER,
                    group=f"scanner.{source.name}",
                    limits=limits.scanner,
                )
            )
        if source.name in known and not superseded:
            told = syncer_config(config, known[source.name])
            name = f"syncer.{source.name}"
            wanted.append(PayloadSpec(name, _argv("syncer"), told, stop_rank=_SYNCER, group=name, limits=limits.syncer))
    return wanted
