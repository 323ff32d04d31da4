"""What a parser is told."""

from __future__ import annotations

import attrs

from fustor.runtime.config import between
from fustor.runtime.deny import DataDeny
from fustor.runtime.source import ParserConfig, SourceConfig


@attrs.frozen
class ParserLimits:
    """
    ``[limits.parser]``

    Attributes:
        files_per_message: of one directory to the watcher.
        cache_bytes: on the disk, of what was read from files; above it everything is read again.
        nice: priority that reading files yields to everything else, see nice(2).
    """

    files_per_message: int = attrs.field(default=256, validator=between(1, 10_000))
    cache_bytes: int = attrs.field(default=4 << 30, validator=between(1 << 20, 1 << 46))
    nice: int = attrs.field(default=10, validator=between(0, 19))


@attrs.frozen
class ParserActorConfig:
    """
    Its source, its rule, the source's state folder, what the host denies, its limits; and what must not be touched, and
    what was released (see :mod:`fustor.selection.forbidden`).
    """

    source: SourceConfig
    parser: ParserConfig
    state: str
    deny: DataDeny = attrs.Factory(DataDeny)
    limits: ParserLimits = attrs.Factory(ParserLimits)
    quarantined: tuple[str, ...] = ()
    again: tuple[str, ...] = ()
