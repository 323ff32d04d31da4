"""What a process wrote down is there after its death, and nothing else is."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fustor.runtime.handling import PART_BYTES, SIZE, THING_BYTES, Handling, file_of, note_of, take

DIES = """
import os, signal, sys
from fustor.runtime.handling import note_of
import logging
note = note_of("a", logging.getLogger())
note.begin(b"/one/")
note.part(b"x")
note.begin(b"/two/")
note.part(b"a longer name")
note.part(b"name")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_it_is_there_after_a_death(tmp_path: Path) -> None:
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-P", "-c", DIES], cwd=tmp_path, env={**os.environ, "PYTHONPATH": root}, check=False
    )
    assert done.returncode == -signal.SIGKILL
    path = tmp_path / file_of("a")
    assert take(str(path)) == (b"/two/", b"name")
    assert not path.exists(), "it blames once"
    assert take(str(path)) is None


@given(st.binary(max_size=300), st.binary(max_size=300), st.binary(max_size=300))
def test_things_and_parts(before: bytes, thing: bytes, part: bytes) -> None:
    page = bytearray(SIZE)
    note = Handling(page)
    note.begin(before)
    note.part(before)
    note.begin(thing)
    assert read(page) == (thing, b"")
    note.part(part)
    assert read(page) == (thing, part)
    note.end()
    assert read(page) is None


@pytest.mark.parametrize("length", [255, 256, PART_BYTES, PART_BYTES + 1])
def test_long_parts(length: int) -> None:
    page = bytearray(SIZE)
    note = Handling(page)
    note.begin(b"t")
    note.part(b"y")
    note.part(b"x" * length)
    assert read(page) == (b"t", b"x" * length if length <= PART_BYTES else b"")


@pytest.mark.parametrize("length", [THING_BYTES, THING_BYTES + 1])
def test_long_things(length: int) -> None:
    page = bytearray(SIZE)
    note = Handling(page)
    note.begin(b"before")
    note.begin(b"x" * length)
    assert read(page) == ((b"x" * length, b"") if length <= THING_BYTES else None)
    assert len(page) == SIZE


def test_a_successor_is_not_disturbed(tmp_path: Path) -> None:
    path = str(tmp_path / "a.item")
    first = Handling.at(path)
    first.begin(b"hangs")
    second = first.successor()
    assert read(Path(path).read_bytes()) is None
    second.begin(b"goes on")
    first.part(b"returned")
    first.end()
    assert take(path) == (b"goes on", b"")


def test_another_file_takes_its_place(tmp_path: Path) -> None:
    """Whoever still writes to the old one writes to nobody."""
    path = str(tmp_path / "a.item")
    old = Handling.at(path)
    new = Handling.at(path)
    old.begin(b"old")
    assert read(Path(path).read_bytes()) is None
    new.begin(b"new")
    assert take(path) == (b"new", b"")


@pytest.mark.parametrize("content", [b"", b"x", b"\xff" * SIZE, b"\0" * SIZE])
def test_whatever_the_file_holds(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.item"
    path.write_bytes(content)
    assert take(str(path)) is None


def test_without_a_file_it_works_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    note = note_of(str(tmp_path / "no" / "folder"), logging.getLogger("test"))
    note.begin(b"thing")
    note.part(b"part")
    note.end()
    assert "can't be written down" in caplog.text


def read(page: bytes | bytearray) -> tuple[bytes, bytes] | None:
    """As :func:`take`, of a page."""
    path = f"/dev/shm/{os.getpid()}.item" if os.access("/dev/shm", os.W_OK) else f"/tmp/{os.getpid()}.item"
    Path(path).write_bytes(page)
    return take(path)
