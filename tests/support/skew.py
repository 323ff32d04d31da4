"""The next version of this program, as far as one can tell today, and one side of a Fustor that runs it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from fustor.admin.processes import stop
from fustor.admin.state import State
from fustor.guardian.template import room
from tests.support.cluster import CHECKOUT, PATIENCE, Cluster, until

LATER = "0.2.0"


def replace(path: Path, old: str, new: str) -> None:
    """Change a line of a program that must be there."""
    text = path.read_text()
    assert old in text, f"{path.name} has changed: {old}"
    path.write_text(text.replace(old, new))


def later(source: Path) -> None:
    """Another number; every message has a field more, and every record an item."""
    replace(source / "fustor/__init__.py", '__version__ = "0.1.0"', f'__version__ = "{LATER}"')
    codec = source / "protocols/codec.py"
    replace(codec, '{"v": VERSION, "t": cls.kind}', '{"v": VERSION, "t": cls.kind, "novelty": [1, {"x": None}]}')
    replace(
        codec,
        "return [getattr(value, name) for name in names]",
        'return [*(getattr(value, name) for name in names), "later"]',
    )


def speaking(version: int) -> Callable[[Path], None]:
    """As :func:`later`, with another version of the protocol."""

    def change(source: Path) -> None:
        later(source)
        replace(source / "protocols/codec.py", "VERSION = 1", f"VERSION = {version}")

    return change


def program(folder: Path, change: Callable[[Path], None]) -> Path:
    """A changed copy of this program, for PYTHONPATH."""
    for package in ("actors", "protocols", "fustor"):
        shutil.copytree(CHECKOUT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    change(folder)
    return folder


def exchange(cluster: Cluster, side: str, path: Path) -> None:
    """Stop one side, and start it again of the program in ``path``, on the state that is there."""
    table = cluster.state / side / "run" / "table.json"
    stop(getattr(State(cluster.state), side), PATIENCE)
    environment = {**os.environ, **room(), "PYTHONPATH": str(path)}
    with (cluster.state / side / "log" / "guardian.log").open("ab") as log:
        command = [sys.executable, "-P", "-m", f"fustor.{side}.daemon", "--config", str(cluster.state / f"{side}.toml")]
        # Nobody's child, as after `fustor up --detach`.
        subprocess.run(
            ["setsid", "--fork", *command],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            check=True,
        )

    def runs() -> bool:
        return table.exists()  # a guardian that ends takes its table away

    until(runs, f"{side} again")
