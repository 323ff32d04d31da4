"""``fustor doctor`` on this very host, and on state folders in which something is wrong."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fustor.admin.doctor import filesystem_of, read_host
from fustor.admin.prepare import prepare
from fustor.admin.state import State
from tests.admin.conftest import FakeFusion

Run = Callable[..., subprocess.CompletedProcess[str]]


def told(run_fustor: Run, state: State) -> tuple[int, dict[str, list[dict[str, Any]]]]:
    """Exit code, and the findings by name."""
    done = run_fustor("doctor", "--json", "--state", str(state.folder))
    found: dict[str, list[dict[str, Any]]] = {}
    for one in json.loads(done.stdout):
        found.setdefault(one["name"], []).append(one)
    return done.returncode, found


@pytest.fixture
def prepared(tmp_path: Path, data: str, ports: None) -> State:
    """A state folder in which nothing runs."""
    state = State(tmp_path / "state")
    prepare(state, data)
    return state


def test_this_host_can_be_read(tmp_path: Path) -> None:
    host = read_host(State(tmp_path / "not" / "there"))
    assert host.watches == int(Path("/proc/sys/fs/inotify/max_user_watches").read_text())
    assert host.free_bytes is not None
    assert host.free_bytes > 0
    assert host.memory is not None
    assert host.directories is None
    assert filesystem_of(Path("/proc")) == "proc"


def test_before_anything_was_started(tmp_path: Path, run_fustor: Run) -> None:
    _, found = told(run_fustor, State(tmp_path / "state"))
    assert found["state"][0]["text"].endswith("nothing has been started there yet")
    assert "ports" not in found
    assert not (tmp_path / "state").exists()


def test_a_folder_that_is_ready(prepared: State, run_fustor: Run) -> None:
    _, found = told(run_fustor, prepared)
    for name in ("state", "configuration", "keys", "ports"):
        assert [one["verdict"] for one in found[name]] == ["ok"], found[name]
    assert found["keys"][0]["text"] == "2 may connect"


def test_one_that_runs_has_its_ports(fusion: FakeFusion, run_fustor: Run) -> None:
    _, found = told(run_fustor, fusion.state)
    assert found["ports"][0]["text"] == "Fusion runs, its guardian has them"


def test_everything_that_is_wrong_is_named_at_once(prepared: State, run_fustor: Run) -> None:
    prepared.folder.chmod(0o755)
    (prepared.fusion.keys / "fusion.key").chmod(0o644)
    (prepared.fusion.keys / "authorized" / "x.pub").write_text("rubbish")
    agent = prepared.agent.config
    agent.write_text(agent.read_text().replace("scanners = 2", 'scanners = 0\nexclude_regex = ["("]'))
    code, found = told(run_fustor, prepared)
    assert code == 1
    assert found["state"][0]["mend"] == f"chmod 700 {prepared.folder}"
    assert any("sources[0].scanners" in one["text"] for one in found["configuration"])
    assert {one["verdict"] for one in found["keys"]} == {"bad", "warning"}
    assert any("chmod 600" in one["mend"] for one in found["keys"])


def test_a_port_that_is_taken(prepared: State, run_fustor: Run) -> None:
    host, _, port = str(prepared.fusion_config()["http"]).rpartition(":")
    with socket.create_server((host, int(port))):
        code, found = told(run_fustor, prepared)
    assert code == 1
    (taken,) = found["ports"]
    assert taken["text"].startswith(f"{host}:{port} is taken by process")
    assert "for http in" in taken["mend"]


def test_for_people(prepared: State, run_fustor: Run) -> None:
    done = run_fustor("doctor", "--state", str(prepared.folder))
    assert "ok" in done.stdout
    assert "\x1b" not in done.stdout
    (prepared.fusion.keys / "fusion.key").chmod(0o644)
    done = run_fustor("doctor", "--state", str(prepared.folder))
    assert done.returncode == 1
    assert "→ chmod 600" in done.stdout
    assert "keys: has to be mended" in done.stderr
