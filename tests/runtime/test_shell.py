"""A shell with a real guardian, a real lifeline, and payloads that are real processes."""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import zmq

from fustor.runtime.cgroups import GroupLimits
from fustor.runtime.handling import Handling
from fustor.runtime.keeper import Keeper, open_keeper
from fustor.runtime.payload import PayloadSpec
from fustor.runtime.shell import Shell
from protocols.errors import RequestError
from protocols.limits import ProcessLimits
from protocols.messages import PayloadStatus
from protocols.restart import BackoffPolicy
from protocols.supervision import Drain, Pause, Policy, Restart, Resume, Strike

ROOT = Path(__file__).resolve().parents[2]
MAIN = ROOT / "fustor" / "guardian" / "main.py"
RELAY = ROOT / "tests" / "guardian" / "relay.py"
FREEZER = Path("/sys/fs/cgroup/freezer")

PAYLOAD = """
import errno
import os
import subprocess
import sys
import time
import trio
from fustor.runtime.actor import run_actor
from fustor.runtime.handling import note_of
from protocols.errors import ConfigError

def build(config):
    if config["mode"] == "bad":
        raise ConfigError("mode", "bad", "another one is accepted")
    async def run(host):
        if config["mode"] == "crash":
            raise ValueError("on purpose")
        if config["mode"] in ("kills", "hangs", "storage") and "/bad/" not in config.get("quarantined", ()):
            note = note_of(host.name, host.log)
            note.begin(b"/bad/")
            if config["mode"] == "kills":
                os.abort()
            host.ready()
            host.state = "waiting" if config["mode"] == "storage" else "running"
            host.nudge()
            await trio.sleep(0.5)  # to be heard; who was not is waited for longer
            time.sleep(1000)
        host.outstanding = config["mode"] == "stall"
        host.ready(mode=config["mode"])
        if config["mode"] == "children" and not os.path.exists("once"):
            open("once", "w").close()
            code = "import sys; kept = b'x' * (180 << 20); sys.stdin.read()"  # each within the limits of a process
            kept = [subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) for _ in range(2)]
        while config["mode"] == "full":
            if os.path.exists("go"):
                os.unlink("go")
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            await trio.sleep(0.01)
        if config["mode"] == "stubborn":
            with trio.CancelScope(shield=True):
                await trio.sleep_forever()
        await host.stop_requested.wait()
    return run

run_actor("test", build)
"""

#: Short pauses, so that what shall happen happens soon; nothing is asserted about how soon.
POLICY = Policy(
    backoff=BackoffPolicy(first_seconds=0.05, cap_seconds=0.2),
    silent_seconds=3.0,
    stalled_seconds=1.0,
    stop_seconds=2.0,
)


@pytest.fixture
def guardian(tmp_path: Path) -> Iterator[Path]:
    """The run folder of a guardian whose control actor passes packets on."""
    run = tmp_path / "run"
    run.mkdir()
    config = {
        "run": str(run),
        "log": str(tmp_path / "log"),
        "control": [sys.executable, "-I", "-S", str(RELAY)],
        "beat_timeout": 0,
        "grace": 1,
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "payload.py").write_text(PAYLOAD)
    process = subprocess.Popen([sys.executable, "-I", "-S", str(MAIN), str(tmp_path / "config.json")])
    yield run
    process.terminate()
    process.wait(60)


@attrs.define
class Stage:
    run: Path
    keeper: Keeper

    def spec(self, name: str, mode: str = "good", rank: int = 0) -> PayloadSpec:
        return PayloadSpec(name, (sys.executable, "-P", str(self.run.parent / "payload.py")), {"mode": mode}, (), rank)

    @asynccontextmanager
    async def shell(
        self,
        *specs: PayloadSpec,
        policy: Policy = POLICY,
        holds: str = "",
        cases: str = "",
        groups: GroupLimits | None = None,
    ) -> AsyncIterator[Shell]:
        """A shell that is cancelled, not stopped, at the end: as if it were killed."""
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        shell = Shell(
            context,
            self.keeper,
            log=logging.getLogger("shell"),
            policy=policy,
            endpoint=f"ipc://{self.run}/lifeline",
            beat_ms=50,
            log_folder=str(self.run.parent / "log"),
            holds=holds,
            cases=cases,
            groups=groups,
            run=str(self.run),
        )
        shell.set_desired(specs)
        async with trio.open_nursery() as nursery:
            await nursery.start(shell.run)
            yield shell
            nursery.cancel_scope.cancel()
        context.term()


