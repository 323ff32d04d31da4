"""
What both control actors have in common: the way in, the way out, and services that can't bring each other down.

What this module does not do: know agents, Fusion or any message (see ``fustor.agent.control`` and
``fustor.fusion.control``).
"""

from __future__ import annotations

import faulthandler
import json
import logging
import os
import queue
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NoReturn

import trio

from fustor.runtime.config import ConfigFaults
from fustor.runtime.durable import read_json
from fustor.runtime.guard import guarded
from fustor.runtime.keeper import Keeper, KeeperGone
from fustor.runtime.log import setup_logging
from fustor.runtime.parent import EXIT_PARENT_GONE, watch_guardian
from fustor.runtime.rlimits import hurry, protect, raise_descriptor_limit
from fustor.runtime.shell import Shell
from protocols.errors import ConfigError, FustorError, MachineError

#: Exit codes.
STOPPED, FAILED, REFUSED = 0, 1, 2


def run_control(main: Callable[[dict[str, Any], Keeper, logging.Logger], Awaitable[None]]) -> NoReturn:
    """
    Be a control actor; ends the process.

    Args:
        main: gets the content of ``$FUSTOR_CONFIG``, the keeper and a logger; returns when everything is stopped.
    """
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    log = setup_logging("control")
    successors: queue.SimpleQueue[socket.socket] = queue.SimpleQueue()
    watch_guardian(on_joined=successors.put)
    # Each agent is a connection, and libzmq can't accept one when there is no descriptor left.
    raise_descriptor_limit()
    # Not before: the thread that watches the guardian may have to start its successor, which would inherit it.
    hurry()
    protect(os.getpid())
    if os.environ.get("FUSTOR_GUARDIAN_PID") == str(os.getppid()):
        protect(os.getppid())
    try:
        config = read_json(os.environ.get("FUSTOR_CONFIG", ""))
        if not isinstance(config, dict):
            raise ConfigError(
                "FUSTOR_CONFIG", os.environ.get("FUSTOR_CONFIG"), "the path of a configuration is accepted"
            )
        trio.run(main, config, Keeper.from_environment(next_socket=successors.get), log)
    except (ConfigError, ConfigFaults, ValueError) as error:
        log.error("configuration refused: %s", error)
        sys.exit(REFUSED)
    except MachineError as error:
        log.error("%s", error)
        sys.exit(FAILED)
    except BaseExceptionGroup as group:
        if group.subgroup(KeeperGone) is None:
            raise
        sys.exit(EXIT_PARENT_GONE)
    sys.exit(STOPPED)


def check_control(build: Callable[[dict[str, Any]], object]) -> NoReturn:
    """
    Say whether this program would take the configuration on stdin, as JSON; ends the process. As the payloads do,
    ``--check`` of which :mod:`fustor.runtime.actor` has.
    """
    try:
        config = json.loads(sys.stdin.buffer.read())
        if not isinstance(config, dict):
            raise ConfigError("(configuration)", type(config).__name__, "a JSON object is accepted")
        build(config)
    except (FustorError, ValueError) as error:
        print("\n".join(map(str, getattr(error, "faults", ()))) or str(error))
        sys.exit(REFUSED)
    sys.exit(STOPPED)


async def serve(
    keeper: Keeper,
    shell: Shell,
    services: Mapping[str, Callable[[], Awaitable[None]]],
    *,
    log: logging.Logger,
    farewell: Callable[[], None] = lambda: None,
) -> None:
    """
    Supervise and serve until SIGTERM or SIGINT; then stop the payloads, say goodbye, and return.

    Args:
        keeper: not running yet.
        shell: with its desired payloads set, so that it adopts what is wanted and stops the rest.
        services: tasks by name, each behind a guard.
        log: for failures.
        farewell: called when the payloads are gone.

    Raises:
        KeeperGone: in a group: the guardian is gone.
    """
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            await nursery.start(_keep, keeper)
            await nursery.start(shell.run)
            for name, service in services.items():
                nursery.start_soon(_guard, service, name, log, shell.failures)
            number = await anext(signals)
            log.info("stopping", extra={"signal": signal.Signals(number).name})
            await shell.stop()
            farewell()
            log.info("stopped")
            nursery.cancel_scope.cancel()


async def _guard(
    service: Callable[[], Awaitable[None]], name: str, log: logging.Logger, failures: dict[str, int]
) -> None:
    await guarded(service, name=name, log=log, failures=failures, fatal=(KeeperGone,))


async def _keep(keeper: Keeper, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    await keeper.run(task_status=task_status)
    raise KeeperGone("the guardian closed the keeper channel")
