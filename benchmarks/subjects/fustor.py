"""This project, as a user has it: ``fustor up --detach``, CURVE, watches and durability as shipped."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from benchmarks.errors import WrongAnswerError
from benchmarks.subjects.base import Looker, Web
from benchmarks.trees import Tree
from benchmarks.web import until
from tests.support.cluster import Cluster

#: Seconds that a first walk may take, for each million files; and at least so many.
_PATIENCE_PER_MILLION, _PATIENCE = 600.0, 120.0


class Fustor:
    """
    One Fusion and one agent.

    Attributes:
        cluster: the running system; None when it does not run.
    """

    name = "fustor"
    http = True

    def __init__(self) -> None:
        self.web: Web | None = None
        self.cluster: Cluster | None = None

    def missing(self) -> str:
        """It is always here."""
        return ""

    def start(self, tree: Tree, folder: Path) -> None:
        """``fustor up --detach``: returns with the first answer."""
        self.start_with(tree, folder)

    def start_with(self, tree: Tree, folder: Path, **options: Any) -> None:
        """The same with options of ``Cluster``: lines added to agent.toml and fusion.toml, other ways to Fusion."""
        self.cluster = Cluster(Path(tree.root), folder / "state", own_ports=False, **options)
        self.web = Web(self.cluster.address, "/fs/tree")

    def wait_complete(self, tree: Tree) -> None:
        """It says itself when it is; that must be true."""
        assert self.web is not None
        target = self.web.target("", max_depth=0)
        with self.web.connect() as connection:

            def claimed() -> dict[str, int]:
                node = connection.node(target)
                return node["rollup"] if node["complete"] and node["state"] == "live" else {}

            patience = _PATIENCE + tree.files / 1e6 * _PATIENCE_PER_MILLION
            rollup = until(claimed, "a complete tree", patience, 0.01)
        if (rollup["files"], rollup["directories"]) != (tree.files, tree.directories):
            raise WrongAnswerError(f"complete with {rollup}, not {tree.files} files, {tree.directories} directories")

    def stop(self) -> None:
        """``fustor down``."""
        cluster, self.cluster, self.web = self.cluster, None, None
        if cluster is not None:
            cluster.down()

    def pids(self) -> dict[str, int]:
        """Guardians, control actors and payloads of both sides."""
        assert self.cluster is not None
        found: dict[str, int] = {}
        for side in ("fusion", "agent"):
            table = json.loads((self.cluster.state / side / "run" / "table.json").read_text())
            found[f"{side} guardian"] = table["guardian"]
            found[f"{side} control"] = table["control"]["pid"]
            found.update((slot["name"], slot["pid"]) for slot in table["slots"] if slot["exit"] is None)
        return found

    def looker(self) -> AbstractContextManager[Looker]:
        """Over HTTP."""
        assert self.web is not None
        return self.web.looker()

    def directory(self, path: str) -> int:
        """Over HTTP."""
        assert self.web is not None
        return len(self.web.node(path, max_depth=1)["children"])

    def files_below(self, path: str) -> int:
        """From the rollup of the directory."""
        assert self.web is not None
        with self.web.connect() as connection:
            return int(connection.node(self.web.target(path, max_depth=0))["rollup"]["files"])
