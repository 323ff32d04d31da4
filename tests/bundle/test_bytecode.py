"""The same bytecode everywhere, used by the import system as it is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fustor.bundle.bytecode import cached_path, check_compiler, compiled
from protocols.errors import BundleError, RequestError

#: Names that other code of a process has too, sets whose order differs with the seed of hashes, things worth sharing.
SOURCE = b"""
import os, sys
NAMES = {"path", "sep", "environ", "a b", "c d", 1, 2.5, None}
def known(name, path=os.sep, *, key=("a", "b", b"c", 10**30, 2.5, ...)):
    def inner(x): return x in {"path", "name", "zebra", "yak", name, path} and x in {"alpha", "beta", "gamma delta"}
    return inner
class Path(dict[str, int]):
    name: str = "name" + "/" * len(sys.argv) + ""
    def path(self): return lambda: (self.name, name, ("alpha", "beta"), 1, -1, 1j, "x" * 50, "")
raise_here = lambda: 1 / 0
"""


def compiled_elsewhere(prelude: str, *options: str, **environment: str) -> bytes:
    """By a process of its own."""
    program = f"{prelude}\nimport sys; from fustor.bundle.bytecode import compiled\n"
    program += "sys.stdout.buffer.write(compiled('actors/x.py', sys.stdin.buffer.read()))"
    return subprocess.run(
        [sys.executable, "-P", *options, "-c", program],
        env={**os.environ, **environment},
        input=SOURCE,
        stdout=subprocess.PIPE,
        check=True,
    ).stdout


def test_every_process_compiles_the_same() -> None:
    here = compiled("actors/x.py", SOURCE)
    assert here == compiled("actors/x.py", SOURCE)
    assert here == compiled_elsewhere("", PYTHONHASHSEED="1")
    assert here == compiled_elsewhere("", PYTHONHASHSEED="2", PYTHONOPTIMIZE="2", LC_ALL="C")
    # A process where the names in it are known already, and used elsewhere.
    assert here == compiled_elsewhere("import trio, typer, email.utils")
    words = f"{SOURCE.decode()} <lambda> <module> <listcomp> actors/x.py"
    noise = f"import string, sys; KEPT = [sys.intern(n) for n in [*{words!r}.split(), *string.printable, '', 'a b']]"
    assert here == compiled_elsewhere(noise, "-O")
    assert here == compiled_elsewhere(noise.replace("sys.intern(n)", "setattr(sys, n + '', 1)"))


def test_it_is_used_as_it_is(tmp_path: Path) -> None:
    """Not compared with the source, whose time and content may be anything; tracebacks show the real path."""
    (tmp_path / "actors" / "__pycache__").mkdir(parents=True)
    (tmp_path / cached_path("actors/x.py")).write_bytes(compiled("actors/x.py", SOURCE))
    (tmp_path / "actors" / "x.py").write_text("raise SystemExit('compiled anew')\n")
    program = "import actors.x as x; print(x.__cached__, x.known.__code__.co_filename); x.raise_here()"
    done = subprocess.run(
        [sys.executable, "-P", "-c", program],
        cwd="/",
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    cached, source = tmp_path / cached_path("actors/x.py"), tmp_path / "actors" / "x.py"
    assert done.stdout == f"{cached} {source}\n"
    assert f'File "{source}", line 10, in <lambda>' in done.stderr
    assert cached.read_bytes() == compiled("actors/x.py", SOURCE)


def test_where_it_is_looked_for() -> None:
    tag = sys.implementation.cache_tag
    assert cached_path("a/b/c.py") == f"a/b/__pycache__/c.{tag}.pyc"
    assert cached_path("a.py") == f"__pycache__/a.{tag}.pyc"


@pytest.mark.parametrize(
    "source", [b"(", b"\0", b"# coding: klingon\n", b"\xff", b"(" * 100_000, b"-" * 100_000 + b"1"]
)
def test_what_is_no_source(source: bytes) -> None:
    with pytest.raises(BundleError, match=r"actors/x\.py: it can't be compiled"):
        compiled("actors/x.py", source)


def test_warnings_about_the_source_are_for_others() -> None:
    compiled("actors/x.py", b"x = '\\d'\nassert (x, 'always')\n")


def test_a_compiler_that_leaves_something_out_is_not_used() -> None:
    check_compiler()
    done = subprocess.run(
        [sys.executable, "-P", "-c", "from fustor.bundle.bytecode import check_compiler; check_compiler()"],
        env={**os.environ, "PYTHONNODEBUGRANGES": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"{RequestError.__name__}: PYTHONNODEBUGRANGES" in done.stderr
