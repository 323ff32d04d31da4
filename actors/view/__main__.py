"""Start a view: ``python -P -m actors.view``, by a guardian; ``--check`` reads a configuration from stdin."""

from __future__ import annotations

from actors.view.service import build
from fustor.runtime.actor import run_actor

if __name__ == "__main__":
    run_actor("view", build)
