"""The actor as a process: configured over the lifeline, serving an inherited socket, stopped and killed for real."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import zmq

from fustor.runtime.keys import load_or_create
from fustor.runtime.mesh import MeshSocket
from fustor.runtime.sockets import open_socket
from fustor.treestore.place import Place
from fustor.treestore.stamp import Stamp, write_stamp
from protocols.codec import decode, encode
from protocols.messages import Beat, Configure, Hello, Stop, Welcome
from tests.actors.query.model import Build, file_row

ROOT = str(Path(__file__).parents[3])


class Shell:
    """A control actor that starts one query actor and talks to it."""

    def __init__(self, folder: Path, lifeline: MeshSocket, listener: socket.socket) -> None:
        self.folder, self.lifeline, self.listener = folder, lifeline, listener
        self.port: int = listener.getsockname()[1]
        self.process: subprocess.Popen[bytes] | None = None
        self.peer = b""
        self.beat: Beat | None = None

    def spawn(self) -> None:
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": ROOT,
            "FUSTOR_NAME": "query.0",
            "FUSTOR_TOKEN": "token",
            "FUSTOR_GUARDIAN_PID": str(os.getpid()),
            "FUSTOR_FDS": json.dumps({"http": self.listener.fileno()}),
        }
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "actors.query"],
                cwd=self.folder,
                env=environment,
                pass_fds=[self.listener.fileno()],
                stdout=log,
                stderr=log,
            )

    async def hello(self) -> None:
        with trio.fail_after(20):
            while True:
                peer, data = await self.lifeline.receive()
                message = decode(data, Hello, Beat)
                if isinstance(message, Hello):
                    self.peer = peer
                    await self.lifeline.send([peer, encode(Welcome(incarnation="test", beat_ms=100))])
                    return

    async def configure(self, revision: int, config: dict[str, Any]) -> Beat:
        """Send a configuration; the beat that says what became of it."""
        await self.lifeline.send([self.peer, encode(Configure(revision=revision, config=config))])
        with trio.fail_after(20):
            while True:
                _, data = await self.lifeline.receive()
                message = decode(data, Hello, Beat)
                if isinstance(message, Beat):
                    self.beat = message
                if isinstance(message, Beat) and (
                    message.refused == revision or (message.revision == revision and message.state == "running")
                ):
                    return message

    def exit_status(self) -> int | None:
        assert self.process is not None
        return self.process.wait(20)

    async def get(self, target: str) -> tuple[int, Any]:
        stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        async with stream:
            await stream.send_all(b"GET %s HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n" % target.encode())
            data = b"".join([piece async for piece in stream])
        head, _, body = data.partition(b"\r\n\r\n")
        return int(head.split()[1]), json.loads(body)


@asynccontextmanager
async def shell(folder: Path) -> AsyncIterator[Shell]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    old = os.getcwd()
    os.chdir(folder)  # a short relative ipc path, as in real life
    lifeline = MeshSocket(open_socket(context, zmq.ROUTER, bind="ipc://lifeline"))
    os.chdir(old)
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    listener.set_inheritable(True)
    found = Shell(folder, lifeline, listener)
    try:
        found.spawn()
        await found.hello()
        yield found
    finally:
        assert found.process is not None
        found.process.kill()
        found.process.wait()
        lifeline.close()
        listener.close()
        context.destroy(linger=0)


def configuration(folder: Path, **more: Any) -> dict[str, Any]:
    load_or_create(str(folder / "fusion.key"), "fusion", "fusion")
    (folder / "authorized").mkdir(exist_ok=True)
    return {
        "views": {"main": str(folder / "store")},
        "default_view": "main",
        "listen": "http",
        "query": "tcp://127.0.0.1:*",
        "key_file": str(folder / "fusion.key"),
        "authorized": str(folder / "authorized"),
        "lease_seconds": 60.0,
        "limits": {},
        **more,
    }


async def test_from_nothing_to_answers_and_to_an_orderly_end(tmp_path: Path) -> None:
    async with shell(tmp_path) as running:
        beat = await running.configure(1, configuration(tmp_path))
        assert "127.0.0.1" in beat.facts["endpoint"]
        status, node = await running.get("/fs/tree")
        assert (status, node["state"], node["known"]) == (200, "empty", False)
        Build(str(tmp_path / "store")).write({b"one": file_row()})
        with trio.fail_after(10):
            while node["state"] == "empty":
                status, node = await running.get("/fs/tree")
                assert status == 200
        assert [child["name"] for child in node["children"]] == ["one"]
        await running.lifeline.send([running.peer, encode(Stop(deadline_ms=5000))])
        assert await trio.to_thread.run_sync(running.exit_status) == 0


def torn_with_a_copy(folder: Path) -> Place:
    """A store that a power cut may have torn, and something that is called its copy."""
    place = Place(str(folder / "store"))
    Build(place.back()).write({b"torn": file_row()})
    place.make_front(str(folder / "a"))
    write_stamp(place.current(), Stamp("earlier", clean=False))
    Path(place.copy).touch()
    return place


async def test_after_a_power_cut_the_first_answer_waits_for_the_store(tmp_path: Path) -> None:
    place = torn_with_a_copy(tmp_path)
    async with shell(tmp_path) as running:
        answers: list[tuple[int, Any]] = []

        async def ask() -> None:
            answers.append(await running.get("/fs/tree"))  # connects while nobody accepts

        async with trio.open_nursery() as nursery:
            nursery.start_soon(running.configure, 1, configuration(tmp_path))
            nursery.start_soon(ask)
            with trio.fail_after(20):
                while running.beat is None or running.beat.revision != 1:  # noqa: ASYNC110 - another task hears it
                    await trio.sleep(0.01)
            assert running.beat.state == "starting"
            assert answers == []
            Build(place.back()).write({b"whole": file_row()})
            place.make_front(str(tmp_path / "b"))
        (status, node) = answers[0]
        assert (status, [child["name"] for child in node["children"]]) == (200, ["whole"])


async def test_and_not_longer_than_it_may(tmp_path: Path) -> None:
    torn_with_a_copy(tmp_path)
    async with shell(tmp_path) as running:
        await running.configure(1, configuration(tmp_path, limits={"query_restore_seconds": 0.2}))
        status, node = await running.get("/fs/tree")
        assert (status, node["known"], "children" in node) == (200, False, False)


async def test_a_bad_configuration_is_refused_and_the_old_one_goes_on(tmp_path: Path) -> None:
    async with shell(tmp_path) as running:
        await running.configure(1, configuration(tmp_path))
        beat = await running.configure(2, configuration(tmp_path, lease_seconds=-1.0, surprise=1))
        assert beat.refused == 2
        assert "lease_seconds" in beat.error
        assert "surprise" in beat.error
        assert (await running.get("/health"))[0] == 200
        beat = await running.configure(3, configuration(tmp_path, limits={"http_connections": 5}))
        assert beat.revision == 3
        assert (await running.get("/health"))[0] == 200


async def test_kill_9_refuses_nobody(tmp_path: Path) -> None:
    async with shell(tmp_path) as running:
        await running.configure(1, configuration(tmp_path))
        assert running.process is not None
        running.process.send_signal(signal.SIGKILL)
        await trio.to_thread.run_sync(running.exit_status)
        answers: list[int] = []

        async def ask() -> None:
            answers.append((await running.get("/fs/tree"))[0])  # connects while nobody is there

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            running.spawn()
            await running.hello()
            await running.configure(1, configuration(tmp_path))
        assert answers == [200]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"default_view": "none"}, "default_view"),
        ({"views": {}}, "default_view"),
        ({"views": {"a/b": "/x"}, "default_view": "a/b"}, "views"),
        ({"lease_seconds": "3"}, "lease_seconds"),
        ({"limits": {"http_connections": 0}}, "limits.http_connections"),
        ({"limits": {"unknown": 0}}, "limits.unknown"),
        ({"key_file": ""}, "key_file"),
        ({"key_file": "/nonexistent"}, "/nonexistent"),
    ],
)
def test_check_names_what_is_wrong(tmp_path: Path, change: dict[str, Any], field: str) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "actors.query", "--check"],
        input=json.dumps({**configuration(tmp_path), **change}),
        env={"PATH": os.environ["PATH"], "PYTHONPATH": ROOT},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert field in done.stdout + done.stderr


def test_check_accepts_what_is_right(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "actors.query", "--check"],
        input=json.dumps(configuration(tmp_path)),
        env={"PATH": os.environ["PATH"], "PYTHONPATH": ROOT},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
