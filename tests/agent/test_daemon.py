"""The command line of the agent's daemon."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fustor.runtime.keys import load_or_create


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "fustor.agent.daemon", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


def test_flags_suffice(tmp_path: Path) -> None:
    done = run("--check", "--state", str(tmp_path / "state"), "--root", str(tmp_path), "--fusion", "tcp://f:7700")
    assert (done.returncode, done.stdout, done.stderr) == (0, "ok\n", "")
    assert not (tmp_path / "state").exists()


def test_without_a_root_it_says_what_is_missing(tmp_path: Path) -> None:
    done = run("--check", "--state", str(tmp_path))
    assert done.returncode == 2
    assert "--root" in done.stderr


def test_patterns_are_judged_by_the_scanner(tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    path.write_text(
        '[agent]\nstate = "s"\n[[sources]]\nname = "data"\nroot = "r"\n'
        'exclude_regex = ["(", "a", "*"]\ninclude = ["!"]\n'
    )
    done = run("--check", "--config", str(path))
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert all(line.startswith(f"fustor-agent: {path}: sources[0] (data): ") for line in lines)
    assert [line.split(": ")[3].split(" = ")[0] for line in lines] == [
        "include[0]",
        "exclude_regex[0]",
        "exclude_regex[2]",
    ]


def test_every_fault_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    path.write_text('[agent]\nfusion = "x"\nid = "a.b"\n[[sources]]\nname = "data"\nroot = "r"\nscanners = 0\n')
    done = run("--check", "--config", str(path))
    assert done.returncode == 2
    fields = [line.split(": ")[2].split(" = ")[0] for line in done.stderr.splitlines()]
    assert fields == ["agent.state", "agent.id", "agent.fusion", "sources[0].scanners"]


def test_flags_override_the_file(tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    path.write_text('[agent]\nstate = "s"\nfusion = "x"\n[[sources]]\nname = "data"\nroot = "nul"\nscanners = 1\n')
    flags = ["--fusion", "tcp://f:1", "--root", str(tmp_path), "--id", "me", f"--fusion-key={'k' * 40}"]
    assert run("--check", "--config", str(path), *flags).returncode == 0
    assert "agent.id" in run("--check", "--config", str(path), *flags, "--id", "a b").stderr


@pytest.mark.parametrize("arguments", [["--nonsense"], ["--config", "/nonexistent/agent.toml"]])
def test_usage_is_exit_2(arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_state_that_can_not_be_written_is_the_hosts_fault(tmp_path: Path) -> None:
    done = run("--state", "/proc/self/fustor", "--root", str(tmp_path))
    assert done.returncode == 1
    assert "state folder" in done.stderr


def test_the_key_of_another_agent_is_refused(tmp_path: Path) -> None:
    state = tmp_path / "state"
    (state / "keys").mkdir(parents=True, mode=0o700)
    load_or_create(str(state / "keys" / "agent.key"), "other", "agent")
    done = run("--state", str(state), "--root", str(tmp_path))
    assert done.returncode == 2
    assert "'local' is configured" in done.stderr
