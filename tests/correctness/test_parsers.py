"""What parsers find is in the tree, as long as the file is the one they have seen; whatever kills one harms nobody."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster import CHECKOUT, Cluster, Poller, until
from tests.support.plugins import WORDS, install

RULES = r"""
[[sources.parsers]]
name = "where"
path = '^(?P<project>p[0-9]+)/'

[[sources.parsers]]
name = "table"
path = '\.csv$'
format = "table"
"""
TABLE = "a,b\n1,2\n3,4\n"
FOUND = {"table.columns": 2, "table.delimiter": ",", "table.exact": True, "table.header": ["a", "b"], "table.rows": 2}


def attributes(cluster: Cluster, path: str) -> Any:
    """Of a file; None: it has none, or is not there."""
    answer = cluster.get(f"/fs/tree?path={path}")
    assert answer.status in (200, 404)  # 404: it is known not to be there
    return answer.json.get("attrs")


def becomes(cluster: Cluster, path: str, expected: Any) -> None:
    until(lambda: attributes(cluster, path) == expected, f"{path} to have {expected}\n{cluster.logs()}")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    (folder / "root/p1/deep").mkdir(parents=True)
    (folder / "root/other").mkdir()
    (folder / "root/p1/deep/t.csv").write_text(TABLE)
    (folder / "root/other/t.csv").write_text(TABLE)
    (folder / "root/other/text").write_text("text")
    made = Cluster(folder / "root", folder / "state", source="scanners = 1", limits=RULES)
    yield made
    made.down()


def test_what_is_there_at_the_start_is_found(cluster: Cluster) -> None:
    cluster.settled()
    becomes(cluster, "/p1/deep/t.csv", {**FOUND, "where.project": "p1"})
    becomes(cluster, "/other/t.csv", FOUND)
    assert attributes(cluster, "/other/text") is None
    assert not cluster.difference()


def test_a_changed_file_has_what_is_in_it_now(cluster: Cluster) -> None:
    (cluster.root / "other/t.csv").write_text("a,b,c\n1,2,3\n")
    becomes(cluster, "/other/t.csv", {**FOUND, "table.columns": 3, "table.header": ["a", "b", "c"], "table.rows": 1})
    (cluster.root / "other/t.csv").write_text(TABLE)
    becomes(cluster, "/other/t.csv", FOUND)


def test_a_file_that_cannot_be_parsed_says_why(cluster: Cluster) -> None:
    (cluster.root / "other/bad.csv").write_bytes(b"\0" * 100)
    becomes(cluster, "/other/bad.csv", {"table.error": "it has NUL bytes: it is no text"})


def test_a_new_name_counts_at_once(cluster: Cluster) -> None:
    (cluster.root / "other/new.text").write_text(TABLE)
    (cluster.root / "other/new.text").rename(cluster.root / "p1/new.csv")
    becomes(cluster, "/p1/new.csv", {**FOUND, "where.project": "p1"})
    (cluster.root / "p1/new.csv").rename(cluster.root / "other/new.text")
    cluster.settled()
    becomes(cluster, "/other/new.text", None)
    assert cluster.tree(b"/other/new.text")["size"] == len(TABLE)


def test_a_moved_directory_has_what_its_new_path_says(cluster: Cluster) -> None:
    (cluster.root / "p1").rename(cluster.root / "p2")
    becomes(cluster, "/p2/deep/t.csv", {**FOUND, "where.project": "p2"})
    (cluster.root / "p2").rename(cluster.root / "gone")
    becomes(cluster, "/gone/deep/t.csv", FOUND)
    (cluster.root / "gone").rename(cluster.root / "p1")
    becomes(cluster, "/p1/deep/t.csv", {**FOUND, "where.project": "p1"})


@pytest.mark.parametrize("victim", ["parser.data.table", "watcher.data", "syncer.data", "view.main"])
def test_whoever_dies_nothing_is_lost(cluster: Cluster, victim: str) -> None:
    cluster.kill(victim)
    (cluster.root / "other/t.csv").write_text("a,b\n1,2\n")
    becomes(cluster, "/other/t.csv", {**FOUND, "table.rows": 1})
    (cluster.root / "other/t.csv").write_text(TABLE)
    becomes(cluster, "/other/t.csv", FOUND)
    assert attributes(cluster, "/p1/deep/t.csv") == {**FOUND, "where.project": "p1"}
    cluster.assert_right()


def test_they_stand_in_whole_trees_and_searches_too(cluster: Cluster) -> None:
    tree = cluster.tree(b"/other", recursive="true")
    assert {child["name"]: child.get("attrs") for child in tree["children"]}["t.csv"] == FOUND
    assert cluster.command("store", "check").returncode == 0


def test_other_rules_come_and_go_by_a_configuration(cluster: Cluster, tmp_path: Path) -> None:
    document = tmp_path / "document.toml"
    root = json.dumps(str(cluster.root))
    document.write_text(
        f'[[sources]]\nname = "data"\nroot = {root}\nscanners = 1\n'
        "[[sources.parsers]]\nname = \"where\"\npath = '^other/(?P<name>[a-z]+)'\n"
    )
    epoch = cluster.agent()["payloads"]
    cluster.command("config", "push", "local", str(document), "--reason", "a test")
    becomes(cluster, "/other/t.csv", {"where.name": "t"})
    becomes(cluster, "/p1/deep/t.csv", None)
    pids = {one["name"]: one["pid"] for one in epoch}
    assert cluster.running()["watcher.data"] == pids["watcher.data"]
    until(lambda: "parser.data.table" not in cluster.running(), "its end")
    kept = cluster.state / "agent/sources/data"
    assert {folder.name for folder in kept.iterdir() if folder.is_dir()} == {"parser.where"}


LIMITS = """
[[sources.parsers]]
name = "words"
path = '\\.text$'
format = "words"

