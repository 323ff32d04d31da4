"""
A document: the whole configuration of an agent's data side, as people write it and Fusion keeps it.

::

    sources = []            # required: an empty list means that nothing is indexed
    [[sources]]             # or some of them, as in agent.toml
    [limits.watcher]        # limits of the data side: watcher, scanner, syncer, parser
    [software]              # which program is run; empty or left out: what is installed on the host
    bundle = "<digest>"     # by its payloads: of a bundle that Fusion has
    shell = "<digest>"      # by its control actor and guardian
    [deny]                  # no: what a host denies, its identity, keys, endpoints and supervision are its own

It is TOML, at most :data:`MOST_BYTES`, and always whole: what it does not say has its default, not what was before.
What this module does not do: know what a host denies (``fustor.agent.config`` does), or keep anything.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterable
from typing import Any, TypeVar

import attrs

from fustor.runtime import checks
from fustor.runtime.config import Shown, matching, structure
from fustor.runtime.daemon import check_payload
from fustor.runtime.source import ParserConfig, SourceConfig, told
from protocols.errors import ConfigError
from protocols.messages import CHUNK_BYTES

T = TypeVar("T")
#: Bytes of a document: it travels in one message.
MOST_BYTES = CHUNK_BYTES
#: Sources of one agent.
MOST_SOURCES = 64


def _source_count(
    instance: object, attribute: attrs.Attribute[tuple[SourceConfig, ...]], value: tuple[SourceConfig, ...]
) -> None:
    if len(value) > MOST_SOURCES:
        raise ConfigError(attribute.name, len(value), f"at most {MOST_SOURCES} sources are accepted")


@attrs.frozen
class DataLimits:
    """``[limits]``: tables that are passed on to the payloads, which validate them."""

    watcher: dict[str, Any] = attrs.Factory(dict)
    scanner: dict[str, Any] = attrs.Factory(dict)
    syncer: dict[str, Any] = attrs.Factory(dict)
    parser: dict[str, Any] = attrs.Factory(dict)


_digest = matching("([0-9a-f]{64})?", "the digest of a bundle, or nothing,")


@attrs.frozen
class Software:
    """
    ``[software]``: which programs are run, by the digests of their bundles; empty: what is installed.

    Attributes:
        bundle: of the payloads.
        shell: of the control actor and the guardian.
    """

    bundle: str = attrs.field(default="", validator=_digest)
    shell: str = attrs.field(default="", validator=_digest)

    def lines(self) -> list[str]:
        """As TOML, without what is installed."""
        return [f'{name} = "{digest}"' for name, digest in attrs.asdict(self).items() if digest]


@attrs.frozen
class DataSide:
    """
    What a document says.

    Attributes:
        sources: what is indexed; may be empty.
        limits: of the payloads.
        software: that is run.
    """

    sources: tuple[SourceConfig, ...] = attrs.field(validator=_source_count)
    limits: DataLimits = attrs.field(factory=DataLimits)
    software: Software = attrs.field(factory=Software)

    def __attrs_post_init__(self) -> None:
        checks.distinct("sources", [source.name for source in self.sources], "names of sources")


def digest_of(text: bytes) -> str:
    """Of a document's bytes; never empty."""
    return hashlib.blake2b(text, digest_size=16).hexdigest()


