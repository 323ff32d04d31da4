"""
Programs that payloads run beside the installed one: where they are on a host, and who brings them.

What this module does not do: bring, verify or choose one.
"""

from __future__ import annotations

import os
from typing import Any

from fustor.runtime.daemon import command_of
from fustor.runtime.document import Software
from fustor.runtime.payload import PayloadSpec
from protocols.limits import ProcessLimits

#: The payload that brings bundles, while one is needed.
COURIER = "courier"


def versions_folder(state: str) -> str:
    """Where a side unpacks bundles; ``state``: its state folder."""
    return os.path.join(state, "versions")


def program_at(state: str, digest: str) -> str:
    """Folder of the unpacked bundle ``digest``; empty: what is installed."""
    return os.path.join(versions_folder(state), digest) if digest else ""


def program_folder(state: str, software: Software) -> str:
    """Of the unpacked bundle that payloads run; empty: what is installed."""
    return program_at(state, software.bundle)


def courier_spec(
    state: str, digest: str, way: dict[str, str], checks: list[dict[str, Any]], limits: ProcessLimits
) -> PayloadSpec:
    """
    Who brings a bundle and tries what of it would run.

    Args:
        state: the side's state folder.
        digest: of the bundle that is wanted.
        way: how it is had: ``file``, or ``endpoint``, ``server_key`` and ``key_file``.
        checks: what will run: ``{module, config}``.
        limits: of its process.
    """
    told = {
        "digest": digest,
        "versions": versions_folder(state),
        "release_keys": os.path.join(state, "keys", "release"),
        **way,
        "checks": checks,
    }
    return PayloadSpec(COURIER, command_of("actors.courier"), told, limits=limits)