@pytest.fixture
async def stage(guardian: Path) -> AsyncIterator[Stage]:
    with trio.fail_after(30):
        while True:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            try:
                sock.connect(str(guardian / "relay.sock"))
                break
            except (FileNotFoundError, ConnectionRefusedError):
                sock.close()
                await trio.sleep(0.01)
    async with open_keeper(Keeper(sock)) as keeper:
        yield Stage(guardian, keeper)


def status(shell: Shell, name: str) -> PayloadStatus:
    return next(s for s in shell.statuses() if s.name == name)


async def until(condition: Callable[[], Any], what: str) -> None:
    for _ in range(6000):
        if condition():
            return
        await trio.sleep(0.01)
    raise AssertionError(f"never: {what}")


def exists(pid: int) -> bool:
    return Path("/proc", str(pid)).exists()


async def running(shell: Shell, *names: str) -> dict[str, int]:
    """Wait until all of them run; their pids."""
    await until(lambda: all(status(shell, n).state == "running" for n in names), f"{names} running")
    return {name: status(shell, name).pid for name in names}


async def test_what_is_desired_runs_and_what_is_not_goes(stage: Stage) -> None:
    a, b = stage.spec("a.0"), stage.spec("b.0")
    async with stage.shell(a) as shell:
        pids = await running(shell, "a.0")
        shell.set_desired([a, b])
        assert (await running(shell, "a.0", "b.0"))["a.0"] == pids["a.0"]
        shell.set_desired([b])
        await until(lambda: len(shell.statuses()) == 1, "the end of a.0")
        await until(lambda: not exists(pids["a.0"]), "the end of its process")
        with trio.fail_after(30):
            names = ["a.0"]
            while names != ["b.0"]:
                names = [entry.name for entry in await stage.keeper.table()]


async def test_a_killed_payload_is_started_again(stage: Stage) -> None:
    async with stage.shell(stage.spec("a.0")) as shell:
        for round_number in range(1, 4):
            pid = (await running(shell, "a.0"))["a.0"]
            os.kill(pid, signal.SIGKILL)
            await until(lambda n=round_number: status(shell, "a.0").restarts == n, "a restart")  # type: ignore[misc]
            assert (await running(shell, "a.0"))["a.0"] != pid
            assert status(shell, "a.0").last_exit == "signal 9 (SIGKILL)"


async def test_a_crash_loop_goes_on_for_ever_and_hurts_nobody(stage: Stage) -> None:
    async with stage.shell(stage.spec("a.0", "crash"), stage.spec("b.0")) as shell:
        pid = (await running(shell, "b.0"))["b.0"]
        await until(lambda: status(shell, "a.0").restarts >= 4, "several restarts")
        assert status(shell, "a.0").last_exit == "exit 1"
        # What it wrote before is told with its exit.
        assert any(one.kind == "exit" and "on purpose" in one.evidence for one in shell.story.all())
        assert (await running(shell, "b.0"))["b.0"] == pid
        assert status(shell, "b.0").restarts == 0
        # Another configuration mends it at once.
        shell.set_desired([stage.spec("a.0"), stage.spec("b.0")])
        await running(shell, "a.0")


@pytest.mark.parametrize(("mode", "cause"), [("kills", "signal"), ("hangs", "hang")])
async def test_what_killed_twice_is_quarantined_for_all_of_the_group(stage: Stage, mode: str, cause: str) -> None:
    first, second = (attrs.evolve(stage.spec(name, mode), group="a") for name in ("a.0", "a.1"))
    other = stage.spec("b.0")
    path = str(stage.run.parent / "quarantine.json")
    async with stage.shell(first, other, cases=path) as shell:
        pid = (await running(shell, "b.0"))["b.0"]
        await until(lambda: [c.state.value for c in shell.cases()] == ["quarantined"], "the quarantine")
        [case] = shell.cases()
        assert (case.item, case.deaths, case.payload) == ("/bad/", 2, "a.0")
        await running(shell, "a.0")
        assert (status(shell, "a.0").cause, status(shell, "a.0").restarts) == (cause, 2)
        assert status(shell, "a.0").revision != first.revision
        assert shell.health("a.0").revision == first.revision, "what it was given, whatever is quarantined"
        assert any("/bad/ is quarantined as" in one.text for one in shell.story.all() if one.kind == "quarantine")
        # Also whoever has never died of it is told.
        shell.set_desired([first, second, other])
        await running(shell, "a.1")
        assert status(shell, "a.1").restarts == 0
        assert (await running(shell, "b.0"))["b.0"] == pid
        await until(lambda: Path(path).exists(), "the file")
    # It outlives the control actor, and ends by an order.
    async with stage.shell(first, second, other, cases=path) as shell:
        assert await running(shell, "a.0", "a.1")
        released = shell.release(case.id)
        assert (released.item, released.state.value) == ("/bad/", "released")
        # Both may die of it before anybody looks.
        await until(lambda: [c.state.value for c in shell.cases()] != ["released"], "another try")
        with pytest.raises(RequestError):
            shell.release("0123456789")


