"""What payloads leave with their guardian: for the next one of their name, and for nobody else."""

from __future__ import annotations

import os
import sys

from fustor.guardian.kept import KEEP_SECONDS, Kept
from tests.guardian.conftest import Side

#: Leaves what is behind descriptor 1 as ``note`` and ends, or says what it was given.
LEAVES = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
from fustor.runtime.leaving import leave, left
name, token, fds = os.environ["FUSTOR_NAME"], os.environ["FUSTOR_TOKEN"], json.loads(os.environ["FUSTOR_FDS"])
found = left(fds)
if found:
    os.write(found["note"], b"found\\n")
else:
    note = os.open("note", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(note, b"left %d\\n" % leave(sys.argv[2] or name, token, {"note": note}))
"""


def pipe() -> tuple[int, int]:
    return os.pipe2(os.O_CLOEXEC)


def is_open(fd: int) -> bool:
    return os.path.exists(f"/proc/self/fd/{fd}")


def test_it_is_given_once() -> None:
    kept, (reader, writer) = Kept(), pipe()
    kept.put("a", {"x": reader, "y": writer}, 0.0)
    assert kept.take("b") == {}
    assert kept.take("a") == {"kept.x": reader, "kept.y": writer}
    assert kept.take("a") == {}
    assert kept.wake_at() is None
    os.close(reader)
    os.close(writer)


def test_what_nobody_comes_for_is_closed() -> None:
    kept, (reader, writer) = Kept(), pipe()
    kept.put("a", {"x": reader}, 1.0)
    kept.put("b", {"x": writer}, 2.0)
    assert kept.wake_at() == 1.0 + KEEP_SECONDS
    assert kept.expire(1.0 + KEEP_SECONDS) == ["a"]
    assert (is_open(reader), is_open(writer)) == (False, True)
    assert kept.expire(2.0 + KEEP_SECONDS) == ["b"]
    assert not is_open(writer)


def test_the_last_word_counts() -> None:
    kept, (reader, writer) = Kept(), pipe()
    kept.put("a", {"x": reader}, 0.0)
    kept.put("a", {"y": writer}, 0.0)
    assert not is_open(reader)
    assert kept.take("a") == {"kept.y": writer}
    os.close(writer)


def argv(claimed: str = "") -> list[str]:
    from tests.guardian.conftest import ROOT

    return [sys.executable, "-P", "-c", LEAVES, str(ROOT), claimed]


def test_the_next_process_of_the_name_gets_it(side: Side) -> None:
    side.start()
    for _ in range(2):
        side.spawn("a", *argv())
        side.event("a")
    assert (side.run / "note").read_text() == "left 1\nfound\n"
    side.spawn("a", *argv())
    side.event("a")
    assert (side.run / "note").read_text() == "left 1\nfound\nleft 1\n", "it was given once"


def test_nobody_leaves_anything_for_others(side: Side) -> None:
    side.start()
    side.spawn("a", *argv("b"))
    side.event("a")
    side.spawn("b", *argv())
    side.event("b")
    assert (side.run / "note").read_text() == "left 0\nleft 1\n"
