"""Real actor processes against a ROUTER that plays the control actor."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import zmq

from fustor.runtime.mesh import MeshSocket
from fustor.runtime.sockets import open_socket
from protocols.codec import decode, encode
from protocols.limits import EXIT_FDS, EXIT_MEMORY
from protocols.messages import Beat, Configure, Hello, Stop, Welcome

PATIENCE = 20.0

ACTOR = """
import json, os, sys, time, threading
import attrs, trio
from fustor.runtime.actor import run_actor, run_blocking_actor
from fustor.runtime.config import structure
from protocols.errors import ConfigError

@attrs.frozen
class Config:
    mode: str = attrs.field()
    @mode.validator
    def _check(self, attribute, value):
        if value not in ("good", "crash", "return", "stubborn", "other", "notices", "adjusted", "memory", "fds"):
            raise ConfigError("mode", value, "a known mode is accepted")

def adjust(host, old, new):
    # From "good" to "adjusted" without another run.
    if (old, new) == ("good", "adjusted"):
        host.facts["mode"] = new
        return True
    return False

def fail(mode):
    if mode == "memory":
        try:
            bytearray(1 << 62)
        except MemoryError as error:
            raise RuntimeError("what led to it counts") from error
    if mode == "fds":
        raise OSError(24, "Too many open files")

def note(host, what):
    print("NOTE", what, flush=True)

def build(config):
    mode = structure(Config, config).mode
    async def run(host):
        host.counters["runs"] = host.counters.get("runs", 0) + 1
        if mode == "crash":
            raise ValueError("crashed on purpose")
        fail(mode)
        if mode == "return":
            return
        host.adjust = lambda config: adjust(host, mode, config["mode"])
        host.ready(mode=mode, fds=json.dumps(host.fds))
        if mode == "stubborn":
            with trio.CancelScope(shield=True):
                await trio.sleep_forever()
        if mode == "notices":
            await host.stop_requested.wait()
            note(host, "stop noticed")
            return
        try:
            await trio.sleep_forever()
        finally:
            note(host, "unwound " + mode)
    return run

def build_blocking(config):
    mode = structure(Config, config).mode
    def run(host):
        assert threading.current_thread() is threading.main_thread()
        host.counters["runs"] = host.counters.get("runs", 0) + 1
        if mode == "crash":
            raise ValueError("crashed on purpose")
        fail(mode)
        if mode == "return":
            return
        host.adjust = lambda config: adjust(host, mode, config["mode"])
        host.ready(mode=mode, fds=json.dumps(host.fds))
        if mode == "stubborn":
            threading.Event().wait()
        host.stop_requested.wait()
        note(host, "unwound " + mode)
        note(host, "stop noticed")
    return run

if sys.argv[1] == "trio":
    run_actor("test", build, stop_seconds=float(os.environ.get("STOP_SECONDS", "10")))
else:
    run_blocking_actor("test", build_blocking, stop_seconds=float(os.environ.get("STOP_SECONDS", "10")))