async def test_who_waits_for_storage_blames_nothing(stage: Stage) -> None:
    async with stage.shell(attrs.evolve(stage.spec("a.0", "storage"), group="a")) as shell:
        await until(lambda: status(shell, "a.0").restarts >= 2, "two restarts")
        assert status(shell, "a.0").cause == "hang"
        assert shell.cases() == []


async def test_who_is_killed_by_others_blames_nothing(stage: Stage) -> None:
    async with stage.shell(attrs.evolve(stage.spec("a.0"), group="a")) as shell:
        for _ in range(3):
            pid = (await running(shell, "a.0"))["a.0"]
            Handling.at(str(stage.run / "a.0.item")).begin(b"/innocent/")
            os.kill(pid, signal.SIGKILL)
            await until(lambda p=pid: status(shell, "a.0").pid not in (0, p), "another one")  # type: ignore[misc]
        assert shell.cases() == []


async def test_limits_hold_for_what_runs_and_change_without_a_restart(stage: Stage) -> None:
    spec = attrs.evolve(stage.spec("a.0"), limits=ProcessLimits(fds=100))
    async with stage.shell(spec) as shell:
        pid = (await running(shell, "a.0"))["a.0"]
        assert resource.prlimit(pid, resource.RLIMIT_NOFILE)[0] == 164
        assert resource.prlimit(pid, resource.RLIMIT_DATA)[0] == spec.limits.data_bytes
        less = attrs.evolve(spec, limits=ProcessLimits(memory_bytes=512 << 20, fds=90))
        shell.set_desired([less])
        await until(lambda: status(shell, "a.0").vitals["fds_limit"] == 90, "the new limits")
        assert resource.prlimit(pid, resource.RLIMIT_DATA)[0] == less.limits.data_bytes
        assert (await running(shell, "a.0"))["a.0"] == pid


