"""The command line of Fusion's daemon, and what it leaves for the guardian."""

from __future__ import annotations

import json
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.sides import Daemon, Sides, public_key


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "fustor.fusion.daemon", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_check_says_ok_and_touches_nothing(tmp_path: Path) -> None:
    done = run("--check", "--state", str(tmp_path / "state"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "ok\n", "")
    assert not (tmp_path / "state").exists()


def test_check_prints_every_fault(tmp_path: Path) -> None:
    path = tmp_path / "fusion.toml"
    path.write_text('[fusion]\nhttp = "8101"\nquery_workers = 0\n[[view]]\n')
    done = run("--check", "--config", str(path))
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert len(lines) == 4
    assert all(line.startswith(f"fustor-fusion: {path}: ") for line in lines)
    assert [line.split(": ")[2].split(" = ")[0] for line in lines] == [
        "fusion.state",
        "fusion.http",
        "fusion.query_workers",
        "view",
    ]


def test_flags_override_the_file(tmp_path: Path) -> None:
    path = tmp_path / "fusion.toml"
    path.write_text('[fusion]\nstate = "s"\nhttp = "nonsense"\n')
    assert run("--check", "--config", str(path)).returncode == 2
    assert run("--check", "--config", str(path), "--http", "127.0.0.1:9").returncode == 0
    done = run("--check", "--config", str(path), "--http", "127.0.0.1:9", "--control", "x")
    assert "fusion.control" in done.stderr


@pytest.mark.parametrize("arguments", [["--nonsense"], ["--config", "/nonexistent/fusion.toml"]])
def test_usage_is_exit_2(arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_state_that_can_not_be_written_is_the_hosts_fault() -> None:
    done = run("--state", "/proc/self/fustor")
    assert done.returncode == 1
    assert "state folder" in done.stderr
    assert "Traceback" not in done.stderr


def test_it_becomes_the_guardian(tmp_path: Path) -> None:
    sides = Sides(tmp_path)
    fusion = sides.fusion
    try:
        fusion.start()
        assert fusion.process is not None
        assert (fusion.state / "run" / "guardian.pid").read_text().strip() == str(fusion.process.pid)
        assert stat.S_IMODE(fusion.state.stat().st_mode) == 0o700
        assert stat.S_IMODE((fusion.state / "keys" / "fusion.key").stat().st_mode) == 0o600
        assert len(public_key(fusion.state / "keys" / "fusion.pub")) == 40
        effective = json.loads((fusion.state / "run" / "config.json").read_text())
        assert effective["fusion"]["state"] == str(fusion.state)
        assert effective["fusion"]["heartbeat_seconds"] == 0.2
        second = run("--config", str(fusion.config))
        assert second.returncode == 100
        assert f"already running (pid {fusion.process.pid})" in second.stderr
        assert fusion.stop() == 0
    finally:
        sides.close()


def test_an_http_address_in_use_is_exit_98(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = run("--state", str(tmp_path / "state"), "--http", f"127.0.0.1:{taken.getsockname()[1]}")
    assert done.returncode == 98


def test_the_key_stays_the_same(tmp_path: Path) -> None:
    sides = Sides(tmp_path)
    try:
        sides.fusion.start()
        first = public_key(sides.fusion.state / "keys" / "fusion.pub")
        sides.fusion.stop()
        again = Daemon(tmp_path, "fusion")
        again.start()
        assert public_key(again.state / "keys" / "fusion.pub") == first
        assert again.stop() == 0
    finally:
        sides.close()
