"""A guardian that does nothing any more is killed, one that may be well is not."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import trio

from fustor.runtime import overseeing
from fustor.runtime.keeper import Keeper, KeeperGone, open_keeper
from fustor.runtime.overseeing import Overseer

#: Answers whatever it is asked, on the socket of the name in its argument.
ANSWERER = """
import json, socket, sys
listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
listener.bind(sys.argv[1])
listener.listen()
channel, _ = listener.accept()
while packet := channel.recv(65536):
    channel.send(json.dumps({"re": json.loads(packet)["id"], "counters": {}}).encode())
"""


@pytest.fixture
def guardian(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-I", "-S", "-c", ANSWERER, str(tmp_path / "socket")])
    yield process
    process.kill()
    process.wait()


@pytest.fixture
async def keeper(tmp_path: Path, guardian: subprocess.Popen[bytes]) -> AsyncIterator[Keeper]:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with trio.fail_after(60):
        while True:
            try:
                sock.connect(str(tmp_path / "socket"))
            except (FileNotFoundError, ConnectionRefusedError):
                await trio.sleep(0.01)
            else:
                break
    async with open_keeper(Keeper(sock)) as made:
        yield made


async def asked(keeper: Keeper, times: int) -> None:
    """Wait until the guardian was asked so often."""
    with trio.fail_after(60):
        while keeper.statistics().requests < times:  # noqa: ASYNC110 it tells nobody
            await trio.sleep(0.01)


async def test_one_that_is_stopped_is_killed(keeper: Keeper, guardian: subprocess.Popen[bytes]) -> None:
    told: list[tuple[int, str]] = []
    killed = trio.Event()

    def tell(pid: int, what: str) -> None:
        told.append((pid, what))
        killed.set()

    async with trio.open_nursery() as nursery:

        async def run() -> None:
            with contextlib.suppress(KeeperGone):
                await Overseer(keeper, 0.2, tell).run()

        nursery.start_soon(run)
        await asked(keeper, 3)
        assert told == []
        guardian.send_signal(signal.SIGSTOP)
        with trio.fail_after(60):
            await killed.wait()
        nursery.cancel_scope.cancel()
    assert guardian.wait(60) == -signal.SIGKILL
    assert told == [(guardian.pid, "did not answer for 0.2 s; killed")]


@pytest.mark.parametrize("why", ["it has never answered", "we were late ourselves"])
async def test_one_that_may_be_well_is_left_alone(
    keeper: Keeper, guardian: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    told: list[int] = []
    if why == "it has never answered":
        guardian.send_signal(signal.SIGSTOP)
    else:
        monkeypatch.setattr(overseeing, "_LATE", -1e9)  # any answer is later than that
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Overseer(keeper, 0.05, lambda pid, what: told.append(pid)).run)
        await asked(keeper, 2)
        guardian.send_signal(signal.SIGSTOP)
        await asked(keeper, keeper.statistics().requests + 3)
        nursery.cancel_scope.cancel()
    assert told == []
    assert guardian.poll() is None
