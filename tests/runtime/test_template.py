"""
The template's side of a fork: descriptors under their numbers, and what others see in /proc. With a guardian: see
tests/guardian/test_template.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fustor.runtime.template import load

ROOT = Path(__file__).resolve().parents[2]
#: Makes files of which each holds its number, has them placed, and says which descriptor holds what.
PLACE = """
import json, os, sys, tempfile
from fustor.runtime.template import place
received, numbers, kept, extra = json.loads(sys.argv[1])
def make(fd):
    file = os.memfd_create(str(fd))
    os.write(file, b"%d" % fd)
    os.dup2(file, fd)
    os.close(file)
for fd in sorted({*received, *kept, *extra}):
    make(fd)
place(received, numbers, kept)
found = {}
for name in os.listdir("/proc/self/fd"):
    path = f"/proc/self/fd/{name}"
    if int(name) > 2 and os.path.lexists(path) and "memfd" in os.readlink(path):
        found[name] = [int(os.pread(int(name), 10, 0)), os.get_inheritable(int(name))]
print(json.dumps(found))
"""
SHOW = """
import json, os, sys
from fustor.runtime.template import show
argv, env = json.loads(sys.argv[1])
before = os.environ["PATH"]
show([word.encode() for word in argv], {key.encode(): value.encode() for key, value in env.items()})
read = lambda name: open(f"/proc/self/{name}", "rb").read().decode()
print(json.dumps([read("cmdline"), read("environ"), dict(os.environ)]), flush=True)
os.environ["LATER"] = "yes"  # the C library's own list is still whole
os.execv("/usr/bin/env", ["env"])
"""


def run(program: str, argument: object, **more: str) -> list[str]:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **more}
    command = [sys.executable, "-c", program, json.dumps(argument)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("received", "numbers", "kept", "extra"),
    [
        ([10, 11], [20, 21], [], []),
        ([10, 11], [11, 10], [], [12]),
        ([10, 11, 12], [12, 5, 10], [30], [11, 29, 31]),
        ([], [], [30], [3, 29]),
        ([], [], [5], [3, 4, 6, 40]),
        ([9], [9], [], [8, 10]),
    ],
)
def test_descriptors_get_their_numbers_and_all_others_are_closed(
    received: list[int], numbers: list[int], kept: list[int], extra: list[int]
) -> None:
    (line,) = run(PLACE, [received, numbers, kept, extra])
    expected = {str(number): [fd, True] for fd, number in zip(received, numbers, strict=True)}
    assert json.loads(line) == expected | {str(fd): [fd, True] for fd in kept}


def test_others_see_what_it_has_become() -> None:
    argv, env = ["/usr/bin/python3", "-m", "x"], {"FUSTOR_NAME": "a", "PATH": "/bin", "EMPTY": ""}
    line, *rest = run(SHOW, [argv, env], FUSTOR_ROOM="x" * 1000)
    cmdline, environ, inside = json.loads(line)
    assert cmdline.rstrip("\0") == "\0".join(argv)
    assert environ.rstrip("\0") == "FUSTOR_NAME=a\0PATH=/bin\0EMPTY="
    assert inside == env
    assert sorted(rest) == ["EMPTY=", "FUSTOR_NAME=a", "LATER=yes", "PATH=/bin"]


def test_what_is_longer_than_its_place_is_cut_off_and_does_no_harm() -> None:
    line, *rest = run(SHOW, [["x" * 50_000], {"LONG": "y" * 50_000}])
    cmdline, environ, inside = json.loads(line)
    assert cmdline.rstrip("\0") == "x" * 50_000
    assert len(environ) < 50_000
    assert environ.startswith("LONG=yyy")
    assert inside == {"LONG": "y" * 50_000}
    assert sorted(rest) == ["LATER=yes", "LONG=" + "y" * 50_000]


def test_what_cannot_be_imported_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert set(load(["actors.scanner", "there.is.none"])) == {"actors.scanner"}
    assert "there" in capsys.readouterr().err
