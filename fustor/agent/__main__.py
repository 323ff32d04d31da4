"""``python -P -m fustor.agent``: the agent's control actor, started by its guardian."""

from __future__ import annotations

import logging
import sys
from typing import Any, NoReturn

from fustor.agent.config import build
from fustor.agent.control import AgentControl
from fustor.runtime.control import check_control, run_control
from fustor.runtime.keeper import Keeper


async def main(config: dict[str, Any], keeper: Keeper, log: logging.Logger) -> None:
    """Run until stopped."""
    await AgentControl(build(config), keeper, log).run()


def start() -> NoReturn:
    """Be the control actor, or with ``--check`` say whether it would take a configuration; ends the process."""
    if sys.argv[1:] == ["--check"]:
        check_control(build)
    run_control(main)


if __name__ == "__main__":
    start()
