"""
``agent.toml``: what an operator may set, with defaults and bounds.

Each class is one table of the file and each attribute one key, so that a fault names the key as it was written. Reading
reports every fault at once. What this module does not do: create, open or connect anything, or judge patterns (the
scanner does, see ``fustor.agent.daemon``).
"""

from __future__ import annotations

import os
import re
from typing import Any

import attrs

from fustor.runtime import checks
from fustor.runtime.cgroups import GroupLimits
from fustor.runtime.chain import AuditLimits
from fustor.runtime.config import ConfigFaults, read_toml, shorten, structure
from fustor.runtime.daemon import GuardianLimits
from fustor.runtime.deny import DataDeny
from fustor.runtime.document import DataLimits, DataSide
from fustor.runtime.source import NAME, SourceConfig
from protocols.desired import ProbationPolicy
from protocols.errors import ConfigError
from protocols.happenings import EventLimits
from protocols.limits import LargeProcessLimits, ProcessLimits
from protocols.orders import FUSION, KINDS, OrderPolicy
from protocols.quarantine import QuarantinePolicy
from protocols.supervision import Policy

#: A CURVE key as text: 40 characters of Z85 (ZeroMQ RFC 32).
_Z85 = re.compile(r"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")


def _public_key(instance: object, attribute: attrs.Attribute[str], value: str) -> None:
    if value and not _Z85.fullmatch(value):
        raise ConfigError(attribute.name, shorten(value), "a public key of 40 Z85 characters is accepted")


def _source_count(
    instance: object, attribute: attrs.Attribute[tuple[SourceConfig, ...]], value: tuple[SourceConfig, ...]
) -> None:
    if not 1 <= len(value) <= 64:
        raise ConfigError(attribute.name, len(value), "1 to 64 sources are accepted")


@attrs.frozen
class AgentSection:
    """
    ``[agent]``

    Attributes:
        id: who this is; the key that Fusion knows must carry the same name.
        state: folder of all that the agent keeps.
        fusion: Fusion's control endpoint.
        fusion_key: Fusion's public key.
        fusion_key_file: a file that holds it; without any of the two ``<state>/keys/fusion.pub``.
    """

    state: str = attrs.field(validator=checks.path)
    id: str = attrs.field(default="local", validator=NAME)
    fusion: str = attrs.field(default="tcp://127.0.0.1:7700", validator=checks.endpoint)
    fusion_key: str = attrs.field(default="", validator=_public_key)
    fusion_key_file: str = ""

    def __attrs_post_init__(self) -> None:
        if self.id == FUSION:
            raise ConfigError("id", self.id, "another name is accepted: this one is Fusion's own")
        if self.fusion_key and self.fusion_key_file:
            raise ConfigError("fusion_key_file", self.fusion_key_file, "only one of it and fusion_key is accepted")


@attrs.frozen
class AgentProcesses:
    """
    ``[limits.process]``: what each process of a kind may use.

    Attributes:
        watcher, scanner, syncer, parser: the kinds.
    """

    watcher: LargeProcessLimits = attrs.field(factory=LargeProcessLimits)
    scanner: ProcessLimits = attrs.field(factory=ProcessLimits)
    syncer: ProcessLimits = attrs.field(factory=ProcessLimits)
    parser: ProcessLimits = attrs.field(factory=ProcessLimits)


@attrs.frozen
class AgentLimits:
    """
    ``[limits]``: one table for each kind of process.

    Attributes:
        guardian: what happens when it is killed.
        shell: how payloads are supervised.
        orders: what is borne of orders.
        audit: size of the audit log.
        probation: when a configuration of Fusion is good, and when it is bad.
        process: memory, CPU, descriptors and output of each process.
        events: what is kept of what happened.
        groups: the control groups by which the kernel holds memory.
        quarantine: when work that kills whoever handles it is left alone.
        watcher, scanner, syncer, parser: passed on to these payloads, which validate them.
    """

    guardian: GuardianLimits = attrs.field(factory=GuardianLimits)
    shell: Policy = attrs.field(factory=Policy)
    orders: OrderPolicy = attrs.field(factory=OrderPolicy)
    audit: AuditLimits = attrs.field(factory=AuditLimits)
    probation: ProbationPolicy = attrs.field(factory=ProbationPolicy)
    process: AgentProcesses = attrs.field(factory=AgentProcesses)
    events: EventLimits = attrs.field(factory=EventLimits)
    groups: GroupLimits = attrs.field(factory=GroupLimits)
    quarantine: QuarantinePolicy = attrs.field(factory=QuarantinePolicy)
    watcher: dict[str, Any] = attrs.Factory(dict)
    scanner: dict[str, Any] = attrs.Factory(dict)
    syncer: dict[str, Any] = attrs.Factory(dict)
    parser: dict[str, Any] = attrs.Factory(dict)