def read(cls: type[T], text: bytes, file: str = "") -> T:
    """
    What the document in ``text`` says, as an instance of attrs class ``cls``.

    Args:
        file: named in each fault.

    Raises:
        ConfigError: it is too big, or no TOML.
        ConfigFaults: everything else that is wrong with it.
    """
    if len(text) > MOST_BYTES:
        raise ConfigError("(document)", Shown(f"{len(text)} bytes"), f"at most {MOST_BYTES} bytes are accepted", file)
    try:
        data = tomllib.loads(text.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError("(document)", Shown("…"), f"it is not TOML: {error}", file) from None
    return structure(cls, data, file=file)


def parse(text: bytes, file: str = "") -> DataSide:
    """The document of an agent; as :func:`read`."""
    return read(DataSide, text, file)


def check(side: DataSide) -> list[str]:
    """
    What the payloads would refuse, asked in processes of their own, for a bad pattern may crash them. Blocks.

    Returns:
        Faults, one a line, naming the source or table; none when all is accepted.
    """
    faults: list[str] = []
    limits, plain = side.limits, SourceConfig(name="none", root="/")
    if limits.scanner:
        asked = {"source": told(plain), "slot": 0, "limits": limits.scanner}
        faults += _named(check_payload("actors.scanner", asked), "", "limits.scanner")
    for index, source in enumerate(side.sources):
        if source.include or source.exclude or source.include_regex or source.exclude_regex:
            asked = {"source": told(source), "slot": 0, "limits": {}}
            faults += _named(check_payload("actors.scanner", asked), f"sources[{index}]", "")
        for place, parser in enumerate(source.parsers):
            asked = {"source": told(plain), "parser": attrs.asdict(parser), "state": "/", "limits": {}}
            said = check_payload("actors.parser", asked)
            if side.software.bundle:
                # The format may be one of the bundle; whoever runs that says whether it is.
                said = [fault for fault in said if not fault.startswith("format ")]
            faults += [f"sources[{index}].parsers[{place}].{fault}" for fault in said]
    if limits.parser:
        asked = {
            "source": told(plain),
            "parser": {"name": "none", "format": "mime"},
            "state": "/",
            "limits": limits.parser,
        }
        faults += _named(check_payload("actors.parser", asked), "", "limits.parser")
    if limits.watcher:
        asked = {"source": told(plain), "state": "/", "limits": limits.watcher}
        faults += _named(check_payload("actors.watcher", asked), "", "limits.watcher")
    if limits.syncer:
        faults += _named(check_payload("actors.syncer", _SYNCER | {"limits": limits.syncer}), "", "limits.syncer")
    return faults


#: What a syncer is told beside its limits; nothing is connected for a check.
_SYNCER = {
    "agent": "agent",
    "source": "none",
    "data": "tcp://127.0.0.1:1",
    "acks": "tcp://127.0.0.1:2",
    "server_key": "",
    "key_file": "",
}


def _named(faults: Iterable[str], source: str, limits: str) -> list[str]:
    """A payload speaks of its own configuration: its ``source`` and ``limits`` have other names in a document."""
    named = []
    for fault in faults:
        key = fault.split(" ", 1)[0]
        if key.startswith("limits."):
            fault = f"{limits}.{fault[len('limits.') :]}"
        elif key.partition("[")[0] in _PATTERNS:
            fault = f"{source}.{fault}"
        named.append(fault)
    return named


#: Keys of a source that scanners name without it.
_PATTERNS = frozenset({"include", "exclude", "include_regex", "exclude_regex"})


def render(side: DataSide) -> str:
    """``side`` as TOML that :func:`parse` reads to the same; defaults are left out."""
    lines = [] if side.sources else ["sources = []"]
    for source in side.sources:
        lines += ["[[sources]]"]
        for field in attrs.fields(SourceConfig):
            value = getattr(source, field.name)
            if value != field.default and field.name != "parsers":
                lines.append(f"{field.name} = {_toml(value)}")
        for parser in source.parsers:
            lines += ["", "[[sources.parsers]]"]
            for field in attrs.fields(ParserConfig):
                value = getattr(parser, field.name)
                if value != field.default and value != {}:
                    lines.append(f"{field.name} = {_toml(value)}")
        lines.append("")
    for table in attrs.fields(DataLimits):
        values: dict[str, Any] = getattr(side.limits, table.name)
        if values:
            lines += [f"[limits.{table.name}]", *(f"{key} = {_toml(value)}" for key, value in values.items()), ""]
    if side.software.lines():
        lines += ["[software]", *side.software.lines(), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _toml(value: Any) -> str:
    """A value of a configuration as TOML. Its strings are JSON's, except that DEL must be escaped too."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{json.dumps(key)} = {_toml(item)}' for key, item in value.items())}}}"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
