"""
Control actors and guardians get another program from Fusion: a good one is kept, through deaths of whom it is about; a
bad one is left by itself. Payloads and fs/tree do not notice.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster import Cluster, Poller, until
from tests.support.programs import broken, made, push, trust, upgradable, version

LIMITS = """
[limits.guardian]
proof_seconds = 1.5
trial_seconds = {trial}
[limits.probation]
probation_seconds = 1.0
"""
#: Seconds of a trial: a program that works has long been proved by then, however busy the machine is.
LONG = 120
SIDES = ("agent", "fusion")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    limits = LIMITS.format(trial=LONG)
    with upgradable(tmp_path_factory.mktemp("cluster"), limits=limits, fusion=limits) as made:
        for side in SIDES:
            trust(made, side, made.state.parent / "release.key")
        yield made


@pytest.fixture(scope="module")
def key(cluster: Cluster) -> Path:
    return cluster.state.parent / "release.key"


def shell(cluster: Cluster, side: str) -> dict[str, Any]:
    path = cluster.state / side / "shell.json"
    none: dict[str, Any] = {"program": "", "trial": False, "left": "", "why": ""}
    return json.loads(path.read_text()) if path.exists() else {"control": none, "guardian": none, "runs": ""}


def table(cluster: Cluster, side: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((cluster.state / side / "run" / "table.json").read_text())
    return found


def payload_pids(cluster: Cluster, side: str) -> dict[str, int]:
    found = {slot["name"]: slot["pid"] for slot in table(cluster, side)["slots"] if not slot["exit"]}
    found.pop("courier", None)
    return found


def control_program(cluster: Cluster, side: str, before: int = 0) -> str:
    """Where the modules of the control actor (after ``before``) come from; empty: what is installed."""
    control = table(cluster, side)["control"]
    if control is None or control["pid"] == before:
        return "(there is none)"
    variables = Path(f"/proc/{control['pid']}/environ").read_bytes().decode().split("\0")
    return next((one.partition("=")[2] for one in variables if one.startswith("PYTHONPATH=")), "")


def guardian_program(cluster: Cluster, side: str) -> str:
    """The same of the guardian; of one that is just being executed nothing is known."""
    words = Path(f"/proc/{table(cluster, side)['guardian']}/cmdline").read_bytes().decode().split("\0")
    return str(Path(words[3]).parents[2]) if len(words) > 3 else "(nothing)"


def runs(cluster: Cluster, side: str, folder: str) -> bool:
    """Control actor and guardian run the program in ``folder``, proved."""
    found = shell(cluster, side)
    parts = [found["control"], found["guardian"]]
    return all(part["program"] == folder and not part["trial"] for part in parts) and found["runs"] == folder


def upgrade(cluster: Cluster, side: str, digest: str) -> str:
    agent = "local" if side == "agent" else "fusion"
    done = cluster.command(
        "upgrade", "start", digest, "--what", "shell", "--agent", agent, "--reason", "a test", check=False
    )
    return str(done.stderr)


def software(cluster: Cluster, side: str) -> str:
    return str(cluster.agent()["software"] if side == "agent" else cluster.admin("status")["software"])


@pytest.mark.parametrize("side", SIDES)
def test_a_good_one_is_kept_and_what_it_keeps_goes_on(cluster: Cluster, key: Path, tmp_path: Path, side: str) -> None:
    digest = push(cluster, made(tmp_path, key, version("1.0.2")))
    guardian, pids = table(cluster, side)["guardian"], payload_pids(cluster, side)
    folder = str(cluster.state / side / "versions" / digest)
    with Poller(cluster):
        said = upgrade(cluster, side, digest)
        assert runs(cluster, side, folder), said
        (Path(cluster.root) / f"d1/{side}").touch()
        cluster.assert_right()
    assert table(cluster, side)["guardian"] == guardian, "the guardian is the same process"
    assert guardian_program(cluster, side) == folder
    assert control_program(cluster, side) == folder
    assert payload_pids(cluster, side) == pids, "payloads went on"
    until(lambda: software(cluster, side) == f"1.0.2+{digest[:12]}", "its version at Fusion")


@pytest.mark.parametrize("side", SIDES)
def test_who_is_killed_comes_back_with_it(cluster: Cluster, side: str) -> None:
    folder = shell(cluster, side)["runs"]
    assert folder
    pids = payload_pids(cluster, side)
    control, guardian = table(cluster, side)["control"]["pid"], table(cluster, side)["guardian"]
    os.kill(control, signal.SIGKILL)
    until(lambda: control_program(cluster, side, control) == folder, "the next control actor")
    os.kill(guardian, signal.SIGKILL)
    until(lambda: table(cluster, side)["guardian"] != guardian, "a successor")
    until(lambda: guardian_program(cluster, side) == folder, "its program")
    assert payload_pids(cluster, side) == pids
    until(lambda: runs(cluster, side, folder) and not shell(cluster, side)["guardian"]["deaths"], "that it is proved")
    cluster.assert_right()


CRASHES = "import os, sys\n'--check' in sys.argv or os.abort()"
HANGS = "import sys, time\n'--check' in sys.argv or time.sleep(10_000)"


@pytest.mark.parametrize(
    ("side", "module", "text", "part", "why"),
    [
        ("agent", "fustor/agent/control.py", "raise SystemExit('not today')", "", "does not run here"),
        ("agent", "fustor/agent/control.py", CRASHES, "control", "signal 6"),
        ("agent", "fustor/agent/control.py", HANGS, "control", "did nothing any more"),
        ("fusion", "fustor/fusion/control.py", CRASHES, "control", "signal 6"),
        (
            "agent",
            "fustor/guardian/loop.py",
            "raise SystemExit(7)",
            "guardian",
            "would not start, this one goes on: code 7",
        ),
        ("agent", "fustor/guardian/loop.py", CRASHES, "guardian", "started again and again"),
        ("fusion", "fustor/guardian/loop.py", CRASHES, "guardian", "started again and again"),
    ],
    ids=[
        "refused",
        "control actor crashes",
        "control actor hangs",
        "control actor of Fusion crashes",
        "guardian would not start",
        "guardian crashes",
        "guardian of Fusion crashes",
    ],
)
def test_a_bad_one_is_left(
    cluster: Cluster, key: Path, tmp_path: Path, side: str, module: str, text: str, part: str, why: str
) -> None:
    before, pids = shell(cluster, side), payload_pids(cluster, side)
    digest = push(cluster, made(tmp_path, key, broken("6.6.6", module, text)))
    with Poller(cluster):
        said = upgrade(cluster, side, digest)
        assert why in said
        (Path(cluster.root) / f"d2/{digest}").touch()
        cluster.assert_right()
    found = shell(cluster, side)
    assert found["guardian"]["program"] == before["guardian"]["program"] == found["runs"]
    assert payload_pids(cluster, side) == pids, "payloads went on"
    if part:
        assert found[part]["left"].endswith(digest)
        told = [one["text"] for one in cluster.admin("events")["events"] if one["kind"] == "shell"]
        assert any(f"bundle {digest[:16]}… of the {part} was left" in text for text in told), told
    assert control_program(cluster, side) == found["control"]["program"]


@pytest.mark.parametrize("side", SIDES)
def test_and_back_to_what_is_installed(cluster: Cluster, side: str) -> None:
    pids = payload_pids(cluster, side)
    with Poller(cluster):
        said = upgrade(cluster, side, "installed")
        assert runs(cluster, side, ""), said
        cluster.assert_right()
    assert payload_pids(cluster, side) == pids
    assert control_program(cluster, side) == ""


#: Begins no session.
MUTE = "import protocols.session\nprotocols.session.AgentSession.start = lambda self, now: []"


def test_one_that_never_gets_in_touch_is_left(tmp_path: Path) -> None:
    with upgradable(tmp_path, limits=LIMITS.format(trial=4)) as cluster:
        trust(cluster, "agent", tmp_path / "release.key")
        pids = payload_pids(cluster, "agent")
        mute = broken("6.6.6", "fustor/agent/control.py", MUTE)
        digest = push(cluster, made(tmp_path, tmp_path / "release.key", mute))
        assert "it was not proved within 4 s" in upgrade(cluster, "agent", digest)
        assert shell(cluster, "agent")["control"]["tries"] == 3, "Fusion may have been away: it is tried again"
        assert payload_pids(cluster, "agent") == pids
        cluster.assert_right()
