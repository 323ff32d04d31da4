"""
The gates: what has to be clean before a change goes in, cheapest first. Standard library only.

All of them run, also after one failed: a change is mended faster when everything is known at once.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence

from _environment import Environment

#: Files without the ending .py that are Python all the same.
SCRIPTS = ("bin/bench", "bin/fustor", "bin/fustor-agent", "bin/fustor-fusion", "bin/test")

#: Name → command in the environment's bin folder.
GATES: dict[str, tuple[str, ...]] = {
    "ruff": ("ruff", "check", ".", *SCRIPTS),
    "format": ("ruff", "format", "--check", ".", *SCRIPTS),
    "mypy": ("mypy",),
    "imports": ("lint-imports",),
    # Most of its time is waiting for processes; the tests of a file share what they have started.
    # In the order of the folders: the last ones have short tests, so no process waits for another in the end.
    "pytest": (
        *("python", "-m", "pytest", "-m", "not guest"),
        *("--numprocesses=3", "--dist=loadfile", "--no-loadscope-reorder"),
    ),
    # What boots takes a minute alone, and many beside others.
    "guests": ("python", "-m", "pytest", "-m", "guest"),
}


def main(environment: Environment, arguments: Sequence[str]) -> int:
    """Run the gates that are asked for; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="test",
        description="Run every gate of the project. Other arguments are passed on to pytest.",
        epilog="Examples: bin/test; bin/test --only pytest -k watcher; bin/test --only ruff --only mypy",
        allow_abbrev=False,
    )
    parser.add_argument("--only", action="append", choices=GATES, help="run this gate only; may be given several times")
    parser.add_argument("--list", action="store_true", help="show the gates and their commands, and stop")
    chosen, passed_on = parser.parse_known_args(arguments)
    if chosen.list:
        for name, command in GATES.items():
            print(f"{name:8} {shlex.join(command)}")
        return 0
    names = [name for name in GATES if chosen.only is None or name in chosen.only]
    if passed_on and "pytest" not in names:
        parser.error(f"{passed_on[0]}: only pytest takes further arguments, and it is not among the gates chosen")
    environment.ensure_or_exit(frozenset({"dev"}))
    results = {name: _run(environment, name, passed_on if name == "pytest" else []) for name in names}
    print()
    for name, (code, seconds) in results.items():
        print(f"{name:8} {'passed' if code == 0 else f'FAILED ({code})':12} {seconds:7.1f} s")
    return 0 if all(code == 0 for code, _ in results.values()) else 1


def _run(environment: Environment, name: str, passed_on: Sequence[str]) -> tuple[int, float]:
    """Exit code and seconds of one gate; its output goes where ours goes."""
    program, *rest = GATES[name]
    command = [str(environment.python.parent / program), *rest, *passed_on]
    print(f"== {name}: {shlex.join([program, *rest, *passed_on])}", flush=True)
    began = time.monotonic()
    # Children of the tests find the tools of the environment, and nothing of the caller's Python gets in.
    variables = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    variables["PATH"] = f"{environment.python.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    code = subprocess.run(command, cwd=environment.checkout, env=variables, check=False).returncode
    sys.stdout.flush()
    return code, time.monotonic() - began
