"""
A new parser reaches a running fleet: a plug-in, in a bundle, with the rule that needs it. Bad ones are left again by
themselves, a good one stays, and nobody was kept from anything meanwhile.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster import Cluster, Poller, until
from tests.support.plugins import WORDS, wheel
from tests.support.programs import made, push, trust, upgradable, version

LIMITS = """
[limits.probation]
settle_seconds = 25
probation_seconds = 5.0
[limits.shell]
stop_seconds = 2.0
[limits.process.parser]
memory_bytes = 134217728
"""


NAMES = {"query.0", "query.1", "view.main", "watcher.data", "scanner.data.0", "syncer.data"}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with upgradable(tmp_path_factory.mktemp("cluster"), limits=LIMITS) as made_here:
        trust(made_here, "agent", key_of(made_here))
        for number in range(5):
            (made_here.root / f"d{number}/words.text").write_text("one two three")
        yield made_here


def key_of(cluster: Cluster) -> Path:
    return cluster.state.parent / "release.key"


def configuration(cluster: Cluster) -> dict[str, Any]:
    status: dict[str, Any] = cluster.agent().get("configuration", {"outcome": ""})
    return status


def ship(cluster: Cluster, folder: Path, plugin: str, number: str) -> None:
    """Push a bundle with a plug-in, and a configuration that has the rule for it."""
    wheel(folder / "wheels", "words", plugin)
    digest = push(cluster, made(folder, key_of(cluster), version(number), wheels=folder / "wheels"))
    document = folder / "document.toml"
    document.write_text(
        f'[[sources]]\nname = "data"\nroot = {json.dumps(str(cluster.root))}\nscanners = 1\n'
        '[[sources.parsers]]\nname = "words"\npath = \'\\.text$\'\nformat = "words"\n'
        f'[software]\nbundle = "{digest}"\n'
    )
    cluster.command("config", "push", "local", str(document), "--reason", number, check=False)


def attributes(cluster: Cluster) -> list[Any]:
    return [cluster.tree(f"/d{number}/words.text".encode()).get("attrs") for number in range(5)]


BAD = {
    "segfaults": WORDS.replace('if b"segfault" in words', "if True"),
    "eats memory": WORDS.replace('if b"memory" in words', "if True"),
    "never returns": WORDS.replace('if b"hang" in words', "if True"),
    "can't be imported": "raise OSError('not here')\n",
}


@pytest.mark.parametrize("plugin", BAD)
def test_a_bad_one_is_left_again(cluster: Cluster, tmp_path: Path, plugin: str) -> None:
    before = cluster.agent()
    with Poller(cluster):
        ship(cluster, tmp_path, BAD[plugin], f"6.6.{list(BAD).index(plugin)}")
        until(lambda: configuration(cluster)["outcome"] in ("failed", "refused"), f"the end of it\n{cluster.logs()}")
        until(lambda: set(cluster.running()) == NAMES, f"what ran before\n{cluster.logs()}")
        (Path(cluster.root) / f"d2/{tmp_path.name}").touch()
        cluster.assert_right()
    assert attributes(cluster) == [None] * 5
    after = cluster.agent()
    assert (after["logins"], after["losses"]) == (before["logins"], before["losses"])
    assert after["beats"] == after["seq"], "no heartbeat was missed"


def test_then_the_good_one(cluster: Cluster, tmp_path: Path) -> None:
    with Poller(cluster):
        ship(cluster, tmp_path, WORDS, "1.1.0")
        until(lambda: attributes(cluster) == [{"words.words": 3}] * 5, f"attributes\n{cluster.logs()}")
        until(lambda: configuration(cluster)["outcome"] == "good", "the end of the probation")
        cluster.assert_right()
