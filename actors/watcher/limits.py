"""The bounds of a watcher."""

from __future__ import annotations

import attrs

from fustor.runtime.config import between


@attrs.frozen
class WatcherLimits:
    """
    Bounds of a watcher. Each is reported (a gauge or a reason) while it bites.

    Attributes:
        unapplied_bytes: items kept until they are applied; no new work is handed out above it.
        dirty_names: names waiting to be looked at; above it the fullest directories are listed whole instead.
        early_events: events kept for watches that no result has named yet; above it a gap is declared.
        names_per_work: names in one work message, at most.
        dirs_per_work: directories in one work message, at most.
        work_seconds: a work message may take; where they take longer they are made smaller.
        looks: paths that readers want looked at now, open at once; more are refused.
        links: names of hard-linked files kept to be looked at together.
        audit_dirs_per_second: the most that audits may look at.
        probe_seconds: how often a missing root, a refused watch or an unreadable directory is tried again.
        watermark_seconds: how often a watermark is sent when nothing else is.
        idle_watermark_seconds: the same once nothing has happened for eight of these periods.
    """

    unapplied_bytes: int = attrs.field(default=16 << 20, validator=between(1 << 14, 1 << 40))
    dirty_names: int = attrs.field(default=200_000, validator=between(16, 1 << 31))
    early_events: int = attrs.field(default=100_000, validator=between(16, 1 << 31))
    names_per_work: int = attrs.field(default=2_000, validator=between(1, 100000))
    dirs_per_work: int = attrs.field(default=32, validator=between(1, 4096))
    work_seconds: float = attrs.field(default=0.2, validator=between(0.001, 3600))
    looks: int = attrs.field(default=256, validator=between(1, 65536))
    links: int = attrs.field(default=100_000, validator=between(0, 1 << 31))
    audit_dirs_per_second: int = attrs.field(default=2_000, validator=between(1, 1000000))
    probe_seconds: float = attrs.field(default=2.0, validator=between(0.05, 3600))
    watermark_seconds: float = attrs.field(default=0.25, validator=between(0.01, 60))
    idle_watermark_seconds: float = attrs.field(default=1.0, validator=between(0.01, 60))
