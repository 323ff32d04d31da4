"""What a view actor may be told, checked as a whole before anything is opened."""

from __future__ import annotations

import attrs

from fustor.runtime.checks import distinct
from fustor.runtime.config import between
from fustor.treestore.writer import SourceSpec
from protocols.errors import ConfigError


def _mount(instance: object, attribute: attrs.Attribute[str], value: str) -> None:
    if value != "/" and (not value.startswith("/") or value.count("/") != 1 or value[1:] in ("", ".", "..")):
        raise ConfigError(attribute.name, value, "'/' or one path component, '/name', is accepted")


@attrs.frozen
class ViewSource:
    """
    Attributes:
        index: number of the source within the view; its records in the store go by it.
        agent, source: whose it is.
        mount: where in the view its root is.
    """

    index: int = attrs.field(validator=between(0, 1023))
    agent: str
    source: str
    mount: str = attrs.field(default="/", validator=_mount)

    def spec(self) -> SourceSpec:
        """As the writer wants it."""
        return SourceSpec(self.index, self.agent, self.source, self.mount)


@attrs.frozen
class ViewLimits:
    """
    Attributes:
        map_bytes: address space for the store, the most that it can grow to; the file is sparse.
        readers: read transactions at a time, of all processes together.
        commit_seconds: a transaction takes in what is queued for at most so long.
        commit_bytes: and at most so many bytes of items.
        ack_seconds: acknowledgements are repeated this often, for a publisher may lose them.
        ack_gap_seconds: and are at least so far apart.
        retry_seconds: pause after the disk was full.
        queue: batches waiting in the socket, for each syncer.
        batch_bytes: largest frame of a batch; a peer that sends more is disconnected.
        copy_seconds: a synced copy of the store is made so often, when the tree has changed; 0: never.
        copy_reserve_bytes: what must be free on the disk besides, else no copy is begun.
        copy_growth_bytes: a copy during which the store grows by more is given up.
        compact_share: a store of which more is free is replaced by its compact copy; 1: never.
        compact_bytes: and in which at least so much is free.
    """

    map_bytes: int = attrs.field(default=64 << 30, validator=between(1 << 20, 1 << 46))
    readers: int = attrs.field(default=512, validator=between(1, 65536))
    commit_seconds: float = attrs.field(default=0.03, validator=between(0.001, 10))
    commit_bytes: int = attrs.field(default=16 << 20, validator=between(1, 1 << 32))
    ack_seconds: float = attrs.field(default=1.0, validator=between(0.01, 60))
    ack_gap_seconds: float = attrs.field(default=0.005, validator=between(0, 60))
    retry_seconds: float = attrs.field(default=0.5, validator=between(0.01, 3600))
    queue: int = attrs.field(default=16, validator=between(1, 10_000))
    batch_bytes: int = attrs.field(default=64 << 20, validator=between(1 << 10, 1 << 31))
    copy_seconds: float = attrs.field(default=300.0, validator=between(0, 86400))
    copy_reserve_bytes: int = attrs.field(default=256 << 20, validator=between(0, 1 << 46))
    copy_growth_bytes: int = attrs.field(default=1 << 30, validator=between(0, 1 << 46))
    compact_share: float = attrs.field(default=0.5, validator=between(0.05, 1))
    compact_bytes: int = attrs.field(default=64 << 20, validator=between(0, 1 << 46))


@attrs.frozen
class ViewConfig:
    """
    Attributes:
        view: its name.
        store: where its tree store is: a link, made here, in a folder of its own.
        sources: whose items it takes.
        data, acks: zmq endpoints to bind.
        data_listen, acks_listen: names of inherited sockets that listen there already; empty: there are none.
        key_file: key pair of this side.
        authorized: folder of the keys that may connect.
        limits: see ViewLimits.
        quarantined, again: items, see :mod:`actors.view.forbidden`.
    """

    view: str
    store: str
    sources: tuple[ViewSource, ...]
    data: str
    acks: str
    key_file: str
    authorized: str
    data_listen: str = ""
    acks_listen: str = ""
    limits: ViewLimits = attrs.Factory(ViewLimits)
    quarantined: tuple[str, ...] = ()
    again: tuple[str, ...] = ()

    def __attrs_post_init__(self) -> None:
        distinct("sources", [str(source.index) for source in self.sources], "indexes")
        distinct("sources", [f"{source.agent}/{source.source}" for source in self.sources], "agent and source")
        distinct("sources", [source.mount for source in self.sources], "mounts")
        if len(self.sources) > 1 and any(source.mount == "/" for source in self.sources):
            accepted = "'/' is accepted for a single source, '/name' for each of several"
            raise ConfigError("sources", "/", accepted)
