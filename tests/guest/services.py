"""The shipped units under a real systemd: started, killed in part and as a whole, renewed and stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fustor.admin.processes import members
from fustor.admin.state import State
from tests.support.cluster import Cluster, Poller, until

CHECKOUT = Path(__file__).resolve().parents[2]
UNITS = CHECKOUT / "docs" / "deployment"
SYSTEM = Path("/run/systemd/system")
#: What differs on the machine of a test: where the program is, who owns it, and where its files are.
DROP_IN = """[Service]
ExecStart=
ExecStart={program} --config {config} --supervised
User=root
Group=root
ProtectHome=no
PrivateTmp={private}
StateDirectory=
ReadWritePaths={state}
StandardError=append:{said}
TimeoutAbortSec=1
"""
#: What the services have said, there is no journal.
SAID = Path("/mnt/tmp/said")
#: Everything takes ten times as long here, and nobody is given up for that.
PATIENCE = 300.0
LIMITS = """
[limits.shell]
hello_seconds = 200.0
silent_seconds = 60.0
stalled_seconds = 60.0
stop_seconds = 60.0
[limits.guardian]
frozen_seconds = 60.0
hang_seconds = 60.0
silent_seconds = 600.0
rejoin_seconds = 100.0
adopt_seconds = 100.0
"""


def systemctl(*words: str) -> str:
    done = subprocess.run(["systemctl", "--no-pager", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        state = subprocess.run(
            ["systemctl", "--no-pager", "status", "fustor-*"], capture_output=True, text=True, check=False
        )
        said = SAID.read_text() if SAID.exists() else ""
        pytest.fail(f"{words}: {done.stderr}\n{state.stdout}\n{said[-4000:]}")
    return done.stdout.strip()


class Managed(Cluster):
    """Both sides as services."""

    def up(self) -> None:
        state = State(self.state)
        config = state.fusion_config()
        host, _, port = str(config["http"]).rpartition(":")
        self.address = (host, int(port))
        SYSTEM.mkdir(parents=True, exist_ok=True)
        for side in state.sides:
            with side.config.open("a") as file:
                file.write(LIMITS)
            name = f"fustor-{side.name}.service"
            (SYSTEM / name).write_text((UNITS / name).read_text())
            drop_in = SYSTEM / f"{name}.d" / "test.conf"
            drop_in.parent.mkdir(exist_ok=True)
            program = Path(sys.executable).with_name(f"fustor-{side.name}")
            # A program that lies below /tmp itself could not be executed.
            private = "no" if CHECKOUT.is_relative_to("/tmp") else "yes"
            drop_in.write_text(
                DROP_IN.format(program=program, config=side.config, private=private, state=self.state, said=SAID)
            )
        name = "fustor-fusion.socket"
        (SYSTEM / name).write_text((UNITS / name).read_text().replace("127.0.0.1:8101", f"{host}:{port}"))
        systemctl("daemon-reload")
        # Whatever fails at first is started again: that is what is awaited.
        systemctl("start", "--no-block", "fustor-fusion.socket", "fustor-fusion.service", "fustor-agent.service")

    def down(self) -> None:
        systemctl("stop", "fustor-agent.service", "fustor-fusion.socket", "fustor-fusion.service")
        for side in State(self.state).sides:
            assert not members(side)

    def main(self) -> int:
        """Pid of Fusion's main process, once systemd has heard that it is ready; 0 before."""
        shown = systemctl("show", "--property=ActiveState,MainPID", "--value", "fustor-fusion.service").split()
        pid = next(int(word) for word in shown if word.isdigit())
        return pid if "active" in shown else 0

    def fusion(self) -> dict[str, int]:
        """Everybody on Fusion's side but its template, which ends with the guardian: name → pid."""
        everybody = {name: pid for pid, name in members(State(self.state).fusion).items()}
        everybody.pop("template", 0)
        return everybody


@pytest.fixture
def managed(services: Managed) -> Iterator[Managed]:
    yield services
    print(systemctl("status", "--no-pager", "--lines=40", "fustor-fusion.socket", "fustor-fusion.service"))
    for log in sorted(Path(services.state).glob("*/log/*.log")):
        print(log.name, log.read_text(), sep="\n")


@pytest.fixture(scope="module")
def services() -> Iterator[Managed]:
    room = Path("/mnt/tmp/services")
    root = room / "root"
    root.mkdir(parents=True)
    for number in range(20):
        (root / f"file {number}").write_bytes(b"x" * number)
    made = Managed(root, room / "state")
    yield made
    made.down()


def group_of(pid: int) -> str:
    """Its control group; empty for 0, nobody."""
    return Path(f"/proc/{pid}/cgroup").read_text().strip().rpartition("/")[2] if pid else ""


def bound_of(group: str) -> str:
    """What memory a control group of Fusion may have; empty while it has no controller."""
    try:
        return Path("/sys/fs/cgroup/system.slice/fustor-fusion.service", group, "memory.max").read_text().strip()
    except FileNotFoundError:
        return ""


def test_it_is_ready_and_answers(managed: Managed) -> None:
    until(managed.main, "Fusion to be ready", PATIENCE)
    managed.settled(PATIENCE)
    difference = managed.difference()
    assert not difference, str(difference)
    everybody = managed.fusion()
    until(lambda: group_of(everybody["view.main"]) == "fustor-payload-view.main", "its control group", PATIENCE)
    assert group_of(managed.main()) == "fustor-shell"
    assert {name: os.getpriority(os.PRIO_PROCESS, everybody[name]) for name in ("control", "view.main")} == {
        "control": -10,
        "view.main": 0,
    }


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_nobody_notices_what_happens_to_the_guardian(managed: Managed, number: signal.Signals) -> None:
    """Killed, or stopped: then the service manager ends it, for the patience of its control actor is much longer."""
    before = managed.fusion()
    guardian = managed.main()
    with Poller(managed):
        os.kill(guardian, number)
        until(lambda: managed.main() not in (0, guardian), "the next one", PATIENCE)
        until(lambda: managed.fusion().keys() == before.keys(), "everybody to be there", PATIENCE)
        until(lambda: group_of(managed.main()) == "fustor-shell", "its control group", PATIENCE)
    until(lambda: managed.fusion() == {**before, "guardian": managed.main()}, "everybody else as before", PATIENCE)
    until(lambda: bound_of("fustor-payload-view.main") not in ("", "max"), "its bound to be there again", PATIENCE)


def test_reload_changes_the_guardian_to_the_code_of_now(managed: Managed) -> None:
    before = managed.fusion()
    log = managed.state / "fusion" / "log" / "guardian.log"
    systemctl("reload", "fustor-fusion.service")
    until(lambda: "changing to the new version" in log.read_text(), "the change", PATIENCE)
    managed.settled(PATIENCE)
    # A process that is about to become another one still has the guardian's name.
    until(lambda: managed.fusion() == before, "everybody as before", PATIENCE)


def test_nobody_is_refused_when_all_of_fusion_is_killed_at_once(managed: Managed) -> None:
    managed.settled(PATIENCE)
    pids = managed.fusion().values()
    with Poller(managed, retries=1) as poller:
        until(lambda: len(poller.answers) > 1, "answers", PATIENCE)
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in pids:
                os.kill(pid, number)
        count = len(poller.answers)
        until(lambda: len(poller.answers) > count + 1, "an answer of those who follow", PATIENCE)
        managed.settled(PATIENCE)
    assert not set(pids) & set(managed.fusion().values())
    # From the first answer on, the whole last tree.
    assert all(answer["rollup"]["files"] == 20 for answer in poller.answers)
