"""
The state folder of ``fustor up``: one folder for a Fusion and an agent on the same host.

::

    <state>/                mode 0700
      fusion.toml           configuration of Fusion; written once, the operator's from then on
      agent.toml            the same of the agent
      fusion/  agent/       state of each side, as docs/architecture.md says

This module only knows where things are and reads them. ``prepare`` makes them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import attrs

from fustor.admin.exits import NotRunningError
from fustor.runtime.config import read_toml
from protocols.errors import ConfigError

#: What a key of ``[fusion]`` is when the file does not say; the same as in docs/configuration.md.
DEFAULTS = {
    "control": "tcp://127.0.0.1:7700",
    "admin": "tcp://127.0.0.1:7701",
    "http": "127.0.0.1:8101",
    "data": "tcp://127.0.0.1:7710",
    "query": "tcp://127.0.0.1:7720",
}


def default_state() -> Path:
    """``$FUSTOR_STATE``, or ``fustor`` in the XDG state folder (``~/.local/state``)."""
    chosen = os.environ.get("FUSTOR_STATE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "fustor"


@attrs.frozen
class Side:
    """One side (``fusion`` or ``agent``) within a state folder."""

    name: str
    folder: Path
    config: Path

    @property
    def run(self) -> Path:
        """Working directory of all its processes."""
        return self.folder / "run"

    @property
    def log(self) -> Path:
        """Folder of its log files."""
        return self.folder / "log"

    @property
    def keys(self) -> Path:
        """Folder of its keys."""
        return self.folder / "keys"


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


@attrs.frozen
class State:
    """
    A state folder; it need not exist.

    Attributes:
        folder: absolute, symbolic links resolved.
    """

    folder: Path = attrs.field(converter=_real)

    @property
    def fusion(self) -> Side:
        """Fusion's side."""
        return Side("fusion", self.folder / "fusion", self.folder / "fusion.toml")

    @property
    def agent(self) -> Side:
        """The agent's side."""
        return Side("agent", self.folder / "agent", self.folder / "agent.toml")

    @property
    def sides(self) -> tuple[Side, Side]:
        """In the order in which they are started; stopped in the opposite order."""
        return self.fusion, self.agent

    def exists(self) -> bool:
        """Whether ``up`` has prepared this folder."""
        return self.fusion.config.exists() and self.agent.config.exists()

    def fusion_config(self) -> dict[str, Any]:
        """
        The table ``[fusion]``, with :data:`DEFAULTS` where the file is silent.

        Raises:
            NotRunningError: there is no such file.
            ConfigError: it can't be read, is not TOML, or not a table.
        """
        return DEFAULTS | table(self.read(self.fusion.config), "fusion", self.fusion.config)

    def views(self) -> tuple[str, ...]:
        """Names of the configured views, in order; raises as :meth:`fusion_config`."""
        views = self.read(self.fusion.config).get("views", [])
        return tuple(str(view["name"]) for view in views if isinstance(view, dict) and "name" in view)

    def root(self) -> str:
        """The directory that the agent's first source watches; empty for none. Raises as :meth:`fusion_config`."""
        sources = self.read(self.agent.config).get("sources", [])
        return str(sources[0].get("root", "")) if sources and isinstance(sources[0], dict) else ""

    def read(self, file: Path) -> dict[str, Any]:
        """A configuration file as plain data; raises as :meth:`fusion_config`."""
        if not file.exists():
            raise NotRunningError(
                f"nothing has ever been started in {self.folder}. Start it: fustor up DIR. "
                "Or say where it is: --state FOLDER, or FUSTOR_STATE"
            )
        return read_toml(str(file))


def table(data: dict[str, Any], key: str, file: Path) -> dict[str, Any]:
    """The table ``key`` of a configuration; empty when absent. Raises ConfigError when it is something else."""
    value = data.get(key, {})
    if not isinstance(value, dict):
        raise ConfigError(key, value, f"a table [{key}] is accepted", str(file))
    return value
