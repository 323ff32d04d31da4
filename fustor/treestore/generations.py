"""
A number above every generation that any store of a view has reached, kept outside the stores.

A store may be lost, or come back as it was minutes ago, and the wall clock may be wrong after a power cut; what
answers have called their generation must not be reached a second time.

What this module does not do: it numbers nothing (the writer does).
"""

from __future__ import annotations

import logging

from fustor.runtime.durable import read_json, write_json

#: How many generations are allowed at a time: one durable write for so many commits.
STEP = 1 << 20
_LARGEST = 4096
_log = logging.getLogger(__name__)


class Generations:
    """
    Args:
        path: the file; it need not exist.

    Attributes:
        ceiling: no generation was above this; 0 for nothing known.

    Raises:
        MachineError: the file can't be read.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self.ceiling = 0
        try:
            value = read_json(path, _LARGEST)
        except ValueError:
            value = "no JSON"
        if isinstance(value, dict) and type(value.get("ceiling")) is int and value["ceiling"] >= 0:
            self.ceiling = value["ceiling"]
        elif value is not None:
            _log.error("the highest generation is not known any more: the clock is trusted", extra={"file": path})

    def allow(self, generation: int) -> None:
        """
        ``generation`` is about to be used.

        Raises:
            MachineError: that can't be written down; it must not be used.
        """
        if generation > self.ceiling:
            write_json(self._path, {"ceiling": generation + STEP})
            self.ceiling = generation + STEP
