"""The process of a query actor; its configuration comes over the lifeline. ``--check`` reads one from stdin."""

from __future__ import annotations

import gc

from actors.query.service import build
from fustor.runtime.actor import run_actor

if __name__ == "__main__":
    # Collecting takes as long as there are objects, and everybody waits meanwhile: what was imported stays anyway, and
    # thousands of connections are made of objects that go when they end.
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)
    run_actor("query", build)
