"""A directory and a file that kill every scanner that touches them: left out and named, all else lives; released, tried
again."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster import CHECKOUT, Cluster, until
from tests.support.oracle import walk

#: Imported by every Python that starts: makes scanners die, in C, of the names that the file says.
SITE = """
import ctypes, os, sys

if "actors.scanner" in sys.orig_argv:
    def deadly():
        with open({names!r}) as file:
            return set(file.read().split())

    class Entry:
        def __init__(self, name):
            self.name = name

        def stat(self, follow_symlinks=True):
            ctypes.string_at(0)

    class Scan(list):
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    scandir, lstat = os.scandir, os.stat

    def scan(where):
        names = deadly()
        if isinstance(where, int) and os.path.basename(os.readlink(f"/proc/self/fd/{{where}}")) in names:
            ctypes.string_at(0)
        with scandir(where) as entries:
            deadly_files = names - {{"killing-folder"}}
            return Scan([Entry(entry.name) if entry.name in deadly_files else entry for entry in entries])

    def stat(path, **how):
        if path == b"killing-file" and "killing-file" in deadly():
            ctypes.string_at(0)
        return lstat(path, **how)

    os.scandir, os.stat = scan, stat
"""


#: Each scanner is told apart by its command line when its interpreter starts: none is forked.
LIMITS = """
[limits.shell.backoff]
cap_seconds = 0.3
[limits.guardian]
template = false
"""


@pytest.fixture
def names(tmp_path: Path) -> Path:
    """What kills."""
    file = tmp_path / "names"
    file.write_text("killing-folder killing-file")
    return file


@pytest.fixture
def cluster(tmp_path: Path, names: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(SITE.format(names=str(names)))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'site'}{os.pathsep}{CHECKOUT}")
    root = tmp_path / "root"
    for folder in ("good/deep", "killing-folder/inside", "mixed"):
        (root / folder).mkdir(parents=True)
    for file in ("good/deep/a", "killing-folder/b", "mixed/c", "mixed/killing-file", "mixed/d"):
        (root / file).write_text(file)
    made = Cluster(root, tmp_path / "state", limits=LIMITS)
    yield made
    made.down()


def quarantined(cluster: Cluster) -> dict[str, dict[str, Any]] | None:
    """Item → case; None while the agent does not say."""
    said = cluster.command("quarantine", "list", "local", "--json", check=False).stdout
    told = json.loads(said) if said else None
    if told is None or told["missing"]:
        return None
    return {case["item"]: case for case in told["cases"] if case["state"] == "quarantined"}


def node(cluster: Cluster, path: bytes) -> dict[str, Any]:
    return cluster.tree(path, max_depth=1)


def test_what_kills_is_left_alone_and_named_until_it_is_released(cluster: Cluster, names: Path) -> None:

    def both() -> dict[str, dict[str, Any]] | None:
        found = quarantined(cluster)
        return found if found is not None and len(found) == 2 else None

    cases: dict[str, dict[str, Any]] = until(both, "both to be quarantined\n" + cluster.logs())
    assert set(cases) == {"/killing-folder/", "/mixed/killing-file"}
    assert all("SIGSEGV" in case["how"] for case in cases.values())

    def told() -> dict[str, Any] | None:
        root = node(cluster, b"/")
        source: dict[str, Any] = root["sources"][0] if root["sources"] else {"state": "building", "counts": {}}
        # They are counted as soon as they are left out, and the walk goes on meanwhile.
        return root if source["state"] != "building" and source["counts"].get("quarantined") == 2 else None

    root = until(told, "a tree that says so\n" + cluster.logs())
    assert root["complete"] is False
    assert root["sources"][0]["state"] == "degraded"
    assert "2 directories with quarantined items (fustor quarantine list)" in root["sources"][0]["reasons"]
    assert node(cluster, b"/killing-folder")["unreadable"] == "QUARANTINED"
    assert node(cluster, b"/mixed")["unreadable"] == "QUARANTINED"
    assert {"c", "d"} <= {child["name"] for child in node(cluster, b"/mixed")["children"]}

    # All else is there, and goes on.
    (cluster.root / "good" / "deep" / "new").write_text("x")
    (cluster.root / "mixed" / "new").write_text("x")
    there = {path for path in walk(os.fsencode(cluster.root)) if b"killing" not in path}
    until(lambda: there <= set(cluster.entries()), "everything else\n" + cluster.logs())

    events = cluster.command("events", "local").stdout
    assert "/killing-folder/ is quarantined as" in events

    # It outlives the shell, and a scanner.
    cluster.kill("scanner.data.0")
    control = json.loads((cluster.state / "agent" / "run" / "table.json").read_text())["control"]["pid"]
    os.kill(control, 9)
    until(lambda: quarantined(cluster) == cases, "the same again")

    # Nobody dies of it any more; released, it is tried again.
    names.write_text("")
    for case in cases.values():
        told_of = cluster.command("release", "local", case["id"]).stdout
        assert "is handled again" in told_of
    cluster.assert_right()
    assert quarantined(cluster) == {}
