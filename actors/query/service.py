"""
The query actor put together: stores, HTTP and zmq in one process, from its configuration until it is stopped.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import trio
import zmq

from actors.query.answer import Answer, Later
from actors.query.api import Api
from actors.query.bundles import OPERATION, Bundles
from actors.query.config import QueryConfig, parse
from actors.query.http.request import Request
from actors.query.http.server import HttpServer
from actors.query.jobs import Jobs
from actors.query.router import Ask, Router
from actors.query.stores import Stores
from fustor.runtime.access import ApiKeys
from fustor.runtime.actor import Host
from fustor.runtime.keys import AuthorizedKeys, load_secret
from fustor.runtime.mesh import MeshSocket
from fustor.runtime.pace import next_multiple
from fustor.runtime.rlimits import raise_descriptor_limit
from fustor.runtime.sockets import ServerCurve, open_socket
from fustor.runtime.zap import Fence, serve_zap

#: Who may ask over zmq.
ROLES = frozenset({"deployer", "operator", "observer", "agent"})
#: Parts of an answer that may wait for one peer.
_QUEUED_PARTS = 16
#: Descriptors that are not connections: stores, sockets, spools.
_OTHER_DESCRIPTORS = 128
_GAUGE_SECONDS = 1.0


def build(config: dict[str, Any]) -> Callable[[Host], Awaitable[None]]:
    """
    The actor for ``config``.

    Raises:
        ConfigFaults, ConfigError: it is refused.
    """
    checked = parse(config)
    if checked.query:
        load_secret(checked.key_file)

    async def run(host: Host) -> None:
        await serve(host, checked)

    return run


async def serve(host: Host, config: QueryConfig) -> None:
    """
    Serve until ``host.stop_requested``; what is under way then is finished, unless cancelled.

    Raises:
        ConfigError: a listening socket that is named was not inherited.
        MachineError: the zmq endpoint can't be bound.
    """
    limits = config.limits
    stores = Stores(
        config.views, config.default_view, config.lease_seconds, host.counters, host.log, limits.query_cache_bytes
    )
    keys = ApiKeys(config.api_keys, own=config.own_key, is_open=config.is_open) if config.api_keys else None
    jobs = Jobs(host.say, limits.jobs(), host.counters)
    host.on_look = jobs.hear
    api = Api(stores, limits.body(), limits.search_results, limits.search_default_results, keys, jobs, limits.waits())
    descriptors = raise_descriptor_limit()
    if limits.http_connections + _OTHER_DESCRIPTORS > descriptors:
        host.log.warning(
            "http_connections is %d, but this process may have %d descriptors; raise its limit (LimitNOFILE)",
            limits.http_connections,
            descriptors,
        )
    try:
        with trio.move_on_after(limits.query_restore_seconds):
            await stores.wait_restored()
        async with trio.open_nursery() as nursery:
            facts = {}
            if config.query:
                facts["endpoint"] = await nursery.start(_serve_zmq, host, config, api)
            server = None
            inherited = host.inherited(config.listen)
            if inherited is not None:
                # A duplicate, so that the inherited one stays for the next configuration.
                listener = socket.socket(fileno=os.dup(inherited))

                def answer(request: Request) -> Answer | Later:
                    return api.ask_target(request.target, request.if_none_match.decode("latin-1"), request.api_key)

                server = HttpServer(answer, limits.http(), host.counters, host.log)
                nursery.start_soon(_serve_http, server, listener, host.stop_requested, nursery)
            nursery.start_soon(_measure, host, stores, server)
            nursery.start_soon(jobs.run)
            host.ready(**facts)
            await host.stop_requested.wait()
            jobs.close()
            if server is None:
                nursery.cancel_scope.cancel()
    finally:
        stores.close()


async def _serve_http(server: HttpServer, listener: socket.socket, stop: trio.Event, nursery: trio.Nursery) -> None:
    with listener:
        await server.serve(listener, stop)
    nursery.cancel_scope.cancel()


def _asker(api: Api, bundles: Bundles) -> Ask:
    """What is asked over zmq: of views, and for bundles."""

    def ask(operation: str, view: str, params: Mapping[str, bytes], if_none_match: str) -> Answer | Later:
        return bundles.ask(params) if operation == OPERATION else api.ask(operation, view, params, if_none_match)

    return ask


async def _serve_zmq(
    host: Host, config: QueryConfig, api: Api, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED
) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        async with trio.open_nursery() as nursery:
            fence = Fence(AuthorizedKeys(config.authorized))
            await nursery.start(serve_zap, context, fence.authorized, ROLES)
            raw = open_socket(
                context,
                zmq.ROUTER,
                bind=config.query,
                hwm=_QUEUED_PARTS,
                curve=ServerCurve(load_secret(config.key_file).secret, ROLES),
                held=host.inherited(config.query_listen),
            )
            mesh = MeshSocket(raw)
            try:
                task_status.started(raw.getsockopt_string(zmq.LAST_ENDPOINT))
                router = Router(
                    mesh,
                    _asker(api, Bundles(config.bundles, config.limits.query_bundle_bytes_per_second)),
                    host.counters,
                    host.log,
                    admit=fence.user_of,
                    requests=config.limits.query_requests,
                    peer_seconds=config.limits.query_peer_seconds,
                    slice_bytes=config.limits.query_slice_bytes,
                )
                await router.serve()
            finally:
                mesh.close()
    finally:
        context.destroy(linger=0)


async def _measure(host: Host, stores: Stores, server: HttpServer | None) -> None:
    """Keep the gauges."""
    while True:
        if server is not None:
            host.gauges["http_connections"] = server.connections
        for name, store in stores.views.items():
            lease = store.acquire()
            host.gauges[f"generation.{name}"] = lease.face.generation if lease else 0
            if lease:
                lease.close()
        await next_multiple(_GAUGE_SECONDS)
