"""The audit log: durable, bounded, chained, and mended after a crash."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from fustor.runtime.audit import Audit
from fustor.runtime.chain import LINE_BYTES, AuditLimits, files_of, verify
from protocols.errors import MachineError

SMALL = AuditLimits(file_bytes=4 * LINE_BYTES, files=3)

WRITER = """
import sys
from fustor.runtime.audit import Audit
audit = Audit(sys.argv[1])
while True:
    print(audit.append({"what": "x" * 1000})["n"], flush=True)
"""


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "audit" / "audit.jsonl")


def test_entries_are_chained_and_found_again(path: str) -> None:
    audit = Audit(path)
    first, second = audit.append({"who": "ann"}), audit.append({"who": "bob"})
    assert (first["n"], second["n"], second["prev"]) == (1, 2, first["hash"])
    audit.close()
    again = Audit(path)
    assert [entry["who"] for entry in again.recent] == ["ann", "bob"]
    assert again.append({"who": "eve"})["prev"] == second["hash"]
    assert [entry["who"] for entry in again.after(1)] == ["bob", "eve"]
    assert verify(path) == (3, "")
    assert os.stat(path).st_mode & 0o777 == 0o600
    again.close()


def test_a_cut_line_is_removed_and_said(path: str) -> None:
    audit = Audit(path)
    audit.append({"who": "ann"})
    audit.close()
    with Path(path).open("a") as file:
        file.write('{"n": 2, "who"')
    again = Audit(path)
    assert again.torn == 14
    assert again.append({"who": "bob"})["n"] == 2
    assert verify(path) == (2, "")
    again.close()


@pytest.mark.parametrize("files", [1, 3])
def test_files_are_bounded_and_the_chain_goes_on_across_them(path: str, files: int) -> None:
    limits = AuditLimits(file_bytes=4 * LINE_BYTES, files=files)
    audit = Audit(path, limits)
    for _ in range(60):
        audit.append({"what": "x" * 30_000})
    audit.close()
    names = ["audit.jsonl.2", "audit.jsonl.1", "audit.jsonl"][-files:]
    assert [Path(file).name for file in files_of(path)] == names
    assert all(os.stat(file).st_size <= limits.file_bytes for file in files_of(path))
    count, fault = verify(path)
    assert 0 < count < 60
    assert fault == ""
    again = Audit(path, limits)
    assert again.append({})["n"] == 61
    again.close()


def test_what_was_written_survives_kill_9(path: str) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        told = [int(writer.stdout.readline()) for _ in range(5)]
        writer.send_signal(signal.SIGKILL)
        told += map(int, writer.stdout.read().split())
    audit = Audit(path)
    assert audit.recent[-1]["n"] >= told[-1]
    assert verify(path)[1] == ""
    audit.close()


async def test_many_write_in_turn(path: str) -> None:
    audit = Audit(path)
    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(audit.note, {"number": number}, logging.getLogger("test"))
    assert verify(path) == (20, "")
    audit.close()


async def test_a_full_disk_stops_nobody(path: str, caplog: pytest.LogCaptureFixture) -> None:
    audit = Audit(path)
    audit.append({"who": "ann"})
    os.close(audit._fd)
    audit._fd = os.open("/dev/full", os.O_RDWR)
    await audit.note({"who": "bob"}, logging.getLogger("test"))
    assert audit.failures == 1
    assert "can't be written" in caplog.text
    os.close(audit._fd)
    audit._fd = audit._open()
    assert audit.append({"who": "bob"})["n"] == 2
    assert verify(path) == (2, "")
    audit.close()


def test_a_log_that_cannot_be_opened_is_tried_again_with_every_entry(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    audit = Audit(str(tmp_path / "file" / "audit"))
    with pytest.raises(MachineError, match="can't be opened"):
        audit.append({"by": "ann"})
    assert (audit.failures, list(audit.recent)) == (1, [])
    (tmp_path / "file").unlink()
    assert audit.append({"by": "ann"})["n"] == 1
    audit.close()
    # Closed, or lost while it was rotated: it goes on where it was.
    assert audit.append({"by": "bob"})["n"] == 2
    assert [entry["n"] for entry in audit.recent] == [1, 2]
    assert verify(audit.path) == (2, "")
    audit.close()


def test_an_entry_has_a_bound(path: str) -> None:
    audit = Audit(path)
    with pytest.raises(ValueError, match="at most"):
        audit.append({"what": "x" * LINE_BYTES})
    assert not audit.recent
    audit.close()
