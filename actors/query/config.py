"""
What a query actor may be told, checked as a whole before anything is opened.
"""

from __future__ import annotations

from typing import Any

import attrs

from actors.query.body import BodyLimits
from actors.query.http.server import HttpLimits
from actors.query.jobs import JobLimits
from actors.query.params import Waits
from actors.query.spool import Room
from fustor.runtime.config import between, structure
from protocols.errors import ConfigError


@attrs.frozen(kw_only=True)
class QueryLimits:
    """
    Limits of one worker; names as in the configuration.

    Attributes:
        http_url_bytes, http_header_bytes, http_body_bytes: of a request.
        http_header_seconds: from the first byte of a request to its last.
        http_idle_seconds: between requests.
        http_stall_seconds: a reader that takes nothing for so long is dropped.
        http_connections: at once.
        http_gzip_bytes: longer bodies are coded when the client accepts gzip.
        query_whole_bytes: records of an answer that is sent whole.
        query_bundle_bytes_per_second: of a bundle, to one agent.
        query_slice_bytes: of a long answer, at once; the size of a body frame over zmq.
        query_wait_seconds: how long the copying of a long answer, and so its snapshot, may wait for a slower reader.
        query_cache_bytes: of rendered answers that are kept for when they are asked for again, for each view; 0: none.
        query_spool_bytes: of copied records that wait in memory for a slow reader, for each long answer.
        query_spools_bytes: the same of all long answers together.
        query_spool_folder: where what exceeds that goes; empty for the system's folder for temporary files.
        query_peer_seconds: a zmq peer that takes nothing for so long is dropped.
        query_requests: zmq requests under way at once.
        query_restore_seconds: how long a worker that begins waits for views to restore their stores from copies, before
            it answers.
        query_looks: looks that readers want, under way or waiting at once.
        query_look_sources: of one such look.
        query_look_seconds: after which it is given up.
        query_look_wait_seconds: how long an answer waits for it when nothing is said.
        query_look_most_seconds: how long it may, when something is.
        query_unknown_seconds: how long it waits for a look that nobody asked for, where nothing is known of a path;
            0: there is none.
        search_results, search_default_results: of one search, at most, and when nothing is said.
    """

    http_url_bytes: int = attrs.field(default=8 << 10, validator=between(256, 1 << 20))
    http_header_bytes: int = attrs.field(default=16 << 10, validator=between(256, 1 << 20))
    http_body_bytes: int = attrs.field(default=64 << 10, validator=between(0, 64 << 20))
    http_header_seconds: float = attrs.field(default=10.0, validator=between(0.1, 3600))
    http_idle_seconds: float = attrs.field(default=75.0, validator=between(0.1, 86400))
    http_stall_seconds: float = attrs.field(default=30.0, validator=between(0.1, 3600))
    http_connections: int = attrs.field(default=10_000, validator=between(1, 1_000_000))
    http_gzip_bytes: int = attrs.field(default=1 << 10, validator=between(0, 1 << 30))
    query_whole_bytes: int = attrs.field(default=64 << 10, validator=between(1, 16 << 20))
    query_slice_bytes: int = attrs.field(default=256 << 10, validator=between(1 << 10, 16 << 20))
    query_bundle_bytes_per_second: float = attrs.field(default=50e6, validator=between(1e3, 1e12))
    query_wait_seconds: float = attrs.field(default=1.0, validator=between(0, 3600))
    query_cache_bytes: int = attrs.field(default=16 << 20, validator=between(0, 1 << 34))
    query_spool_bytes: int = attrs.field(default=16 << 20, validator=between(0, 1 << 34))
    query_spools_bytes: int = attrs.field(default=64 << 20, validator=between(0, 1 << 36))
    query_spool_folder: str = ""
    query_peer_seconds: float = attrs.field(default=30.0, validator=between(0.1, 3600))
    query_requests: int = attrs.field(default=256, validator=between(1, 65536))
    query_restore_seconds: float = attrs.field(default=10.0, validator=between(0, 60))
    query_looks: int = attrs.field(default=64, validator=between(1, 65536))
    query_look_sources: int = attrs.field(default=16, validator=between(1, 1024))
    query_look_seconds: float = attrs.field(default=600.0, validator=between(1, 86400))
    query_look_wait_seconds: float = attrs.field(default=5.0, validator=between(0, 3600))
    query_look_most_seconds: float = attrs.field(default=60.0, validator=between(0, 3600))
    query_unknown_seconds: float = attrs.field(default=1.0, validator=between(0, 3600))
    search_results: int = attrs.field(default=1_000_000, validator=between(1, 1 << 40))
    search_default_results: int = attrs.field(default=10_000, validator=between(1, 1 << 40))

    def http(self) -> HttpLimits:
        """Those of the HTTP server."""
        return HttpLimits(
            url_bytes=self.http_url_bytes,
            header_bytes=self.http_header_bytes,
            body_bytes=self.http_body_bytes,
            header_seconds=self.http_header_seconds,
            idle_seconds=self.http_idle_seconds,
            stall_seconds=self.http_stall_seconds,
            connections=self.http_connections,
            gzip_bytes=self.http_gzip_bytes,
        )

    def jobs(self) -> JobLimits:
        """Those of looks."""
        return JobLimits(self.query_looks, self.query_look_sources, self.query_look_seconds)

    def waits(self) -> Waits:
        """How long answers wait for looks."""
        return Waits(self.query_look_wait_seconds, self.query_look_most_seconds, self.query_unknown_seconds)

    def body(self) -> BodyLimits:
        """Those of bodies."""
        return BodyLimits(
            whole_bytes=self.query_whole_bytes,
            slice_bytes=self.query_slice_bytes,
            wait_seconds=self.query_wait_seconds,
            spool_memory_bytes=self.query_spool_bytes,
            spool_folder=self.query_spool_folder or None,
            room=Room(self.query_spools_bytes),
        )


