"""Files of the run folder, for real."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

import pytest

from fustor.guardian import files
from fustor.guardian.errors import StartError


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_lock_excludes_another(run: Path) -> None:
    first = files.lock()
    with pytest.raises(StartError, match=r"already running \(pid unknown\)") as caught:
        files.lock()
    assert caught.value.code == 100
    files.write(files.PID, b"123\n")
    with pytest.raises(StartError, match=re.escape(f"already running (pid 123) in {run}")):
        files.lock()
    os.close(first)
    os.close(files.lock())


def test_a_lock_on_a_removed_file_is_not_believed(run: Path) -> None:
    first = files.lock()
    (run / files.LOCK).unlink()
    second = files.lock()
    assert os.path.samestat(os.fstat(second), os.stat(files.LOCK))
    assert not os.path.samestat(os.fstat(first), os.fstat(second))
    os.close(first)
    os.close(second)


def test_a_folder_without_lock_file_is_named(run: Path) -> None:
    (run / files.LOCK).mkdir()
    with pytest.raises(StartError, match=re.escape(str(run / files.LOCK))) as caught:
        files.lock()
    assert caught.value.code == 1


def test_write_replaces(run: Path) -> None:
    assert files.read("x") == b""
    files.write("x", b"old")
    with open("x", "rb") as reader:
        files.write("x", b"new")
        assert reader.read() == b"old"
    assert files.read("x") == b"new"
    assert os.listdir(run) == ["x"]


def test_a_failed_write_keeps_the_old_content(run: Path) -> None:
    files.write("x", b"old")
    (run / "x.tmp").mkdir()
    with pytest.raises(IsADirectoryError):
        files.write("x", b"new")
    assert files.read("x") == b"old"


def test_sweep_removes_our_files_and_sockets_only(run: Path) -> None:
    for name in (
        files.PID,
        files.TABLE,
        files.TABLE + ".tmp",
        files.LOCK,
        "guardian.json",
        files.STOPPING,
        files.SUCCESSOR_LOCK,
    ):
        (run / name).touch()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind("lifeline")
    files.sweep()
    assert sorted(os.listdir(run)) == ["guardian.json", files.LOCK]
    files.sweep()


def test_a_stop_is_said_and_unsaid(run: Path) -> None:
    assert not files.is_stopping()
    files.say_stopping()
    files.say_stopping()
    assert files.is_stopping()
    files.unsay_stopping()
    files.unsay_stopping()
    assert not files.is_stopping()
