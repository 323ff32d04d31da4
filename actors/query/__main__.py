"""The process of a query actor; its configuration comes over the lifeline. ``--check`` reads one from stdin."""

from __future__ import annotations

from actors.query.service import build
from fustor.runtime.actor import run_actor

if __name__ == "__main__":
    run_actor("query", build)
