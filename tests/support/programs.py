"""Other versions of this program, good and bad, as signed bundles."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.cluster import CHECKOUT, Cluster


@contextmanager
def upgradable(folder: Path, **options: Any) -> Iterator[Cluster]:
    """A settled Fustor on a small tree in ``folder``, with a release key beside it that nobody trusts yet."""
    root = folder / "root"
    for number in range(20):
        (root / f"d{number}").mkdir(parents=True)
        (root / f"d{number}/f").touch()
    cluster = Cluster(root, folder / "state", source="scanners = 1", **options)
    try:
        cluster.command("bundle", "keygen", "--output", str(folder / "release.key"))
        cluster.settled()
        yield cluster
    finally:
        cluster.down()


def trust(cluster: Cluster, side: str, key: Path) -> None:
    """Let a side take what ``key`` has signed."""
    folder = cluster.state / side / "keys" / "release"
    folder.mkdir(exist_ok=True)
    shutil.copy(key.with_suffix(".pub"), folder)


def made(folder: Path, key: Path, change: Callable[[Path], None], *, wheels: Path | None = None) -> str:
    """A bundle of this program with a change, and with ``wheels``, pushed by nobody yet; its file."""
    source = folder / "source"
    for package in ("actors", "protocols", "fustor"):
        shutil.copytree(CHECKOUT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    change(source)
    file = folder / "new.bundle"
    command = [sys.executable, "-P", "-m", "fustor.admin", "bundle", "build", "--output", str(file), "--sign", str(key)]
    command += ["--wheels", str(wheels)] if wheels else []
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(source)}, capture_output=True)
    return str(file)


def version(number: str) -> Callable[[Path], None]:
    """Nothing but another number."""

    def change(source: Path) -> None:
        (source / "fustor/__init__.py").write_text(f'"""Fustor."""\n\n__version__ = "{number}"\n')

    return change


def broken(number: str, module: str, text: str) -> Callable[[Path], None]:
    """A module runs ``text`` when it is imported."""

    def change(source: Path) -> None:
        version(number)(source)
        path = source / module
        future = "from __future__ import annotations\n"
        path.write_text(path.read_text().replace(future, future + text + "\n", 1))

    return change


def push(cluster: Cluster, file: str) -> str:
    """Give a bundle to Fusion; its digest."""
    return str(json.loads(cluster.command("bundle", "push", file, "--json").stdout)["digest"])
