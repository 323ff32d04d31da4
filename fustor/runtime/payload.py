"""
What a control actor wants of one payload, as plain values.

What this module does not do: start, stop or watch it (see ``fustor.runtime.shell``).
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import attrs

from protocols.limits import ProcessLimits


@attrs.frozen
class PayloadSpec:
    """
    One payload that shall run.

    Attributes:
        name: unique within the shell: ``scanner.data.0``.
        argv: the whole command; the program is an absolute path.
        config: sent over the lifeline.
        fds: names of the guardian's listening sockets that it inherits.
        group: the payloads that may be handed the same work (:mod:`protocols.quarantine`); empty: it takes no part.
        program: folder of the program that it runs; empty: the installed one.
        limits: of its process; they can change without a restart, and are no part of the revision.
        stop_rank: when the shell stops, lower ranks are stopped (and gone) before higher ones are asked to.
    """

    name: str
    argv: tuple[str, ...]
    config: dict[str, Any]
    fds: tuple[str, ...] = ()
    stop_rank: int = 0
    group: str = ""
    program: str = ""
    limits: ProcessLimits = attrs.field(factory=ProcessLimits)

    @property
    def revision(self) -> int:
        """
        A number of ``config``'s content and the program: 1 to 2**53 - 1, the same in every life of a control actor.

        So an adopted payload that runs the wanted configuration is left alone.
        """
        content = json.dumps(self.config, sort_keys=True, separators=(",", ":")).encode() + self.program.encode()
        return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest()) % ((1 << 53) - 1) + 1
