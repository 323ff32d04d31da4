"""
``python -P -m fustor.fusion.daemon``: check the configuration, make state and keys, become the guardian.

Exit codes: 0 stopped (or ``--check`` found no fault), 1 this host failed us, 2 a bad configuration, 98 the HTTP address
is in use, 100 already running. What this module does not do: run the control actor (the guardian starts
``fustor.fusion``), or return, unless with an error.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

import attrs

from fustor.fusion.access import check_access
from fustor.fusion.config import FusionConfig, build
from fustor.fusion.listening import listening
from fustor.runtime import daemon
from fustor.runtime.access import API_KEYS, make_own_key
from fustor.runtime.config import ConfigFaults, read_toml
from fustor.runtime.keys import load_or_create, write_public
from protocols.errors import ConfigError, MachineError

_PROGRAM = "fustor-fusion"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=_PROGRAM, description="Run Fusion in the foreground. Flags override the file."
    )
    parser.add_argument("--config", metavar="FILE", help="fusion.toml; without it flags and defaults suffice")
    parser.add_argument("--check", action="store_true", help="print every fault of the configuration and exit")
    parser.add_argument("--state", metavar="DIR", help="state folder (default: $FUSTOR_STATE/fusion)")
    parser.add_argument("--http", metavar="HOST:PORT", help="address of fs/tree")
    parser.add_argument("--control", metavar="ENDPOINT", help="endpoint for agents, tcp://HOST:PORT")
    parser.add_argument("--admin", metavar="ENDPOINT", help="endpoint for people, tcp://HOST:PORT")
    parser.add_argument(
        "--supervised", action="store_true", help="a service manager starts the next guardian when this one is killed"
    )
    return parser


def configure(arguments: argparse.Namespace) -> FusionConfig:
    """
    The effective configuration: defaults, then the file, then flags.

    Raises:
        ConfigError, ConfigFaults: it can't be accepted.
    """
    file = arguments.config or ""
    data: dict[str, Any] = read_toml(file) if file else {}
    section = data.setdefault("fusion", {})
    if isinstance(section, dict):
        for flag in ("http", "control", "admin"):
            if getattr(arguments, flag) is not None:
                section[flag] = getattr(arguments, flag)
        if arguments.state is not None:
            section["state"] = os.path.abspath(arguments.state)
        elif not file:
            section.setdefault("state", daemon.default_state("fusion"))
    return build(data, file=file, base=os.path.dirname(os.path.abspath(file)) if file else os.getcwd())


def main(argv: Sequence[str] | None = None) -> int:
    """Returns an exit code only when it fails, or for ``--check``; else the process is the guardian by then."""
    arguments = _parser().parse_args(argv)
    try:
        config = configure(arguments)
        check_access(config)
    except (ConfigError, ConfigFaults) as error:
        daemon.report(_PROGRAM, daemon.faults_of(error))
        return daemon.BAD_CONFIGURATION
    except MachineError as error:
        daemon.report(_PROGRAM, [str(error)])
        return daemon.FAILED
    if arguments.check:
        print("ok")
        return daemon.OK
    state = config.fusion.state
    try:
        daemon.make_state(state, ["views", API_KEYS, *(f"views/{view.name}" for view in config.views)])
        keys = os.path.join(state, "keys")
        pair = load_or_create(os.path.join(keys, "fusion.key"), "fusion", "fusion")
        write_public(os.path.join(keys, "fusion.pub"), pair)
        make_own_key(state)
        daemon.launch(
            state,
            "fustor.fusion",
            attrs.asdict(config),
            listen=listening(config),
            control_fds=tuple(listening(config)),
            template=("fustor.fusion", "actors.view", "actors.query"),
            grace_seconds=15.0,
            limits=config.limits.guardian,
            supervised=arguments.supervised,
        )
    except daemon.AlreadyRunningError as error:
        daemon.report(_PROGRAM, [str(error)])
        return daemon.ALREADY_RUNNING
    except (ConfigError, ConfigFaults) as error:
        daemon.report(_PROGRAM, daemon.faults_of(error))
        return daemon.BAD_CONFIGURATION
    except MachineError as error:
        daemon.report(_PROGRAM, [str(error)])
        return daemon.FAILED


if __name__ == "__main__":
    sys.exit(main())
