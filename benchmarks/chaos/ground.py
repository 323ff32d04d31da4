"""
What a run stands on: a state folder whose store has a small disk of its own, and links that can be cut.

What this module does not do: start anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from benchmarks.chaos.schedule import KINDS
from tests.support.kernel import cannot_mount, mount, umount
from tests.support.proxy import Proxy

#: Bytes of the disk: for each entry (of a store and one that was set aside), and at least.
_PER_ENTRY, _LEAST = 1000, 64 << 20


@attrs.frozen
class Links:
    """
    Attributes:
        control: of the control actors.
        data: of data and acknowledgements: two ports.
    """

    control: Proxy
    data: Proxy


@attrs.frozen
class Ground:
    """
    Attributes:
        state: where the cluster's state folder is to be.
        links: the ways of the agent to Fusion; their targets have to be set.
        room: the small disk; None: this process may not mount.
        kinds: of the faults that are possible here.
        missing: why others are not, in words.
    """

    state: Path
    links: Links
    room: Path | None
    kinds: frozenset[str]
    missing: tuple[str, ...]


@contextmanager
def ground(state: Path, entries: int) -> Iterator[Ground]:
    """
    For the time of a run.

    Args:
        state: does not exist.
        entries: of the tree.
    """
    why = cannot_mount()
    with Proxy() as control, Proxy(ports=2) as data:
        links = Links(control, data)
        if why:
            yield Ground(state, links, None, KINDS - {"fill", "free"}, (f"no disk was filled: {why}",))
            return
        room = state / "fusion" / "views"
        room.mkdir(parents=True)
        size = max(_LEAST, entries * _PER_ENTRY)
        mount("-t", "tmpfs", "-o", f"size={size},mode=700", "chaos", str(room))
        try:
            for path in (state, state / "fusion"):
                path.chmod(0o700)
            yield Ground(state, links, room, KINDS, ())
        finally:
            umount(room)