"""

pytestmark = pytest.mark.parametrize("style", ["trio", "blocking"])


def environment(**more: str) -> dict[str, str]:
    root = str(Path(__file__).parents[2])
    return {
        **os.environ,
        "PYTHONPATH": root,
        "FUSTOR_NAME": "test.0",
        "FUSTOR_TOKEN": "secret",
        "FUSTOR_GUARDIAN_PID": str(os.getpid()),
        "FUSTOR_FDS": '{"http": 7}',
        **more,
    }


@attrs.define
class Control:
    """One incarnation of a control actor, as far as an actor can see one."""

    context: zmq.Context[zmq.Socket[bytes]]
    socket: MeshSocket
    incarnation: str

    async def receive(self) -> Hello | Beat:
        """The next message, welcomed."""
        peer, frame = await self.socket.receive()
        message: Any = decode(frame, Hello, Beat)
        assert (message.name, message.token) == ("test.0", "secret")
        self.peer = peer
        await self.send(Welcome(incarnation=self.incarnation, beat_ms=50))
        return message  # type: ignore[no-any-return]

    peer: bytes = b""

    async def send(self, message: object) -> None:
        await self.socket.send([self.peer, encode(message)])

    async def beat_with(self, **wanted: object) -> Beat:
        """The first Beat that says all this."""
        while True:
            message = await self.receive()
            if isinstance(message, Beat) and all(getattr(message, k) == v for k, v in wanted.items()):
                return message


@contextlib.contextmanager
def control_at(run_dir: Path, incarnation: str) -> Iterator[Control]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = MeshSocket(open_socket(context, zmq.ROUTER, bind=f"ipc://{run_dir}/lifeline"))
    try:
        yield Control(context=context, socket=socket, incarnation=incarnation)
    finally:
        socket.close()
        context.term()


@attrs.define
class Actor:
    process: subprocess.Popen[bytes]
    out: Path
    err: Path

    async def wait(self) -> int:
        return await trio.to_thread.run_sync(self.process.wait, abandon_on_cancel=True)

    async def says(self, text: str) -> None:
        while text not in self.out.read_text() + self.err.read_text():  # noqa: ASYNC110 - another process writes it
            await trio.sleep(0.02)


@contextlib.asynccontextmanager
async def actor_in(run_dir: Path, style: str, *, wrapper: tuple[str, ...] = (), **env: str) -> AsyncIterator[Actor]:
    (run_dir / "actor_under_test.py").write_text(ACTOR)
    out, err = run_dir / "out", run_dir / "err"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = subprocess.Popen(  # noqa: ASYNC220 - the test may block for as long as an exec takes
            [*wrapper, sys.executable, "actor_under_test.py", style],
            cwd=run_dir,
            env=environment(**env),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
        )
    try:
        with trio.fail_after(PATIENCE):
            yield Actor(process=process, out=out, err=err)
    except BaseException:
        sys.stderr.write(out.read_text() + err.read_text())
        raise
    finally:
        process.kill()
        process.wait()


async def configured(control: Control, mode: str, revision: int = 5) -> Beat:
    """Take the actor from Hello to a run of ``mode``."""
    while not isinstance(await control.receive(), Hello):
        pass
    await control.send(Configure(revision=revision, config={"mode": mode}))
    return await control.beat_with(revision=revision, state="running")


async def test_from_hello_to_stop(tmp_path: Path, style: str) -> None:
    with control_at(tmp_path, "one") as control:
        async with actor_in(tmp_path, style) as actor:
            first = await control.receive()
            while not isinstance(first, Hello):
                assert first.state == "starting"
                first = await control.receive()
            assert first.pid == actor.process.pid
            assert first.revision == 0
            await control.send(Configure(revision=5, config={"mode": "notices"}))
            beat = await control.beat_with(revision=5, state="running")
            assert beat.counters == {"runs": 1}
            assert beat.facts == {"mode": "notices", "fds": '{"http": 7}'}
            assert beat.refused == 0
            await control.send(Stop(deadline_ms=5000))
            assert await actor.wait() == 0
            assert "stop noticed" in actor.out.read_text()


async def test_sigterm_is_a_stop(tmp_path: Path, style: str) -> None:
    with control_at(tmp_path, "one") as control:
        async with actor_in(tmp_path, style) as actor:
            await configured(control, "notices")
            actor.process.send_signal(signal.SIGTERM)
            assert await actor.wait() == 0
            assert "stop noticed" in actor.out.read_text()


async def test_sigterm_before_any_configuration(tmp_path: Path, style: str) -> None:
    with control_at(tmp_path, "one") as control:
        async with actor_in(tmp_path, style) as actor:
            await control.receive()
            actor.process.send_signal(signal.SIGTERM)
            assert await actor.wait() == 0


async def test_refusal_names_every_fault_and_a_good_configuration_follows(tmp_path: Path, style: str) -> None:
    with control_at(tmp_path, "one") as control:
        async with actor_in(tmp_path, style):
            await control.receive()
            await control.send(Configure(revision=6, config={"mode": "wild", "extra": 1}))
            beat = await control.beat_with(refused=6)
            assert beat.revision == 0
            assert "mode = 'wild': a known mode is accepted" in beat.error
            assert "extra = 1: unknown key" in beat.error
            await control.send(Configure(revision=7, config={"mode": "good"}))
            beat = await control.beat_with(revision=7, state="running")
            assert (beat.refused, beat.error) == (0, "")


async def test_a_refused_configuration_leaves_the_running_one_alone(tmp_path: Path, style: str) -> None:
    with control_at(tmp_path, "one") as control:
        async with actor_in(tmp_path, style) as actor:
            await configured(control, "good")
            await control.send(Configure(revision=6, config={"mode": 3}))
            beat = await control.beat_with(refused=6)
            assert (beat.revision, beat.state, beat.counters) == (5, "running", {"runs": 1})
            assert actor.out.read_text() == ""


async def test_a_new_configuration_takes_the_place_of_the_running_one(tmp_path: Path, style: str) -> None:
    with control_at(tmp_path, "one") as control:
        async with actor_in(tmp_path, style) as actor:
            await configured(control, "good")
            await control.send(Configure(revision=6, config={"mode": "other"}))
            beat = await control.beat_with(revision=6, state="running")
            assert beat.counters == {"runs": 2}
            assert beat.facts["mode"] == "other"
            assert "unwound good" in actor.out.read_text()
            assert beat.pid == actor.process.pid


async def test_what_an_actor_can_take_in_while_it_works_is_no_new_run(tmp_path: Path, style: str) -> None:
    with control_at(tmp_path, "one") as control:
        async with actor_in(tmp_path, style) as actor:
            await configured(control, "good")
            await control.send(Configure(revision=6, config={"mode": "adjusted"}))
            beat = await control.beat_with(revision=6, state="running")
            assert (beat.facts["mode"], beat.counters, beat.pid) == ("adjusted", {"runs": 1}, actor.process.pid)
            await control.send(Configure(revision=7, config={"mode": "other"}))
            beat = await control.beat_with(revision=7, state="running")
            assert (beat.facts["mode"], beat.counters) == ("other", {"runs": 2})


async def test_it_is_said_that_a_configuration_was_accepted_before_it_runs(tmp_path: Path, style: str) -> None:
    """What follows may keep the loop, or the interpreter, busy."""
    with control_at(tmp_path, "one") as control:
        async with actor_in(tmp_path, style):
            while not isinstance(await control.receive(), Hello):
                pass
            await control.send(Configure(revision=5, config={"mode": "good"}))
            await control.beat_with(revision=5, state="starting")


async def test_the_same_revision_again_changes_nothing(tmp_path: Path, style: str) -> None:
    with control_at(tmp_path, "one") as control:
        async with actor_in(tmp_path, style):
            await configured(control, "good")
            await control.send(Configure(revision=5, config={"mode": "good"}))
            await control.send(Configure(revision=6, config={"mode": "wild"}))  # answered after the one before
            beat = await control.beat_with(refused=6)
            assert beat.counters == {"runs": 1}


@pytest.mark.parametrize(("mode", "said"), [("crash", "crashed on purpose"), ("return", "without being asked")])
async def test_a_crash_ends_the_process_with_a_traceback(tmp_path: Path, style: str, mode: str, said: str) -> None:
    with control_at(tmp_path, "one") as control:
        async with actor_in(tmp_path, style) as actor:
            await control.receive()
            await control.send(Configure(revision=5, config={"mode": mode}))
            assert await actor.wait() == 1
            assert "Traceback" in actor.err.read_text()
            assert said in actor.err.read_text()


@pytest.mark.parametrize(("mode", "code"), [("memory", EXIT_MEMORY), ("fds", EXIT_FDS)])
async def test_who_is_refused_memory_or_descriptors_says_so(tmp_path: Path, style: str, mode: str, code: int) -> None:
    with control_at(tmp_path, "one") as control:
        async with actor_in(tmp_path, style) as actor:
            await control.receive()
            await control.send(Configure(revision=5, config={"mode": mode}))
            assert await actor.wait() == code
            assert "Traceback" in actor.err.read_text()


async def test_an_actor_that_does_not_stop_is_ended(tmp_path: Path, style: str) -> None:
    with control_at(tmp_path, "one") as control:
        async with actor_in(tmp_path, style) as actor:
            await configured(control, "stubborn")
            await control.send(Stop(deadline_ms=100))
            assert await actor.wait() == 0
            assert "did not return in time" in actor.err.read_text()
            assert "most recent call first" in actor.err.read_text()  # the stacks, as evidence


async def test_an_actor_that_does_not_give_way_is_ended(tmp_path: Path, style: str) -> None:
    with control_at(tmp_path, "one") as control:
        async with actor_in(tmp_path, style, STOP_SECONDS="0.1") as actor:
            await configured(control, "stubborn")
            await control.send(Configure(revision=6, config={"mode": "good"}))
            assert await actor.wait() == 1
            assert "did not return in time" in actor.err.read_text()


async def test_a_new_control_actor_is_told_everything(tmp_path: Path, style: str) -> None:
    async with actor_in(tmp_path, style) as actor:
        with control_at(tmp_path, "one") as control:
            await configured(control, "good")
        with control_at(tmp_path, "two") as control:
            while not isinstance(message := await control.receive(), Hello):
                pass
            assert (message.pid, message.revision) == (actor.process.pid, 5)
            beat = await control.beat_with(revision=5, state="running")
            assert beat.counters == {"runs": 1}
            assert beat.facts["mode"] == "good"
            await control.send(Stop())
            assert await actor.wait() == 0


async def test_a_bad_message_on_the_lifeline_is_dropped(tmp_path: Path, style: str) -> None:
    with control_at(tmp_path, "one") as control:
        async with actor_in(tmp_path, style) as actor:
            await configured(control, "good")
            await control.socket.send([control.peer, b"\xc1 not msgpack"])
            await actor.says("message on the lifeline refused")
            await control.send(Configure(revision=6, config={"mode": "other"}))
            await control.beat_with(revision=6, state="running")


async def test_an_actor_ends_with_its_guardian(tmp_path: Path, style: str) -> None:
    adopt_orphans()
    with control_at(tmp_path, "one") as control:
        # The actor's parent is a shell, which it takes for its guardian.
        async with actor_in(
            tmp_path, style, wrapper=("sh", "-c", 'FUSTOR_GUARDIAN_PID=$$ "$@" & wait', "sh")
        ) as guardian:
            beat = await configured(control, "stubborn")
            assert beat.pid != guardian.process.pid
            guardian.process.kill()
            await guardian.wait()
            _, status = await trio.to_thread.run_sync(os.waitpid, beat.pid, 0, abandon_on_cancel=True)
            assert os.waitstatus_to_exitcode(status) == 3


def adopt_orphans() -> None:
    """Become the parent of orphaned descendants, so that their exit status can be seen (prctl(2))."""
    pr_set_child_subreaper = 36
    assert ctypes.CDLL(None, use_errno=True).prctl(pr_set_child_subreaper, 1, 0, 0, 0) == 0


async def test_stacks_on_sigusr1(tmp_path: Path, style: str) -> None:
    with control_at(tmp_path, "one") as control:
        async with actor_in(tmp_path, style) as actor:
            await configured(control, "good")
            actor.process.send_signal(signal.SIGUSR1)
            await actor.says("most recent call first")
            await control.beat_with(state="running")


def check(run_dir: Path, style: str, text: str) -> subprocess.CompletedProcess[str]:
    (run_dir / "actor_under_test.py").write_text(ACTOR)
    env = environment()
    del env["FUSTOR_NAME"]
    return subprocess.run(
        [sys.executable, "actor_under_test.py", style, "--check"],
        cwd=run_dir,
        env=env,
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )


def test_check_accepts(tmp_path: Path, style: str) -> None:
    done = check(tmp_path, style, json.dumps({"mode": "good"}))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"mode": "wild"}', "mode = 'wild': a known mode is accepted"),
        ("{}", "mode = (missing): it is required"),
        ("[1]", "(top) = [1]: a table is accepted"),
        ("{", "stdin is not JSON"),
    ],
)
def test_check_refuses_and_says_why(tmp_path: Path, style: str, text: str, said: str) -> None:
    done = check(tmp_path, style, text)
    assert done.returncode == 2
    assert said in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("variable", "value"),
    [("FUSTOR_NAME", ""), ("FUSTOR_TOKEN", ""), ("FUSTOR_FDS", '{"x": -1}'), ("FUSTOR_LOG", "LOUD")],
)
def test_without_its_environment_it_says_what_is_missing(tmp_path: Path, style: str, variable: str, value: str) -> None:
    (tmp_path / "actor_under_test.py").write_text(ACTOR)
    done = subprocess.run(
        [sys.executable, "actor_under_test.py", style],
        cwd=tmp_path,
        env=environment(**{variable: value}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert variable in done.stderr
    assert "Traceback" not in done.stderr