def _kinds(instance: object, attribute: attrs.Attribute[tuple[str, ...]], value: tuple[str, ...]) -> None:
    for index, kind in enumerate(value):
        if kind not in KINDS:
            raise ConfigError(f"{attribute.name}[{index}]", shorten(kind), f"one of {', '.join(KINDS)} is accepted")


@attrs.frozen(kw_only=True)
class DenySection(DataDeny):
    """
    ``[deny]``: what nobody may order or configure on this host, and what of its files is never shown, whatever Fusion
    says.

    Attributes:
        orders: kinds of orders.
        configuration: whether every configuration of Fusion is refused.
        software: whether every bundle is.
    """

    orders: tuple[str, ...] = attrs.field(default=(), validator=_kinds)
    configuration: bool = False
    software: bool = False

    def check(self, sources: tuple[SourceConfig, ...], file: str = "") -> None:
        """
        Raises:
            ConfigFaults: a root is in a denied directory.
        """
        faults = []
        for index, source in enumerate(sources):
            denied = self.covers(source.root)
            if denied:
                accepted = f"a directory outside {denied} is accepted, see [deny] in the configuration of this host"
                faults.append(ConfigError(f"sources[{index}].root", source.root, accepted, file))
        if faults:
            raise ConfigFaults(tuple(faults))

    @property
    def data(self) -> dict[str, Any]:
        """What the payloads are told of it."""
        return {field.name: getattr(self, field.name) for field in attrs.fields(DataDeny)}


@attrs.frozen
class AgentConfig:
    """The whole file."""

    agent: AgentSection
    sources: tuple[SourceConfig, ...] = attrs.field(validator=_source_count)
    deny: DenySection = attrs.field(factory=DenySection)
    limits: AgentLimits = attrs.field(factory=AgentLimits)

    @property
    def fusion_key_file(self) -> str:
        """The file with Fusion's key; empty when the key itself is configured."""
        section = self.agent
        return section.fusion_key_file or (
            "" if section.fusion_key else os.path.join(section.state, "keys", "fusion.pub")
        )

    @property
    def data_side(self) -> DataSide:
        """What the file says of the data side: it holds until Fusion desires something else."""
        limits = self.limits
        return DataSide(self.sources, DataLimits(limits.watcher, limits.scanner, limits.syncer, limits.parser))

    def __attrs_post_init__(self) -> None:
        checks.distinct("sources", [source.name for source in self.sources], "names of sources")
        self.deny.check(self.sources)


def build(data: dict[str, Any], *, file: str = "", base: str = ".") -> AgentConfig:
    """
    The configuration in ``data``, in which paths are made absolute from ``base``.

    Raises:
        ConfigFaults: every fault, each naming ``file`` and the key.
    """
    section = data.get("agent")
    checks.absolute(section, "state", base)
    checks.absolute(section, "fusion_key_file", base)
    sources = data.get("sources")
    for source in sources if isinstance(sources, list) else []:
        checks.absolute(source, "root", base)
    return structure(AgentConfig, data, file=file)


def load(path: str) -> AgentConfig:
    """
    The configuration in the file ``path``; its relative paths are relative to the file.

    Raises:
        ConfigFaults: every fault of its content.
        ConfigError: it can't be read, or is no TOML.
    """
    return build(read_toml(path), file=path, base=os.path.dirname(os.path.abspath(path)))
