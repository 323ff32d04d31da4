"""Logs in a real folder, and without one."""

from __future__ import annotations

import os
import re
from pathlib import Path

from fustor.guardian.logs import Logs


def test_a_log_is_appended_to(tmp_path: Path) -> None:
    logs = Logs(str(tmp_path / "log"), 1000)
    for line in (b"one\n", b"two\n"):
        fd = logs.open("view.main")
        os.write(fd, line)
        os.close(fd)
    assert (tmp_path / "log" / "view.main.log").read_text() == "one\ntwo\n"
    assert logs.failures == 0


def test_a_big_log_is_renamed_when_it_is_opened(tmp_path: Path) -> None:
    logs = Logs(str(tmp_path), 10)
    for content in (b"a" * 11, b"b" * 11, b"c"):
        fd = logs.open("x")
        os.write(fd, content)
        os.close(fd)
    assert (tmp_path / "x.log").read_bytes() == b"c"
    assert (tmp_path / "x.log.1").read_bytes() == b"b" * 11


def test_lines_of_the_guardian(tmp_path: Path) -> None:
    logs = Logs(str(tmp_path), 1000)
    logs.write("INFO", "a\nb", pid=7, name_="ä")
    line = (tmp_path / "guardian.log").read_text()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO guardian a\\nb pid=7 name_=ä\n", line)


def test_the_guardians_own_log_is_bounded(tmp_path: Path) -> None:
    logs = Logs(str(tmp_path), 1000)
    for _ in range(200):
        logs.write("INFO", "x" * 50)
    sizes = [os.stat(tmp_path / name).st_size for name in ("guardian.log", "guardian.log.1")]
    assert max(sizes) < 1200


def test_without_a_folder_output_is_lost_and_counted(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("a file")
    logs = Logs(str(tmp_path / "log"), 1000)
    counted = logs.failures
    fd = logs.open("x")
    assert os.path.samestat(os.fstat(fd), os.stat(os.devnull))
    os.write(fd, b"lost")
    os.close(fd)
    assert logs.failures == counted + 1
    logs.write("INFO", "lost")


def test_a_full_disk_is_counted(tmp_path: Path) -> None:
    (tmp_path / "guardian.log").symlink_to("/dev/full")
    logs = Logs(str(tmp_path), 1000)
    logs.write("INFO", "lost")
    assert logs.failures == 1


def test_a_log_that_grows_while_its_child_lives_is_emptied(tmp_path: Path) -> None:
    logs = Logs(str(tmp_path), 1000)
    fd = logs.open("x")
    os.write(fd, b"a" * 600)
    logs.bound(0.0)
    assert os.stat(tmp_path / "x.log").st_size == 600
    os.write(fd, b"b" * 1000)
    logs.bound(0.5)
    assert os.stat(tmp_path / "x.log").st_size == 1600, "not looked at before its time"
    logs.bound(100.0)
    assert (tmp_path / "x.log.1").read_bytes() == b"b" * 1000
    os.write(fd, b"next")
    os.close(fd)
    assert (tmp_path / "x.log").read_bytes() == b"next"


def test_the_log_of_a_process_that_another_guardian_started_is_bounded_too(tmp_path: Path) -> None:
    (tmp_path / "x.log").write_bytes(b"a" * 2000)
    logs = Logs(str(tmp_path), 1000)
    logs.bound(0.0)
    assert os.stat(tmp_path / "x.log").st_size == 2000
    logs.follow("x")
    logs.bound(100.0)
    assert os.stat(tmp_path / "x.log").st_size == 0
