"""
The payloads of Fusion, and where agents find the views: one view actor per view, and the query workers.

What this module does not do: start or validate them.
"""

from __future__ import annotations

import os
from typing import Any

from fustor.fusion.access import is_open
from fustor.fusion.config import FusionConfig, ViewConfig
from fustor.fusion.listening import (
    HTTP,
    acks_name,
    advertised_query,
    advertised_view,
    data_name,
    query_addresses,
    query_name,
    view_addresses,
)
from fustor.runtime.access import api_folder, own_digest
from fustor.runtime.daemon import command_of
from fustor.runtime.document import Software
from fustor.runtime.endpoint import WILDCARDS, Address
from fustor.runtime.payload import PayloadSpec
from fustor.runtime.program import program_folder
from protocols.messages import BUNDLES, Endpoints


def store_folder(config: FusionConfig, view: ViewConfig) -> str:
    """Where a view's tree store is."""
    return os.path.join(config.fusion.state, "views", view.name, "front")


def bundle_folder(config: FusionConfig) -> str:
    """Folder of the bundles that agents may fetch."""
    return os.path.join(config.fusion.state, "bundles")


def _keys(config: FusionConfig) -> dict[str, Any]:
    folder = os.path.join(config.fusion.state, "keys")
    return {"key_file": os.path.join(folder, "fusion.key"), "authorized": os.path.join(folder, "authorized")}


def view_config(config: FusionConfig, index: int) -> dict[str, Any]:
    """What the actor of view ``index`` is told."""
    view = config.views[index]
    data, acks = view_addresses(config, index)
    return {
        "view": view.name,
        "store": store_folder(config, view),
        "sources": [
            {"index": number, "agent": source.agent, "source": source.source, "mount": source.mount}
            for number, source in enumerate(view.sources)
        ],
        "data": data.zmq,
        "acks": acks.zmq,
        "data_listen": data_name(view.name),
        "acks_listen": acks_name(view.name),
        **_keys(config),
        "limits": config.limits.view,
    }


def query_config(config: FusionConfig, index: int) -> dict[str, Any]:
    """What query worker ``index`` is told."""
    return {
        "views": {view.name: store_folder(config, view) for view in config.views},
        "default_view": config.views[0].name,
        "listen": HTTP,
        "query": query_addresses(config)[index].zmq,
        "query_listen": query_name(index),
        **_keys(config),
        "api_keys": api_folder(config.fusion.state),
        "own_key": own_digest(config.fusion.state),
        "is_open": is_open(config),
        "bundles": bundle_folder(config),
        "lease_seconds": config.fusion.lease_seconds,
        "limits": config.limits.query,
    }


def payloads(config: FusionConfig, software: Software = Software()) -> list[PayloadSpec]:  # noqa: B008 - frozen
    """Every payload that is wanted, running ``software``."""
    limits = config.limits.process
    program = program_folder(config.fusion.state, software)
    views = [
        PayloadSpec(
            f"view.{view.name}",
            command_of("actors.view", program),
            view_config(config, index),
            # That of fs/tree only to keep it: nobody is refused as long as anybody of Fusion lives.
            fds=(data_name(view.name), acks_name(view.name), HTTP),
            group=f"view.{view.name}",
            program=program,
            limits=limits.view,
        )
        for index, view in enumerate(config.views)
    ]
    workers = [
        PayloadSpec(
            f"query.{i}",
            command_of("actors.query", program),
            query_config(config, i),
            fds=(HTTP, query_name(i)),
            program=program,
            limits=limits.query,
        )
        for i in range(config.fusion.query_workers)
    ]
    return views + workers


def agent_endpoints(config: FusionConfig, server_key: str) -> dict[str, tuple[Endpoints, ...]]:
    """
    Agent → where its sources send their data.

    An address on every interface is told as host ``*``: the agent puts in the host by which it reached us.
    """
    found: dict[str, tuple[Endpoints, ...]] = {}
    for index, view in enumerate(config.views):
        data, acks = (Address("*", a.port) if a.host in WILDCARDS else a for a in advertised_view(config, index))
        for source in view.sources:
            there = Endpoints(source.source, data.zmq, acks.zmq, server_key)
            found[source.agent] = (*found.get(source.agent, ()), there)
    query = advertised_query(config)
    where = (Address("*", query.port) if query.host in WILDCARDS else query).zmq
    return {agent: (*those, Endpoints(BUNDLES, where, where, server_key)) for agent, those in found.items()}
