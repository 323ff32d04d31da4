"""The view as a process: ``--check``, and kill -9 again and again while items come."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import trio
import zmq

from fustor.runtime.mesh import MeshSocket
from fustor.runtime.sockets import open_socket
from fustor.treestore.check import check
from fustor.treestore.reader import Reader
from protocols.codec import decode, encode
from protocols.data import Names
from protocols.messages import Beat, Configure, Hello, Stop, Welcome
from tests.actors.view.agent import Keys, agents
from tests.actors.view.live import begin
from tests.treestore.scenario import file_row

ROOT = str(Path(__file__).parents[3])
COMMAND = [sys.executable, "-P", "-m", "actors.view"]


def test_check_says_what_is_wrong(tmp_path: Path) -> None:
    config = Keys(tmp_path / "keys").config(tmp_path / "s")
    for told, status, words in ((config, 0, ""), (config | {"store": 1}, 2, "store")):
        done = subprocess.run(
            [*COMMAND, "--check"],
            input=json.dumps(told),
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": ROOT},
            timeout=60,
            check=False,
        )
        assert done.returncode == status
        assert words in done.stdout + done.stderr


class Control:
    """A control actor that keeps one view running."""

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        self.folder, self.config = folder, config
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.lifeline = MeshSocket(open_socket(self.context, zmq.ROUTER, bind=f"ipc://{folder}/lifeline"))
        self.process: subprocess.Popen[bytes] | None = None
        self.beat: Beat | None = None
        self.peer = b""

    def spawn(self) -> None:
        environment = {
            **os.environ,
            "PYTHONPATH": ROOT,
            "FUSTOR_NAME": "view.main",
            "FUSTOR_TOKEN": "token",
            "FUSTOR_GUARDIAN_PID": str(os.getpid()),
            "FUSTOR_FDS": "{}",
        }
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(COMMAND, cwd=self.folder, env=environment, stdout=log, stderr=log)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    async def serve(self) -> None:
        while True:
            self.peer, data = await self.lifeline.receive()
            message: Any = decode(data, Hello, Beat)
            if isinstance(message, Hello):
                await self.lifeline.send([self.peer, encode(Welcome(incarnation="one", beat_ms=100))])
                await self.lifeline.send([self.peer, encode(Configure(revision=1, config=self.config))])
            else:
                self.beat = message

    def close(self) -> None:
        self.kill()
        self.lifeline.close()
        self.context.term()


async def test_killed_again_and_again_it_loses_nothing(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "keys")
    config = keys.config(tmp_path / "s")
    control = Control(tmp_path, config)
    try:
        with agents(config, keys) as make, trio.fail_after(100):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(control.serve)
                agent = make()
                begin(agent)
                control.spawn()
                await agent.delivered()
                for kill in range(4):
                    for at in range(60):
                        rows = [file_row(b"file%03d" % i, kill * 1000 + at) for i in range(at, at + 100)]
                        agent.say(Names(1, ()), rows=(rows,))
                    first = agent.window.applied
                    await agent.until(lambda ack, first=first: ack.applied > first)  # type: ignore[misc]
                    control.kill()
                    control.spawn()
                ack = await agent.delivered()
                assert {a.store for a in agent.acks} == {ack.store}
                await control.lifeline.send([control.peer, encode(Stop(deadline_ms=5000))])
                assert control.process is not None
                assert await trio.to_thread.run_sync(control.process.wait) == 0
                nursery.cancel_scope.cancel()
    finally:
        control.close()
    assert check(str(tmp_path / "s")) == []
    reader = Reader(str(tmp_path / "s"))
    with reader.snapshot() as snapshot:
        for number in range(159):
            row = snapshot.row(1, b"file%03d" % number)
            assert row is not None
            assert b',"size":%d,' % (3000 + min(number, 59)) in row
    reader.close()
