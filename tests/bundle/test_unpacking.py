"""A folder that is there whole or not at all: killed at every step, damaged afterwards, beside another process."""

from __future__ import annotations

import fcntl
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fustor.bundle.unpacking import UNFINISHED, Staged, check_unpacked, stage
from protocols.errors import BundleError, MachineError
from tests.support.bundles import FILES, LATER, NOW, TRUSTED, bundle_in, small


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "small.bundle"
    path.write_bytes(small())
    return path


def staged(file: Path, now: float = NOW) -> Staged:
    return stage(str(file), str(file.parent / "versions"), TRUSTED, now)


def test_whole_and_read_only(file: Path) -> None:
    done = staged(file)
    folder = Path(done.folder)
    assert folder == file.parent / "versions" / done.digest
    assert {path: (folder / path).read_bytes() for path in FILES} == FILES
    modes = {stat.S_IMODE(path.stat().st_mode) & 0o222 for path in folder.rglob("*") if path.is_file()}
    assert modes == {0}
    assert os.listdir(folder.parent) == [done.digest]
    assert [TRUSTED[one.key] for one in done.signers] == ["ann"]
    assert check_unpacked(done.folder) == done.manifest == bundle_in(file.read_bytes()).manifest


def test_what_is_there_is_left_alone(file: Path) -> None:
    # Of its times not that of the last reading.
    before, after = (os.stat(staged(file).folder) for _ in range(2))
    assert (after.st_ino, after.st_mtime_ns, after.st_ctime_ns) == (
        before.st_ino,
        before.st_mtime_ns,
        before.st_ctime_ns,
    )


def test_who_is_not_believed_leaves_no_trace(file: Path) -> None:
    with pytest.raises(BundleError, match="has expired"):
        staged(file, LATER)
    file.write_bytes(small(signers=()))
    with pytest.raises(BundleError, match="it is not signed"):
        staged(file)
    file.write_bytes(small(needs={"protocol": [1, 1], "shell": [7, 9]}))
    with pytest.raises(BundleError, match="it can't run here: it needs shell 7 to 9"):
        staged(file)
    assert os.listdir(file.parent) == [file.name]


def test_a_damaged_file_leaves_nothing(file: Path) -> None:
    content = file.read_bytes()
    place = content.index(FILES["protocols/__init__.py"])
    file.write_bytes(content[:place] + b"!" + content[place + 1 :])
    with pytest.raises(BundleError, match=r"small\.bundle: protocols/__init__\.py: its content is damaged"):
        staged(file)
    assert os.listdir(file.parent / "versions") == []


def remove(folder: Path) -> None:
    (folder / "actors/x/__init__.py").unlink()


def change(folder: Path) -> None:
    (folder / "actors/x/__init__.py").chmod(0o644)
    (folder / "actors/x/__init__.py").write_bytes(b"x = 2\n")


def add(folder: Path) -> None:
    (folder / "actors/y.py").touch()


def link(folder: Path) -> None:
    (folder / "actors/x/__init__.py").unlink()
    (folder / "actors/x/__init__.py").symlink_to("/dev/null")


def link_to_folder(folder: Path) -> None:
    (folder / "actors/z").symlink_to("x")


def another_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    (folder / "manifest.json").write_bytes(b"{}")


def pipe(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    os.mkfifo(folder / "manifest.json")


DAMAGES = [remove, change, add, link, link_to_folder, another_manifest, pipe]


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_was_damaged_is_found_and_replaced(file: Path, damage: Callable[[Path], None]) -> None:
    folder = Path(staged(file).folder)
    damage(folder)
    with pytest.raises((BundleError, MachineError), match=str(folder)):
        check_unpacked(str(folder))
    assert check_unpacked(staged(file).folder)
    assert os.listdir(folder.parent) == [folder.name]


def test_what_is_no_folder_is_replaced(file: Path) -> None:
    digest = bundle_in(file.read_bytes()).digest
    (file.parent / "versions").mkdir()
    (file.parent / "versions" / digest).write_text("?")
    assert check_unpacked(staged(file).folder)


def test_what_a_killed_one_has_left_is_removed(file: Path) -> None:
    left = file.parent / "versions" / f"{UNFINISHED}abc" / "actors"
    left.mkdir(parents=True)
    (left / "x.py").touch(0o444)
    done = staged(file)
    assert os.listdir(file.parent / "versions") == [done.digest]


def test_one_at_a_time(file: Path) -> None:
    folder = file.parent / "versions"
    folder.mkdir()
    other = os.open(folder, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    with pytest.raises(MachineError, match="another process unpacks a bundle there"):
        staged(file)
    os.close(other)
    assert check_unpacked(staged(file).folder)


def test_a_folder_that_can_not_be_made(file: Path) -> None:
    with pytest.raises(MachineError, match="can't be unpacked: Not a directory"):
        stage(str(file), str(file / "versions"), TRUSTED, NOW)


#: Forks for each step of an unpacking: the child is killed before its n-th call to the kernel or to a file.
KILLED = """
import os, shutil, signal, sys
from fustor.bundle.unpacking import check_unpacked, stage
from protocols.errors import BundleError, MachineError

file, folder, digest, key, damaged = sys.argv[1:]
target, outcomes = os.path.join(folder, digest), set()

def look():
    if not os.path.lexists(target):
        return "nothing"
    try:
        check_unpacked(target)
    except BundleError:
        return "damaged"
    return "whole"

def unpack(kill_at):
    calls = 0
    def count(frame, event, function):
        nonlocal calls
        if event == "c_call" and (function.__module__ == "posix" or function.__name__ in ("write", "flush", "close")):
            calls += 1
            if calls == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.setprofile(count)
    stage(file, folder, {key: "ann"}, 1_800_000_000)
    os._exit(0)

step, status = 0, None
while status != 0:
    step += 1
    shutil.rmtree(target, ignore_errors=True)
    if damaged:
        os.makedirs(target)
    pid = os.fork()
    if pid == 0:
        try:
            unpack(step)
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    assert status in (0, signal.SIGKILL), status
    outcomes.add(look())
    assert step < 5000
stage(file, folder, {key: "ann"}, 1_800_000_000)
assert os.listdir(folder) == [digest], os.listdir(folder)
print(step, *sorted(outcomes))
"""


@pytest.mark.parametrize(("damaged", "outcomes"), [("", "nothing whole"), ("damaged", "damaged nothing whole")])
def test_killed_at_every_step_it_is_whole_or_not_there(file: Path, damaged: str, outcomes: str) -> None:
    digest, (key,) = bundle_in(file.read_bytes()).digest, TRUSTED
    done = subprocess.run(
        [sys.executable, "-P", "-c", KILLED, file, file.parent / "versions", digest, key, damaged],
        capture_output=True,
        text=True,
        check=False,
    )
    steps, _, found = done.stdout.strip().partition(" ")
    assert (done.returncode, found) == (0, outcomes), done.stderr
    assert int(steps) > 50