@attrs.frozen(kw_only=True)
class QueryConfig:
    """
    Attributes:
        views: path of the tree store by name of the view; the store need not exist yet.
        default_view: which is meant when none is named.
        listen: name of the inherited listening socket; empty: no HTTP.
        query: zmq endpoint to bind; empty: no zmq.
        query_listen: name of the inherited socket that listens there already; empty: there is none.
        key_file: key pair of this side, for the zmq endpoint when it is tcp.
        authorized: folder of the keys that may connect.
        api_keys: folder of the keys of those who may ask over HTTP; empty: everybody may.
        own_key: digest of the key of this host's own programs; empty: there is none.
        is_open: everybody may ask as long as there has been no key.
        bundles: folder of the bundles that agents may fetch; empty: there are none.
        lease_seconds: a watermark older than this makes a source stale.
        limits: see QueryLimits.
    """

    views: dict[str, str]
    default_view: str
    listen: str = "http"
    query: str = ""
    query_listen: str = ""
    key_file: str = ""
    authorized: str = ""
    api_keys: str = ""
    own_key: str = ""
    is_open: bool = False
    bundles: str = ""
    lease_seconds: float = attrs.field(default=3.0, validator=between(0.1, 86400))
    limits: QueryLimits = QueryLimits()

    def __attrs_post_init__(self) -> None:
        if self.default_view not in self.views:
            accepted = f"the name of a configured view: {', '.join(self.views) or 'there is none'}"
            raise ConfigError("default_view", self.default_view, accepted)
        for name in self.views:
            if not name.isascii() or not name.isprintable() or not name or "/" in name:
                raise ConfigError("views", name, "names of printable ASCII without a slash")
        for field in ("key_file", "authorized"):
            if self.query and not getattr(self, field):
                raise ConfigError(field, "", "a path (the zmq endpoint is encrypted)")


def parse(config: dict[str, Any]) -> QueryConfig:
    """
    The configuration in plain data.

    Raises:
        ConfigFaults: all that is wrong with it.
    """
    return structure(QueryConfig, config)
