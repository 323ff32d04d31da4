"""Start a scanner: ``python -P -m actors.scanner``, by a guardian; ``--check`` says whether a configuration is
right."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any, NoReturn

import attrs
import zmq

from actors.scanner.look import Looker, Place
from actors.scanner.mounts import Mounts
from actors.scanner.worker import ScannerLimits, Worker
from fustor.runtime.actor import Host, run_blocking_actor
from fustor.runtime.config import between, structure
from fustor.runtime.deny import DataDeny
from fustor.runtime.handling import note_of
from fustor.runtime.sockets import open_socket
from fustor.runtime.source import MAX_SCANNERS, SourceConfig
from fustor.selection.denied import denied
from fustor.selection.forbidden import Forbidden
from fustor.selection.patterns import compile_patterns
from protocols.codec import DATA_LIMITS


@attrs.frozen
class ScannerConfig:
    """
    What a scanner is told: its source, its number among the source's scanners, what the host denies, a digest of what
    decides which entries belong to the source, its limits, and what it must not touch (see
    :mod:`fustor.selection.forbidden`). What was released needs no asking: ``again`` is not used.
    """

    source: SourceConfig
    slot: int = attrs.field(validator=between(0, MAX_SCANNERS - 1))
    deny: DataDeny = attrs.Factory(DataDeny)
    rules: str = ""
    limits: ScannerLimits = attrs.Factory(ScannerLimits)
    quarantined: tuple[str, ...] = ()
    again: tuple[str, ...] = ()


def build(config: dict[str, Any]) -> Callable[[Host], None]:
    """
    The scanner for one configuration.

    Raises:
        ConfigFaults, ConfigError: it can't be accepted.
    """
    told = structure(ScannerConfig, config)
    takes = compile_patterns(told.source)
    forbidden = Forbidden.of(told.quarantined)
    root = os.fsencode(told.source.root)
    denied(told.deny, root)  # refuses a source that lies in a denied directory

    def run(host: Host) -> None:
        for counter in ("entries", "works", "stuck", "refused"):
            host.counters.setdefault(counter, 0)
        context = zmq.Context()
        name = told.source.name

        def open_work(endpoint: str) -> zmq.Socket[bytes]:
            return open_socket(context, zmq.PULL, connect=endpoint, hwm=64, max_size=DATA_LIMITS.size)

        found = open_socket(context, zmq.PUSH, connect=f"ipc://found.{name}", hwm=64)
        mounts = Mounts(root)
        left_out = denied(told.deny, root)

        def make_looker(add_watch: Callable[[int], int], place: Place) -> Looker:
            return Looker(
                root=root,
                takes=takes,
                one_filesystem=told.source.one_filesystem,
                mounts=mounts,
                add_watch=add_watch,
                place=place,
                denied=left_out,
                forbidden=forbidden,
            )

        note = note_of(host.name, host.log)
        worker = Worker(
            told.slot, open_work, found, f"inotify.{name}", make_looker, host, told.limits, rules=told.rules, note=note
        )
        worker.start()

        def adjust(config: dict[str, Any]) -> bool:
            """Bounds, and what of a source is no scanner's business, change while it works."""
            new = structure(ScannerConfig, config)
            source = attrs.evolve(
                new.source,
                scanners=told.source.scanners,
                fast_audit_seconds=told.source.fast_audit_seconds,
                full_audit_seconds=told.source.full_audit_seconds,
            )
            if attrs.evolve(new, source=source, limits=told.limits) != told:
                return False
            worker.adjust(new.limits)
            return True

        host.adjust = adjust
        host.ready(source=name)
        while not host.stop_requested.wait(worker.period):
            worker.check(time.monotonic())
        if worker.stop(1.0):
            mounts.close()
            found.close()
            context.term()

    return run


def start() -> NoReturn:
    """Be a scanner; ends the process."""
    run_blocking_actor("scanner", build)


if __name__ == "__main__":
    start()
