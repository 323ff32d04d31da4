"""Files that are the old or the new content."""

from __future__ import annotations

import os
import resource
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from fustor.runtime.durable import create_durably, move, read_json, write_durably, write_json
from protocols.errors import MachineError


def test_there_and_back(tmp_path: Path) -> None:
    path = str(tmp_path / "x.json")
    assert read_json(path) is None
    write_json(path, {"a": [1, "ä"]})
    assert read_json(path) == {"a": [1, "ä"]}
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert os.listdir(tmp_path) == ["x.json"]


def test_what_is_there_is_not_replaced_by_something_new(tmp_path: Path) -> None:
    path = tmp_path / "x"
    assert create_durably(str(path), b"one", 0o640)
    assert not create_durably(str(path), b"two")
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode), os.listdir(tmp_path)) == (b"one", 0o640, ["x"])
    with pytest.raises(MachineError, match="can't be written: No such file"):
        create_durably(str(tmp_path / "gone" / "x"), b"")


def test_moved_files_replace_what_is_there(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text("1")
    new.write_text("2")
    move(str(old), str(new))
    assert (old.exists(), new.read_text()) == (False, "1")
    with pytest.raises(MachineError, match="can't be moved"):
        move(str(old), str(new))


def test_a_missing_folder_is_the_hosts_fault(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="gone"):
        write_durably(str(tmp_path / "gone" / "x"), b"")


def test_a_full_disk_leaves_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_durably(str(path), b"old")
    program = (
        "import sys; from fustor.runtime.durable import write_durably\n"
        "from protocols.errors import MachineError\n"
        "try: write_durably(sys.argv[1], b'n' * 100_000)\n"
        "except MachineError as error: sys.exit(str(error))\n"
    )

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    done = subprocess.run(
        [sys.executable, "-P", "-c", program, str(path)],
        preexec_fn=limit,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "can't be written" in done.stderr
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["x"]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b" " * (2 << 20)])
def test_what_is_no_json_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(ValueError, match=r".+"):
        read_json(str(tmp_path / "x"))


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="can't be read"):
        read_json(str(tmp_path))