[limits.shell.backoff]
cap_seconds = 0.3
[limits.process.parser]
memory_bytes = 268435456
"""


@pytest.fixture
def deadly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    install(tmp_path / "site", "words", WORDS)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'site'}{os.pathsep}{CHECKOUT}")
    (tmp_path / "root").mkdir()
    (tmp_path / "root/a.text").write_text("one two three")
    made = Cluster(tmp_path / "root", tmp_path / "state", source="scanners = 1", limits=LIMITS)
    yield made
    made.down()


def quarantined(cluster: Cluster) -> dict[str, dict[str, Any]]:
    """Item → case."""
    said = json.loads(cluster.command("quarantine", "list", "local", "--json").stdout)
    return {case["item"]: case for case in said["cases"] if case["state"] == "quarantined"}


def test_files_that_kill_a_parser_are_named_and_left_alone_and_nobody_waits_for_it(deadly: Cluster) -> None:
    cluster = deadly
    becomes(cluster, "/a.text", {"words.words": 3})
    with Poller(cluster) as poller:
        for number, what in enumerate(("segfault", "hang", "memory")):
            (cluster.root / f"{what}.text").write_text(f"some {what}")
            (cluster.root / f"b{number}.text").write_text("one")
            (cluster.root / f"c{number}").touch()
            # The tree says it at once, whatever its parser does.
            cluster.settled()
            assert cluster.tree(f"/c{number}".encode())["size"] == 0
            becomes(cluster, f"/{what}.text", {"words.error": "quarantined"})
            becomes(cluster, f"/b{number}.text", {"words.words": 1})
    assert {answer["state"] for answer in poller.answers} == {"live"}
    cases = quarantined(cluster)
    assert cases.keys() == {"/segfault.text", "/hang.text", "/memory.text"}
    assert "SIGSEGV" in cases["/segfault.text"]["how"]
    assert "SIGABRT" in cases["/hang.text"]["how"]
    assert "memory" in cases["/memory.text"]["how"]
    # Somebody mends the file and says so.
    (cluster.root / "hang.text").write_text("mended now")
    cluster.command("release", "local", cases["/hang.text"]["id"])
    becomes(cluster, "/hang.text", {"words.words": 2})
    assert quarantined(cluster).keys() == {"/segfault.text", "/memory.text"}
    cluster.assert_right()


def test_a_parser_that_stands_still_keeps_nobody_from_anything(deadly: Cluster) -> None:
    becomes(deadly, "/a.text", {"words.words": 3})
    pid = deadly.kill("parser.data.words", signal.SIGSTOP)
    now = time.time()
    (deadly.root / "b.text").write_text("one two")
    deadly.settled()
    assert deadly.tree(b"/b.text")["mtime_ns"] / 1e9 > now - 1
    becomes(deadly, "/b.text", {"words.words": 2})
    assert deadly.pid("parser.data.words") != pid
