"""Real actor processes in a run folder, with a ROUTER that plays their control actor."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import attrs
import trio
import zmq

from fustor.runtime.mesh import MeshSocket, PeerGone
from fustor.runtime.sockets import open_socket
from protocols.codec import decode, encode
from protocols.messages import Beat, Configure, Hello, Welcome

#: Seconds; bounds what a test waits for, and is no claim about speed.
PATIENCE = 30.0

ROOT = Path(__file__).resolve().parents[2]


@attrs.define
class Actors:
    """
    The actors of one run folder.

    Attributes:
        run: their working directory.
        beats: name → the last Beat.
        path: where they are imported from.
    """

    run: Path
    beats: dict[str, Beat] = attrs.Factory(dict)
    path: Path = ROOT
    _configs: dict[str, tuple[int, dict[str, Any]]] = attrs.Factory(dict)
    _processes: dict[str, subprocess.Popen[bytes]] = attrs.Factory(dict)
    _revision: int = 0

    def start(self, name: str, module: str, config: dict[str, Any]) -> int:
        """Start an actor, or another one in the place of one that has ended; its pid."""
        self.configure(name, config)
        self.beats.pop(name, None)
        with (self.run / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-P", "-m", module],
                cwd=self.run,
                env={
                    **os.environ,
                    "PYTHONPATH": str(self.path),
                    "FUSTOR_NAME": name,
                    "FUSTOR_TOKEN": "token",
                    "FUSTOR_GUARDIAN_PID": str(os.getpid()),
                    "FUSTOR_FDS": "{}",
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        return self._processes[name].pid

    def configure(self, name: str, config: dict[str, Any]) -> int:
        """What the actor shall run from now on; the revision."""
        self._revision += 1
        self._configs[name] = (self._revision, config)
        return self._revision

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> int:
        """Signal an actor and wait for its end; its exit code."""
        process = self._processes[name]
        process.send_signal(number)
        return process.wait(PATIENCE)

    def is_alive(self, name: str) -> bool:
        """Whether it runs."""
        return self._processes[name].poll() is None

    def log(self, name: str) -> str:
        """What it has written."""
        return (self.run / f"{name}.log").read_text(errors="replace")

    async def running(self, *names: str) -> None:
        """Until all of them run what they were told last."""

        def run() -> bool:
            for name in names:
                beat = self.beats.get(name)
                assert beat is None or beat.refused != self._configs[name][0], beat
                assert self.is_alive(name), self.log(name)
                if beat is None or (beat.revision, beat.state) != (self._configs[name][0], "running"):
                    return False
            return True

        await until(run)

    async def refused(self, name: str) -> str:
        """Until it refuses what it was told last; why."""
        await until(lambda: name in self.beats and self.beats[name].refused == self._configs[name][0])
        return self.beats[name].error

    async def _serve(self, router: MeshSocket) -> None:
        while True:
            peer, frame = await router.receive()
            message: Any = decode(frame, Hello, Beat)
            replies: list[object] = [Welcome(incarnation="test", beat_ms=50)]
            revision, config = self._configs[message.name]
            if isinstance(message, Beat):
                self.beats[message.name] = message
            if revision not in (message.revision, getattr(message, "refused", 0)):
                replies.append(Configure(revision=revision, config=config))
            for reply in replies:
                with contextlib.suppress(PeerGone, trio.WouldBlock):
                    router.send_nowait([peer, encode(reply)])

    def show(self) -> None:
        """Everything that is known of them, to stderr."""
        for log in sorted(self.run.glob("*.log")):
            sys.stderr.write(f"--- {log.name}\n{log.read_text(errors='replace')}")
        sys.stderr.write(f"{self.beats}\n")

    def _end(self) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()


async def until(condition: Callable[[], bool]) -> None:
    """Wait until ``condition`` holds; the deadline is the caller's."""
    while not condition():  # noqa: ASYNC110 - other processes make it true
        await trio.sleep(0.02)


@contextlib.asynccontextmanager
async def actors_in(run: Path) -> AsyncIterator[Actors]:
    """Actors, ended with the block; their logs are shown when it fails."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    router = MeshSocket(open_socket(context, zmq.ROUTER, bind=f"ipc://{run}/lifeline"))
    made = Actors(run)
    try:
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(made._serve, router)
                yield made
                nursery.cancel_scope.cancel()
    except BaseException:
        made.show()
        raise
    finally:
        made._end()
        router.close()
        context.term()


def check(module: str, text: str) -> subprocess.CompletedProcess[str]:
    """``python -m MODULE --check`` with ``text`` on stdin."""
    return subprocess.run(
        [sys.executable, "-P", "-m", module, "--check"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )


def check_config(module: str, config: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    """As :func:`check`, with a configuration."""
    return check(module, json.dumps(config))
