"""What an agent remembers: epochs that only grow, through damage and full disks."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import pytest
import trio

from fustor.agent.memory import Memory
from protocols.messages import Endpoints

LOG = logging.getLogger("test")
HERE = Endpoints("data", "tcp://127.0.0.1:7710", "tcp://127.0.0.1:7711", "k" * 40)


def begin(path: Path) -> Memory:
    memory = Memory(str(path), LOG)
    memory.begin(wall_seconds=1000.0)
    return memory


def test_the_first_epoch_is_the_time_and_the_next_ones_follow(tmp_path: Path) -> None:
    path = tmp_path / "session.json"
    assert [begin(path).epoch for _ in range(4)] == [1000, 1001, 1002, 1003]


def test_the_next_life_is_above_what_was_told(tmp_path: Path) -> None:
    path = tmp_path / "session.json"
    begin(path)
    path.write_text(json.dumps({"epoch": 1000, "seen": 5000, "endpoints": []}))
    assert begin(path).epoch == 5001


async def test_what_was_told_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "session.json"
    memory = begin(path)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(memory.keep)
        memory.told_epoch(77_000)
        memory.told_endpoints([HERE])
        with trio.fail_after(30):
            while True:
                kept = json.loads(path.read_text())
                if kept["seen"] == 77_000 and kept["endpoints"]:
                    break
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    again = begin(path)
    assert again.epoch == 77_001
    assert again.endpoints == (HERE,)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"7",
        b'{"epoch": "5", "seen": 0, "endpoints": []}',
        b'{"epoch": -5, "seen": 0, "endpoints": []}',
        b'{"epoch": 5, "seen": 0, "endpoints": [[1, 2, 3, 4]]}',
        b'{"epoch": 5, "seen": 0, "endpoints": [["a"]]}',
        b" " * (2 << 20),
    ],
)
def test_a_damaged_file_begins_at_the_time(tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "session.json"
    path.write_bytes(content)
    memory = begin(path)
    assert (memory.epoch, memory.endpoints) == (1000, ())
    assert "session state is lost" in caplog.text
    assert begin(path).epoch == 1001


def test_a_folder_that_is_gone_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    memory = begin(tmp_path / "gone" / "session.json")
    assert memory.epoch == 1000
    assert "can't be kept" in caplog.text
    assert os.listdir(tmp_path) == []
