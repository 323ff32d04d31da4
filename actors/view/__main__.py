"""Start a view: ``python -P -m actors.view``, by a guardian; ``--check`` reads a configuration from stdin."""

from __future__ import annotations

from typing import NoReturn

from actors.view.service import build
from fustor.runtime.actor import run_actor


def start() -> NoReturn:
    """Be a view; ends the process."""
    run_actor("view", build)


if __name__ == "__main__":
    start()
