"""
``python -P -m fustor.agent.daemon``: check the configuration, make state and keys, become the guardian.

Exit codes: 0 stopped (or ``--check`` found no fault), 1 this host failed us, 2 a bad configuration, 100 already
running. What this module does not do: run the control actor (the guardian starts ``fustor.agent``), or return, unless
with an error.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from collections.abc import Sequence
from typing import Any

import attrs

from fustor.agent.config import AgentConfig, build
from fustor.agent.payloads import parser_config, scanner_config
from fustor.runtime import daemon
from fustor.runtime.config import ConfigFaults, read_toml
from fustor.runtime.keys import load_or_create, write_public
from protocols.errors import ConfigError, MachineError

_PROGRAM = "fustor-agent"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=_PROGRAM, description="Run an agent in the foreground. Flags override the file."
    )
    parser.add_argument("--config", metavar="FILE", help="agent.toml; without it flags and defaults suffice")
    parser.add_argument("--check", action="store_true", help="print every fault of the configuration and exit")
    parser.add_argument("--state", metavar="DIR", help="state folder (default: $FUSTOR_STATE/agent)")
    parser.add_argument("--id", metavar="NAME", help="id of this agent")
    parser.add_argument("--fusion", metavar="ENDPOINT", help="Fusion's control endpoint, tcp://HOST:PORT")
    parser.add_argument("--fusion-key", metavar="Z85", help="Fusion's public key")
    parser.add_argument("--root", metavar="DIR", help="folder to index, as the source 'data'")
    parser.add_argument(
        "--supervised", action="store_true", help="a service manager starts the next guardian when this one is killed"
    )
    return parser


def configure(arguments: argparse.Namespace) -> AgentConfig:
    """
    The effective configuration: defaults, then the file, then flags.

    Raises:
        ConfigError, ConfigFaults: it can't be accepted.
    """
    file = arguments.config or ""
    data: dict[str, Any] = read_toml(file) if file else {}
    section = data.setdefault("agent", {})
    if isinstance(section, dict):
        for flag in ("id", "fusion"):
            if getattr(arguments, flag) is not None:
                section[flag] = getattr(arguments, flag)
        if arguments.fusion_key is not None:
            section["fusion_key"] = arguments.fusion_key
            section.pop("fusion_key_file", None)
        if arguments.state is not None:
            section["state"] = os.path.abspath(arguments.state)
        elif not file:
            section.setdefault("state", daemon.default_state("agent"))
    if arguments.root is not None:
        sources = data.setdefault("sources", [{"name": "data"}])
        named = (
            [s for s in sources if isinstance(s, dict) and s.get("name") == "data"] if isinstance(sources, list) else []
        )
        if len(named) == 1:
            named[0]["root"] = os.path.abspath(arguments.root)
        elif isinstance(sources, list):
            sources.append({"name": "data", "root": os.path.abspath(arguments.root)})
    elif not file:
        raise ConfigError("--root", None, "a folder to index is accepted, or --config with [[sources]]")
    return build(data, file=file, base=os.path.dirname(os.path.abspath(file)) if file else os.getcwd())


def check_sources(config: AgentConfig, file: str) -> list[str]:
    """
    What scanners and parsers would refuse of each source in ``file``, asked in processes that may crash on a bad
    pattern.
    """
    if importlib.util.find_spec("actors.scanner") is None:
        return []
    faults: list[str] = []
    prefix = f"{file}: " if file else ""
    for index, source in enumerate(config.sources):
        asked = scanner_config(config, config.data_side, source, 0)
        said = daemon.check_payload("actors.scanner", asked)
        for parser in source.parsers:
            asked = parser_config(config, config.data_side, source, parser)
            said += [f"{parser.name}: {fault}" for fault in daemon.check_payload("actors.parser", asked)]
        faults += [f"{prefix}sources[{index}] ({source.name}): {fault}" for fault in said]
    return faults


def main(argv: Sequence[str] | None = None) -> int:
    """Returns an exit code only when it fails, or for ``--check``; else the process is the guardian by then."""
    arguments = _parser().parse_args(argv)
    try:
        config = configure(arguments)
    except (ConfigError, ConfigFaults) as error:
        daemon.report(_PROGRAM, daemon.faults_of(error))
        return daemon.BAD_CONFIGURATION
    if arguments.check:
        faults = check_sources(config, arguments.config or "")
        daemon.report(_PROGRAM, faults)
        if faults:
            return daemon.BAD_CONFIGURATION
        print("ok")
        return daemon.OK
    state = config.agent.state
    try:
        daemon.make_state(state, ["sources", *(f"sources/{source.name}" for source in config.sources)])
        keys = os.path.join(state, "keys")
        pair = load_or_create(os.path.join(keys, "agent.key"), config.agent.id, "agent")
        write_public(os.path.join(keys, "agent.pub"), pair)
        daemon.launch(
            state,
            "fustor.agent",
            attrs.asdict(config),
            listen={},
            template=("fustor.agent", "actors.watcher", "actors.scanner", "actors.syncer", "actors.parser"),
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
