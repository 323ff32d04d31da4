"""Control groups at work: of a single process, and of the payloads of a shell."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from fustor.runtime.cgroups import GroupLimits, Groups, find
from fustor.runtime.delegation import PREFIX, SHELL, give_back
from protocols.errors import MachineError
from protocols.limits import ProcessLimits
from tests.runtime.test_shell import POLICY, Stage, guardian, stage, status
from tests.runtime.test_shell import until as seen
from tests.support.sides import until

__all__ = ["guardian", "stage"]

#: Memory of two children, each within the limits of a single process, both together above that of the group.
LEAK = """
import subprocess, sys, time
child = "import sys; kept = b'x' * (180 << 20); print(flush=True); sys.stdin.read()"
sys.stdin.readline()
children = [subprocess.Popen([sys.executable, "-c", child], stdin=subprocess.PIPE) for _ in range(2)]
time.sleep(600)
"""
LIMITS = ProcessLimits(memory_bytes=64 << 20)


@pytest.fixture
def parent() -> Iterator[str]:
    folder = "/mnt/groups/fustor"
    os.mkdir(folder)
    yield folder
    until(lambda: not Path(folder, "cgroup.procs").read_text(), "nobody in the folder itself")
    ours = Path(folder, SHELL)
    if ours.exists():
        # Whoever is left, and is not going, is this process.
        Path("/mnt/groups/cgroup.procs").write_text(str(os.getpid()))
        for group in Path(folder).glob("fustor-*"):
            until(lambda: not (group / "cgroup.procs").read_text(), f"{group} to be empty")  # noqa: B023
            group.rmdir()
    os.rmdir(folder)


def members(parent: str, group: str) -> set[int]:
    path = Path(parent, group, "cgroup.procs")
    return set(map(int, path.read_text().split())) if path.exists() else set()


def test_children_that_use_more_memory_together_end_with_the_one_that_started_them(parent: str) -> None:
    groups = Groups(parent, [os.getpid()])
    assert members(parent, SHELL) == {os.getpid()}
    assert Path(parent, SHELL, "cpu.weight").read_text() == "1000\n"
    with subprocess.Popen([sys.executable, "-c", LEAK], stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert groups.impose("scanner.data.0", process.pid, LIMITS) == ""
        assert groups.kills("scanner.data.0") == 0
        assert members(parent, f"{PREFIX}scanner.data.0") == {process.pid}
        process.stdin.write(b"\n")
        process.stdin.flush()
        assert process.wait() == -signal.SIGKILL
    until(lambda: not members(parent, f"{PREFIX}scanner.data.0"), "its children to be gone, too")
    assert groups.kills("scanner.data.0") > 0
    groups.remove("scanner.data.0")
    assert not Path(parent, f"{PREFIX}scanner.data.0").exists()
    # Who has ended meanwhile is no fault.
    assert groups.impose("scanner.data.0", process.pid, LIMITS) == ""


def test_a_folder_with_a_process_is_refused_with_the_reason(parent: str) -> None:
    with subprocess.Popen(["sleep", "600"]) as process:
        Path(parent, "cgroup.procs").write_text(str(process.pid))
        with pytest.raises(MachineError, match="no process may be in it"):
            Groups(parent, [os.getpid()])
        process.kill()


def test_what_is_delegated_is_found_from_below_too(parent: str) -> None:
    Path(parent, "cgroup.procs").write_text(str(os.getpid()))
    assert find("auto", [os.getpid()]) is None
    os.setxattr(parent, "user.delegate", b"1")
    for _ in range(2):
        groups = find("auto", [os.getpid()])
        assert groups is not None
        assert groups.parent == parent
        assert members(parent, SHELL) == {os.getpid()}


def test_given_back_the_folder_takes_the_next_guardian(parent: str) -> None:
    groups = Groups(parent, [os.getpid()])
    entrance, bound = Path(parent, "cgroup.procs"), Path(parent, f"{PREFIX}a", "memory.max")
    with subprocess.Popen(["sleep", "600"]) as payload, subprocess.Popen(["sleep", "600"]) as guardian:
        assert groups.impose("a", payload.pid, LIMITS) == ""
        with pytest.raises(OSError, match="busy"):
            entrance.write_text(str(guardian.pid))
        give_back()
        assert not bound.exists()
        entrance.write_text(str(guardian.pid))
        groups.keep([os.getpid(), guardian.pid])
        assert members(parent, SHELL) == {os.getpid(), guardian.pid}
        assert groups.impose("a", payload.pid, LIMITS) == ""
        assert int(bound.read_text()) == LIMITS.data_bytes
        payload.kill()
        guardian.kill()
    until(lambda: not members(parent, f"{PREFIX}a"), "it to be gone")
    groups.remove("a")


async def test_payloads_of_a_shell(parent: str, stage: Stage) -> None:
    spec = attrs.evolve(stage.spec("a", "children"), limits=LIMITS)
    group, patient = f"{PREFIX}a", attrs.evolve(POLICY, hello_seconds=200.0, silent_seconds=60.0, stop_seconds=60.0)
    async with stage.shell(spec, groups=GroupLimits(parent), policy=patient) as shell:
        await seen(lambda: status(shell, "a").cause == "memory", "the death of its group")
        await seen(lambda: status(shell, "a").state == "running", "its successor")
        assert members(parent, group) == {status(shell, "a").pid}
        assert os.getpid() in members(parent, SHELL)
    async with stage.shell(groups=GroupLimits(parent), policy=patient):
        await seen(lambda: not Path(parent, group).exists(), "the group of what is not wanted to be gone")
