"""
``fusion.toml``: what an operator may set, with defaults and bounds.

Each class is one table of the file and each attribute one key, so that a fault names the key as it was written. Reading
reports every fault at once. What this module does not do: create, open or connect anything.
"""

from __future__ import annotations

import os
from typing import Any

import attrs

from fustor.fusion.bundles import BundleStoreLimits
from fustor.fusion.events import FLEET
from fustor.fusion.listening import listening
from fustor.fusion.looks import LookLimits
from fustor.fusion.revisions import DesiredLimits
from fustor.runtime import checks
from fustor.runtime.cgroups import GroupLimits
from fustor.runtime.chain import AuditLimits
from fustor.runtime.config import between, read_toml, shorten, structure
from fustor.runtime.daemon import GuardianLimits
from fustor.runtime.source import NAME
from protocols.desired import ProbationPolicy
from protocols.errors import ConfigError
from protocols.happenings import EventLimits
from protocols.limits import LargeProcessLimits
from protocols.orders import OrderPolicy
from protocols.quarantine import QuarantinePolicy
from protocols.supervision import Policy


def _mount(instance: object, attribute: attrs.Attribute[str], value: str) -> None:
    component = value[1:]
    if not value.startswith("/") or "/" in component or "\0" in component or component in (".", ".."):
        raise ConfigError(attribute.name, shorten(value), '"/", or "/" and one path component, is accepted')
    if len(os.fsencode(component)) > 255:
        raise ConfigError(attribute.name, shorten(value), "a component of at most 255 bytes is accepted")


@attrs.frozen
class FusionSection:
    """
    ``[fusion]``

    Attributes:
        state: folder of all that Fusion keeps.
        control: endpoint for agents.
        admin: endpoint for people.
        http: address of fs/tree.
        http_without_keys: where others than this host reach it, everybody may ask as long as there is no API key.
        data: view k takes data on this port + 2k and acknowledges on the port above it.
        query: query worker i answers over zmq on this port + i.
        advertise_data, advertise_query: what agents are told in place of ``data`` and ``query``, where ports are
            forwarded; empty: those.
        query_workers: how many.
        heartbeat_seconds: interval that agents are told.
        heartbeats_per_second: the most of all agents together; of a large fleet the interval is longer.
        lease_seconds: a watermark older than this makes a source stale.
    """

    state: str = attrs.field(validator=checks.path)
    control: str = attrs.field(default="tcp://127.0.0.1:7700", validator=checks.endpoint)
    admin: str = attrs.field(default="tcp://127.0.0.1:7701", validator=checks.endpoint)
    http: str = attrs.field(default="127.0.0.1:8101", validator=checks.address)
    http_without_keys: bool = False
    data: str = attrs.field(default="tcp://127.0.0.1:7710", validator=checks.endpoint)
    query: str = attrs.field(default="tcp://127.0.0.1:7720", validator=checks.endpoint)
    advertise_data: str = attrs.field(default="", validator=checks.endpoint_or_empty)
    advertise_query: str = attrs.field(default="", validator=checks.endpoint_or_empty)
    query_workers: int = attrs.field(default=2, validator=between(1, 64))
    heartbeat_seconds: float = attrs.field(default=1.0, validator=between(0.1, 60))
    heartbeats_per_second: float = attrs.field(default=250.0, validator=between(1, 100_000))
    lease_seconds: float = attrs.field(default=3.0, validator=between(0.5, 3600))


@attrs.frozen
class ViewSource:
    """
    ``[[views.sources]]``: one source of one agent, in a view.

    Attributes:
        agent: id of the agent.
        source: the agent's name of it.
        mount: where its root appears: ``/``, or one component below it.
    """

    agent: str = attrs.field(validator=NAME)
    source: str = attrs.field(validator=NAME)
    mount: str = attrs.field(default="/", validator=_mount)


@attrs.frozen
class ViewConfig:
    """
    ``[[views]]``: one tree.

    Attributes:
        name: in URLs.
        sources: what it shows.
    """

    name: str = attrs.field(default="main", validator=NAME)
    sources: tuple[ViewSource, ...] = ()

    def __attrs_post_init__(self) -> None:
        checks.distinct("sources", [source.mount for source in self.sources], "mounts of one view")
        if len(self.sources) > 1 and any(source.mount == "/" for source in self.sources):
            raise ConfigError(
                "sources", "/", "one path component is accepted as mount where a view has several sources"
            )


