"""
The programs of Fusion itself: what is desired of it, for :mod:`fustor.runtime.converging`.

Everything else that Fusion does is in its file, so a document for Fusion says one thing::

    [software]            # of bundles that Fusion has; empty: what is installed
    bundle = "<digest>"   # of its payloads
    shell = "<digest>"    # of its control actor and guardian

The payloads get it one after the other, query workers first: there is always one that holds, of whichever program.

What this module does not do: decide, apply or keep anything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from fustor.fusion.config import FusionConfig
from fustor.fusion.payloads import payloads, query_config, view_config
from fustor.runtime.document import Software, read
from fustor.runtime.payload import PayloadSpec
from fustor.runtime.program import courier_spec


@attrs.frozen
class FusionSide:
    """
    What a document says.

    Attributes:
        software: that is run.
    """

    software: Software = attrs.field(factory=Software)


def parse(text: bytes, file: str = "") -> FusionSide:
    """The document of Fusion; as :func:`fustor.runtime.document.read`."""
    return read(FusionSide, text, file)


def render(side: FusionSide) -> str:
    """``side`` as TOML that :func:`parse` reads to the same."""
    return "\n".join(["[software]", *side.software.lines(), ""])


class FusionGround:
    """
    Args:
        config: of Fusion.
        bundle: where the file of a bundle is, by its digest.
        ask: the document of a revision is wanted.
    """

    gradual = True

    def __init__(self, config: FusionConfig, *, bundle: Callable[[str], str], ask: Callable[[int], None]) -> None:
        self.state = config.fusion.state
        self.policy = config.limits.probation
        self.own = FusionSide()
        self.ask = ask
        self._config = config
        self._bundle = bundle

    def accept(self, text: bytes) -> FusionSide:
        """As :func:`parse`."""
        return parse(text)

    def specs(self, side: FusionSide) -> list[PayloadSpec]:
        """Query workers first: what they get wrong is seen before the tree is touched."""
        views_first = payloads(self._config, side.software)
        return sorted(views_first, key=lambda spec: spec.name.startswith("view."))

    def courier(self, side: FusionSide, digest: str) -> PayloadSpec | None:
        """Who unpacks a bundle that is here already."""
        checks: list[dict[str, Any]] = []
        if digest == side.software.shell:
            checks.append({"module": "fustor.fusion", "config": attrs.asdict(self._config)})
        if digest == side.software.bundle:
            checks.append({"module": "actors.query", "config": query_config(self._config, 0)})
            for index in range(len(self._config.views)):
                checks.append({"module": "actors.view", "config": view_config(self._config, index)})
        way = {"file": self._bundle(digest)}
        return courier_spec(self.state, digest, way, checks, self._config.limits.process.query)

    def prepare(self, side: FusionSide) -> None:
        """Nothing: folders of views are made with the state folder."""
