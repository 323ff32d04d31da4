"""
What an agent knows of the documents that Fusion desires of it, for :mod:`fustor.runtime.converging`.

What this module does not do: decide, apply or keep anything.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

import attrs

from fustor.agent.config import AgentConfig
from fustor.agent.payloads import state_folder
from fustor.runtime.document import DataSide, parse
from fustor.runtime.payload import PayloadSpec
from protocols.errors import ConfigError, MachineError


class AgentGround:
    """
    Args:
        config: of this agent.
        specs: the payloads of a data side, as far as they can run now.
        courier: who brings a bundle of a data side, by its digest; None while it is not known from where.
        ask: sends Fusion the question for the document of a revision.
        log: for faults of this host.
    """

    gradual = False

    def __init__(
        self,
        config: AgentConfig,
        *,
        specs: Callable[[DataSide], list[PayloadSpec]],
        courier: Callable[[DataSide, str], PayloadSpec | None],
        ask: Callable[[int], None],
        log: logging.Logger,
    ) -> None:
        self.state = config.agent.state
        self.policy = config.limits.probation
        self.own = config.data_side
        self.specs = specs
        self.courier = courier
        self.ask = ask
        self._config = config
        self._log = log

    def accept(self, text: bytes) -> DataSide:
        """
        Raises:
            ConfigError, ConfigFaults: it is wrong, or denied here.
            MachineError: this host takes none.
        """
        deny = self._config.deny
        if deny.configuration:
            raise MachineError("this host takes no configuration of Fusion, see [deny] in its own")
        side = parse(text)
        deny.check(side.sources)
        for name, digest in attrs.asdict(side.software).items():
            if digest and deny.software:
                raise ConfigError(f"software.{name}", digest, "nothing is accepted, see [deny] on this host")
        return side

    def prepare(self, side: DataSide) -> None:
        """Folders of the sources."""
        for source in side.sources:
            folder = state_folder(self._config, source.name)
            try:
                os.makedirs(folder, mode=0o700, exist_ok=True)
            except OSError as error:
                # The watcher works without: only what it remembers over its own death is lost.
                self._log.error("no folder for a source", extra={"folder": folder, "error": error.strerror or ""})