async def test_who_looks_between_a_death_and_the_news_of_it_does_not_lose_why(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fustor.runtime.shell.VITALS_SECONDS", 0.02)
    guardian = json.loads((stage.run / "table.json").read_text())["guardian"]
    async with stage.shell(stage.spec("a", "full")) as shell:
        await until(lambda: status(shell, "a").state == "running" and status(shell, "a").vitals, "it to run")
        payload = shell._payloads["a"]
        os.kill(guardian, signal.SIGSTOP)
        try:
            (stage.run / "go").touch()
            await until(lambda: payload.vitals is None, "a look at the dead")
        finally:
            os.kill(guardian, signal.SIGCONT)
        await until(lambda: status(shell, "a").cause, "the news of its death")
        assert status(shell, "a").cause == "fds"


async def test_a_shell_without_its_control_groups_says_so_and_works(stage: Stage, tmp_path: Path) -> None:
    async with stage.shell(stage.spec("a"), groups=GroupLimits(str(tmp_path))) as shell:
        await until(lambda: status(shell, "a").state == "running", "it to run")
        assert [one.text for one in shell.story.after(0) if "without control groups" in one.text]


async def test_a_program_that_is_not_there_is_tried_again(stage: Stage) -> None:
    missing = PayloadSpec("a.0", ("/nonexistent/program",), {})
    async with stage.shell(missing) as shell:
        await until(lambda: status(shell, "a.0").restarts >= 2, "several tries")
        assert "No such file" in status(shell, "a.0").last_exit
        assert status(shell, "a.0").pid == 0


async def test_configurations_are_changed_and_refused_without_a_restart(stage: Stage) -> None:
    async with stage.shell(stage.spec("a.0", "good")) as shell:
        pids = await running(shell, "a.0")
        shell.set_desired([stage.spec("a.0", "bad")])
        await until(lambda: status(shell, "a.0").state == "refused", "the refusal")
        assert "another one is accepted" in status(shell, "a.0").complaint
        shell.set_desired([stage.spec("a.0", "better")])
        await until(lambda: status(shell, "a.0").facts.get("mode") == "better", "the new configuration")
        assert await running(shell, "a.0") == pids
        assert status(shell, "a.0").complaint == ""


async def test_a_new_shell_adopts_what_is_wanted_and_ends_the_rest(stage: Stage) -> None:
    a, b, c = stage.spec("a.0"), stage.spec("b.0"), stage.spec("c.0")
    async with stage.shell(a, b, c) as shell:
        pids = await running(shell, "a.0", "b.0", "c.0")
    async with stage.shell(a, stage.spec("b.0", "other")) as shell:
        assert shell.counters["adopted"] == 3
        assert await running(shell, "a.0", "b.0") == {"a.0": pids["a.0"], "b.0": pids["b.0"]}
        assert status(shell, "a.0").restarts == 0
        await until(lambda: status(shell, "b.0").facts.get("mode") == "other", "the new configuration of b.0")
        await until(lambda: len(shell.statuses()) == 2, "the end of c.0")
        await until(lambda: not exists(pids["c.0"]), "the end of its process")


async def test_what_died_while_nobody_looked_is_started_again(stage: Stage) -> None:
    a = stage.spec("a.0")
    async with stage.shell(a) as shell:
        pid = (await running(shell, "a.0"))["a.0"]
    os.kill(pid, signal.SIGKILL)
    await until(lambda: not exists(pid), "its end")
    async with stage.shell(a) as shell:
        assert (await running(shell, "a.0"))["a.0"] != pid
        assert shell.counters["adopted"] == 0


async def test_ranks_are_stopped_one_after_the_other(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    specs = [stage.spec("last.0", rank=2), stage.spec("first.0", rank=0), stage.spec("middle.0", rank=1)]
    async with stage.shell(*specs) as shell:
        await running(shell, "last.0", "first.0", "middle.0")
        await shell.stop()
        assert shell.statuses() == ()
    moves = [(r.__dict__["payload"], r.__dict__["is"]) for r in caplog.records if r.__dict__.get("payload")]
    order = [move for move in moves if move[1] in ("draining", "stopped")]
    assert order == [(f"{n}.0", s) for n in ("first", "middle", "last") for s in ("draining", "stopped")]


async def test_who_does_not_stop_is_killed_with_its_stacks_in_the_log(stage: Stage) -> None:
    async with stage.shell(stage.spec("a.0", "stubborn")) as shell:
        pid = (await running(shell, "a.0"))["a.0"]
        await shell.stop()
        assert not exists(pid)


async def test_who_is_frozen_is_replaced(stage: Stage) -> None:
    async with stage.shell(stage.spec("a.0")) as shell:
        pid = (await running(shell, "a.0"))["a.0"]
        os.kill(pid, signal.SIGSTOP)
        await until(lambda: status(shell, "a.0").restarts == 1, "the replacement")
        await running(shell, "a.0")
        # SIGABRT made it write its stacks while it ended. It looks at frames of threads that run, and may end by that;
        # on a busy machine it may not be done in time.
        expected = ("signal 6 (SIGABRT)", "signal 11 (SIGSEGV)", "signal 9 (SIGKILL)")
        assert status(shell, "a.0").last_exit in expected
        assert status(shell, "a.0").cause == "hang"


async def test_who_has_work_and_makes_no_progress_is_replaced(stage: Stage) -> None:
    async with stage.shell(stage.spec("a.0", "stall")) as shell:
        pid = (await running(shell, "a.0"))["a.0"]
        await until(lambda: status(shell, "a.0").restarts == 1, "the replacement")
        assert not exists(pid)
    assert "Current thread" in (stage.run.parent / "log" / "a.0.log").read_text()


async def test_orders_by_name(stage: Stage) -> None:
    async with stage.shell(stage.spec("a.0")) as shell:
        pid = (await running(shell, "a.0"))["a.0"]
        assert "Current thread" in await shell.stacks_of("a.0", 20.0)
        shell.order("a.0", Restart("ordered", ordered=True))
        await until(lambda: status(shell, "a.0").pid not in (0, pid), "another process")
        assert status(shell, "a.0").cause == "operator"
        for ask in (lambda: shell.view("b.0"), lambda: shell.order("b.0", Pause())):
            with pytest.raises(RequestError, match=r"a\.0"):
                ask()
        with pytest.raises(RequestError, match=r"a\.0"):
            await shell.stacks_of("b.0")


async def test_holds_outlive_a_shell_and_damaged_ones_are_said(
    stage: Stage, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    specs = [stage.spec("a.0"), stage.spec("b.0")]
    holds = tmp_path / "holds.json"
    async with stage.shell(*specs, holds=str(holds)) as shell:
        pid = (await running(shell, "a.0", "b.0"))["a.0"]
        shell.order("a.0", Pause())
        shell.order("b.0", Drain())
        await until(lambda: status(shell, "b.0").state == "drained", "the drain")
        await until(lambda: holds.exists() and pid and "a.0" in holds.read_text(), "the holds on disk")
    async with stage.shell(*specs, holds=str(holds)) as shell:
        assert (status(shell, "a.0").state, status(shell, "b.0").state) == ("paused", "drained")
        for name in ("a.0", "b.0"):
            shell.order(name, Resume())
        assert (await running(shell, "a.0", "b.0"))["a.0"] == pid
    holds.write_text("[]")
    async with stage.shell(*specs, holds=str(holds)) as shell:
        await running(shell, "a.0", "b.0")
    assert "what was paused or drained is lost" in caplog.text


async def test_evidence_comes_before_the_end(stage: Stage) -> None:
    async with stage.shell(stage.spec("a.0", "stall")) as shell:
        await running(shell, "a.0")
        await until(lambda: any(one.kind == "exit" for one in shell.story.all()), "its end")
        told = [one for one in shell.story.all() if one.kind in ("hang", "evidence", "exit")]
        assert [one.kind for one in told[:3]] == ["hang", "evidence", "exit"]
        assert "State:" in told[0].evidence
        assert "Current thread" in told[1].evidence
        assert told[2].text.endswith("cause hang")


@pytest.mark.skipif(not os.access(FREEZER, os.W_OK), reason="needs a freezer (cgroup v1) that may be written")
async def test_who_cannot_be_killed_is_abandoned_and_replaced(stage: Stage) -> None:
    """kill -9 has no effect on a process in a frozen group before it thaws: as on one that waits for dead storage."""
    policy = attrs.evolve(POLICY, kill_seconds=0.2, abandon_seconds=0.6, waiting_seconds=0.1)
    group = FREEZER / f"fustor-test-{os.getpid()}"
    group.mkdir()
    try:
        async with stage.shell(stage.spec("a.0"), policy=policy) as shell:
            pid = (await running(shell, "a.0"))["a.0"]
            (group / "cgroup.procs").write_text(str(pid))
            (group / "freezer.state").write_text("FROZEN")
            shell.order("a.0", Strike(signal.SIGKILL))
            await until(lambda: status(shell, "a.0").pid not in (0, pid), "its replacement")
            await running(shell, "a.0")
            assert (status(shell, "a.0").cause, shell.counters["abandoned"]) == ("abandoned", 1)
            assert exists(pid)
            (group / "freezer.state").write_text("THAWED")
            await until(lambda: not exists(pid), "its end at last")
            await until(lambda: any("at last" in one.text for one in shell.story.all()), "the news of it")
            assert await names_in_table(stage) == ["a.0"]
    finally:
        (group / "freezer.state").write_text("THAWED")
        with trio.fail_after(30):
            while (group / "cgroup.procs").read_text():  # noqa: ASYNC110 - the kernel empties it
                await trio.sleep(0.02)
        group.rmdir()


async def names_in_table(stage: Stage) -> list[str]:
    with trio.fail_after(30):
        while len(table := await stage.keeper.table()) > 1:  # noqa: ASYNC110 - another task forgets
            await trio.sleep(0.02)
    return [entry.name for entry in table]


async def test_rubbish_on_the_lifeline_is_counted(stage: Stage) -> None:
    async with stage.shell(stage.spec("a.0")) as shell:
        await running(shell, "a.0")
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        with context.socket(zmq.DEALER) as sock:
            sock.linger = 1000
            sock.connect(f"ipc://{stage.run}/lifeline")
            sock.send(b"\xc1rubbish")
            sock.send_multipart([b"", b""])
            await until(lambda: shell.counters["bad_messages"] == 2, "the count")
        context.term()
        await running(shell, "a.0")
        assert shell.failures == {}