@attrs.frozen
class FusionProcesses:
    """
    ``[limits.process]``: what each process of a kind may use.

    Attributes:
        view, query: the kinds.
    """

    view: LargeProcessLimits = attrs.field(factory=LargeProcessLimits)
    query: LargeProcessLimits = attrs.field(factory=LargeProcessLimits)


@attrs.frozen
class FusionLimits:
    """
    ``[limits]``: one table for each kind of process.

    Attributes:
        guardian: what happens when it is killed.
        shell: how payloads are supervised.
        orders: what is borne of orders.
        audit: size of the audit log.
        events: what is kept of what happened.
        bundles: what is kept of them.
        looks: what is kept of the looks that readers want.
        configuration: what is kept of agents' configurations.
        probation: when a program of Fusion's own payloads is good, and when it is bad.
        process: memory, CPU, descriptors and output of each process.
        groups: the control groups by which the kernel holds memory.
        quarantine: when work that kills whoever handles it is left alone.
        view, query: passed on to these payloads, which validate them.
    """

    guardian: GuardianLimits = attrs.field(factory=GuardianLimits)
    shell: Policy = attrs.field(factory=Policy)
    orders: OrderPolicy = attrs.field(factory=OrderPolicy)
    audit: AuditLimits = attrs.field(factory=AuditLimits)
    events: EventLimits = FLEET
    bundles: BundleStoreLimits = attrs.field(factory=BundleStoreLimits)
    looks: LookLimits = attrs.field(factory=LookLimits)
    configuration: DesiredLimits = attrs.field(factory=DesiredLimits)
    probation: ProbationPolicy = attrs.field(factory=ProbationPolicy)
    process: FusionProcesses = attrs.field(factory=FusionProcesses)
    groups: GroupLimits = attrs.field(factory=GroupLimits)
    quarantine: QuarantinePolicy = attrs.field(factory=QuarantinePolicy)
    view: dict[str, Any] = attrs.Factory(dict)
    query: dict[str, Any] = attrs.Factory(dict)


def _view_count(
    instance: object, attribute: attrs.Attribute[tuple[ViewConfig, ...]], value: tuple[ViewConfig, ...]
) -> None:
    if not 1 <= len(value) <= 64:
        raise ConfigError(attribute.name, len(value), "1 to 64 views are accepted")


def _default_views() -> tuple[ViewConfig, ...]:
    return (ViewConfig("main", (ViewSource("local", "data"),)),)


@attrs.frozen
class FusionConfig:
    """The whole file. Without ``[[views]]`` there is one, ``main``, that shows source ``data`` of agent ``local``."""

    fusion: FusionSection
    views: tuple[ViewConfig, ...] = attrs.field(factory=_default_views, validator=_view_count)
    limits: FusionLimits = attrs.field(factory=FusionLimits)

    def __attrs_post_init__(self) -> None:
        checks.distinct("views", [view.name for view in self.views], "names of views")
        checks.distinct(
            "views", [f"{s.agent}/{s.source}" for v in self.views for s in v.sources], "sources of all views"
        )
        taken: dict[int, str] = {}
        for use, address in listening(self).items():
            if address.port > 65535:
                raise ConfigError(use, address.port, "ports up to 65535 are accepted")
            if address.port in taken:
                raise ConfigError(use, address.port, f"another port is accepted, this one is for {taken[address.port]}")
            taken[address.port] = use


def build(data: dict[str, Any], *, file: str = "", base: str = ".") -> FusionConfig:
    """
    The configuration in ``data``, in which paths are made absolute from ``base``.

    Raises:
        ConfigFaults: every fault, each naming ``file`` and the key.
    """
    checks.absolute(data.get("fusion"), "state", base)
    return structure(FusionConfig, data, file=file)


def load(path: str) -> FusionConfig:
    """
    The configuration in the file ``path``; its relative paths are relative to the file.

    Raises:
        ConfigFaults: every fault of its content.
        ConfigError: it can't be read, or is no TOML.
    """
    return build(read_toml(path), file=path, base=os.path.dirname(os.path.abspath(path)))
