"""
A path is looked at because a reader wants it: on a mount whose backing is written to behind its back, as by another
host on NFS, where no event tells of anything and the audits are an hour away.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster import Cluster, until
from tests.support.elsewhere import mounted, unavailable

pytestmark = pytest.mark.skipif(bool(unavailable()), reason=unavailable() or "has bindfs")

#: A scanner is stopped again and again here, whatever it has in hand: that is not held against the item, nor it.
LIMITS = """
[limits.quarantine]
deaths = 100
[limits.shell.backoff]
cap_seconds = 0.5
"""


@pytest.fixture(scope="module")
def backing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("backing")
    for number in range(20):
        (folder / f"d{number}/deep").mkdir(parents=True)
        (folder / f"d{number}/deep/f").write_text("as it was\n")
    return folder


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, backing: Path) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    with mounted(backing, folder / "root"):
        made = Cluster(
            folder / "root",
            folder / "state",
            source="fast_audit_seconds = 3600\nfull_audit_seconds = 1000000\nscanners = 1",
            limits=LIMITS,
        )
        try:
            made.settled()
            yield made
        finally:
            made.down()


def looked(cluster: Cluster, path: bytes, **more: str | int) -> dict[str, Any]:
    """The answer after a look, which was made."""
    node = cluster.tree(path, on_demand_scan="true", wait=60, **more)
    assert (node["job_pending"], node["job_error"]) == (False, None), node
    return node


def names(node: dict[str, Any]) -> set[str]:
    return {child["name"] for child in node.get("children", ())}


def test_the_answer_comes_with_what_is_there_now(cluster: Cluster, backing: Path) -> None:
    (backing / "d1/made").touch()
    (backing / "d1/deep/f").write_text("longer than it was\n")
    (backing / "d1/new/er").mkdir(parents=True)
    (backing / "d1/new/er/f").touch()
    assert "made" not in names(cluster.tree(b"/d1"))
    node = looked(cluster, b"/d1")
    assert names(node) == {"deep", "made", "new"}
    assert cluster.tree(b"/d1/new/er/f")["content_type"] == "file"
    assert cluster.tree(b"/d1/deep/f")["size"] == len("longer than it was\n")
    assert node["job_as_of"] > os.stat(backing / "d1/new/er/f").st_mtime
    assert (node["job_directories"], node["job_skipped"]) == (4, 0)


def test_only_as_deep_as_it_was_asked(cluster: Cluster, backing: Path) -> None:
    (backing / "d2/here").touch()
    (backing / "d2/deep/there").touch()
    assert names(looked(cluster, b"/d2", recursive="false")) == {"deep", "here"}
    assert names(cluster.tree(b"/d2/deep")) == {"f"}
    assert looked(cluster, b"/d2/deep/there", max_depth=0)["content_type"] == "file"


def test_what_is_gone_is_gone(cluster: Cluster, backing: Path) -> None:
    shutil.rmtree(backing / "d3/deep")
    answer = cluster.get("/fs/tree?path=/d3/deep&on_demand_scan=true&wait=60")
    assert (answer.status, answer.json["known"], answer.json["job_pending"]) == (404, True, False)
    assert answer.headers["x-fustor-job-pending"] == "false"


def test_at_the_deadline_it_says_what_is_known_and_goes_on(cluster: Cluster, backing: Path) -> None:
    (backing / "d4/made").touch()
    cluster.kill("scanner.data.0", signal.SIGSTOP)  # found and replaced after seconds
    node = cluster.tree(b"/d4", on_demand_scan="true", wait=0)
    assert (node["job_pending"], names(node)) == (True, {"deep"})
    target = f"/api/v1/views/main/jobs/{node['job_id']}"
    job = until(lambda: [job for job in cluster.get(target).json["jobs"] if job["state"] == "done"], "its end")[0]
    assert (job["path"], job["agent"], job["source"]) == ("d4", "local", "data")
    assert names(cluster.tree(b"/d4")) == {"deep", "made"}
    assert node["job_id"] in {job["job_id"] for job in cluster.get("/api/v1/views/main/jobs").json["jobs"]}
    assert cluster.get("/api/v1/views/main/jobs/none").status == 404


def test_many_who_want_the_same_cost_few_looks(cluster: Cluster, backing: Path) -> None:
    (backing / "d5/made").touch()
    found: list[set[str]] = []
    readers = [threading.Thread(target=lambda: found.append(names(looked(cluster, b"/d5")))) for _ in range(40)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert found == [{"deep", "made"}] * 40
    # One that is under way and one that waits for each of two workers, again and again: by far not one for each reader.
    assert _jobs(cluster) < 20


def _jobs(cluster: Cluster) -> int:
    rows = cluster.get("/api/v1/views/main/jobs").json["jobs"]
    return sum(row["path"] == "d5" for row in rows)


def test_people_may_want_it_too(cluster: Cluster, backing: Path) -> None:
    (backing / "d10/made").touch()
    assert "made" not in cluster.command("tree", "/d10").stdout
    shown = cluster.command("tree", "/d10", "--now")
    assert "made" in shown.stdout
    assert "looked at now: 2 directories" in shown.stderr
    assert "looked at now" in cluster.command("stat", "/d10/made", "--now").stdout


@pytest.mark.parametrize("name", ["watcher.data", "agent/control", "fusion/control", "view.main"])
def test_whoever_dies_meanwhile_it_comes_to_its_end(cluster: Cluster, backing: Path, name: str) -> None:
    number = ["watcher.data", "agent/control", "fusion/control", "view.main"].index(name)
    (backing / f"d{6 + number}/made").touch()
    found: list[dict[str, Any]] = []
    reader = threading.Thread(
        target=lambda: found.append(cluster.tree(b"/d%d" % (6 + number), on_demand_scan="true", wait=60))
    )
    cluster.kill("scanner.data.0", signal.SIGSTOP)
    reader.start()
    side, _, member = name.rpartition("/")
    if side:
        table = json.loads((cluster.state / side / "run/table.json").read_text())
        os.kill(int(table["control"]["pid"]), signal.SIGKILL)
    else:
        cluster.kill(member)
    reader.join()
    (node,) = found
    assert node["job_error"] is None or "not connected" in node["job_error"] or "does not run" in node["job_error"]
    if node["job_error"] is None:
        assert (node["job_pending"], names(node)) == (False, {"deep", "made"})
    cluster.settled()


def test_sessions_name_the_sources_and_their_links(cluster: Cluster) -> None:
    (session,) = until(
        lambda: [s for s in cluster.get("/api/v1/views/main/sessions").json["sessions"] if s["link"] == "online"],
        "the link",
    )
    assert (session["agent"], session["source"], session["mount"]) == ("local", "data", "/")


@pytest.mark.parametrize("wait", ["x", "-1", "61", "1e3"])
def test_a_wait_that_is_none_is_refused(cluster: Cluster, wait: str) -> None:
    answer = cluster.get(f"/fs/tree?on_demand_scan=true&wait={wait}")
    assert (answer.status, answer.json["field"]) == (400, "wait")
